from __future__ import annotations

import pytest

from server.callers import caller_of, priority_of
from server.engine import Priority
from server.refusals import Refusal


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("ipv4:10.0.0.7:41234", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:41234", "[2001:db8::1]"),
        ("ipv4:127.0.0.1:41234", "ipv4:127.0.0.1:41234"),
        ("ipv6:[::1]:41234", "ipv6:[::1]:41234"),
        ("unix:", "unix:"),
    ],
)
def test_a_caller_is_a_machine_and_on_this_machine_a_connection(peer: str, name: str) -> None:
    assert caller_of(peer, ()).name == name


def test_request_ids_belong_to_the_token_and_the_token_is_not_kept() -> None:
    one = caller_of("ipv4:10.0.0.7:1", [("authorization", "Bearer secret-one")])
    same = caller_of("ipv4:10.0.0.8:2", [("authorization", "Bearer secret-one")])
    other = caller_of("ipv4:10.0.0.7:1", [("authorization", "Bearer secret-two")])
    assert one.owner == same.owner != other.owner
    assert "secret" not in one.owner
    assert caller_of("ipv4:10.0.0.7:1", ()).owner == ""


def test_a_call_is_interactive_unless_it_says_that_it_may_wait() -> None:
    assert priority_of([("user-agent", "x")]) is Priority.INTERACTIVE
    assert priority_of([("t2i-priority", "batch")]) is Priority.BATCH
    with pytest.raises(Refusal, match="t2i-priority") as refusal:
        priority_of([("t2i-priority", "urgent")])
    assert refusal.value.reason == "INVALID_FIELD"
