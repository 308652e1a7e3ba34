"""Tokens: who is let in, and how many pictures each may have."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.tokens import Grant, OverQuota, Tokens, read_grants
from t2i.errors import InvalidInput

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"


class Clock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.day = datetime(2030, 1, 1, 23, 0, 0, tzinfo=UTC)

    def __call__(self) -> float:
        return self.now


def tokens_of(clock: Clock, **limits: float | None) -> tuple[Tokens, Grant]:
    grant = Grant("alice", b"", **limits)  # type: ignore[arg-type]
    return Tokens([grant], clock=clock, today=lambda: clock.day), grant


def write(folder: Path, text: str) -> Path:
    file = folder / "tokens.toml"
    file.write_text(text)
    return file


def test_a_token_lets_in_and_nothing_else_does(tmp_path: Path) -> None:
    tokens = Tokens.from_file(
        write(tmp_path, f'[alice]\ntoken = "{ALICE}"\n[bob]\ntoken = "{BOB}"\npictures_per_day = 7')
    )
    bob = tokens.find(f"Bearer {BOB}")
    assert bob is not None and (bob.name, bob.pictures_per_day) == ("bob", 7)
    found = tokens.find(f"Bearer {ALICE}".encode())
    assert found is not None and found.name == "alice"
    for wrong in (
        None,
        "",
        BOB,
        "Bearer ",
        f"bearer {BOB}",
        f"Bearer {BOB} ",
        f"Bearer {BOB[:-1]}",
    ):
        assert tokens.find(wrong) is None


def test_no_token_is_kept(tmp_path: Path) -> None:
    (grant,) = read_grants(write(tmp_path, f'[alice]\ntoken = "{ALICE}"'))
    assert ALICE not in repr(grant)


def test_a_changed_file_holds_after_a_second_and_a_faulty_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    file = write(tmp_path, f'[alice]\ntoken = "{ALICE}"')
    tokens = Tokens.from_file(file)
    monkeypatch.setattr(tokens, "_clock", clock)
    tokens._looked = clock.now

    def changed(text: str) -> None:
        file.write_text(text)
        # Written twice within the clock of the file system.
        os.utime(file, ns=(0, int(clock.now * 1e9)))

    changed(f'[bob]\ntoken = "{BOB}"')
    assert tokens.find(f"Bearer {BOB}") is None
    clock.now += 1.1
    assert tokens.find(f"Bearer {BOB}") is not None and tokens.find(f"Bearer {ALICE}") is None
    changed("[bob")
    clock.now += 1.1
    assert tokens.find(f"Bearer {BOB}") is not None
    file.unlink()
    clock.now += 1.1
    assert tokens.find(f"Bearer {BOB}") is not None


def test_a_rate_allows_ten_seconds_at_once_and_then_what_it_says() -> None:
    clock = Clock()
    tokens, alice = tokens_of(clock, pictures_per_second=2.0)
    for _ in range(10):
        tokens.spend(alice, 2)
    with pytest.raises(OverQuota) as over:
        tokens.spend(alice, 1)
    assert over.value.limit == "pictures_per_second"
    assert over.value.retry_seconds == pytest.approx(0.5)
    clock.now += 0.5
    tokens.spend(alice, 1)
    with pytest.raises(OverQuota):
        tokens.spend(alice, 1)
    # Ten pictures in five seconds: no more has come together.
    clock.now += 5.0
    tokens.spend(alice, 10)
    with pytest.raises(OverQuota):
        tokens.spend(alice, 1)


def test_a_request_that_no_rate_ever_allows_is_not_told_to_come_back() -> None:
    tokens, alice = tokens_of(Clock(), pictures_per_second=1.0)
    with pytest.raises(OverQuota) as over:
        tokens.spend(alice, 11)
    assert over.value.retry_seconds is None
    tokens.spend(alice, 10)


def test_a_slow_rate_still_allows_one_picture() -> None:
    tokens, alice = tokens_of(Clock(), pictures_per_second=0.01)
    tokens.spend(alice, 1)
    with pytest.raises(OverQuota) as over:
        tokens.spend(alice, 1)
    assert over.value.retry_seconds == pytest.approx(100.0)


def test_a_days_pictures_are_there_again_at_midnight_of_utc() -> None:
    clock = Clock()
    tokens, alice = tokens_of(clock, pictures_per_day=3)
    tokens.spend(alice, 2)
    with pytest.raises(OverQuota) as over:
        tokens.spend(alice, 2)
    assert (over.value.limit, over.value.retry_seconds) == ("pictures_per_day", 3600.0)
    tokens.spend(alice, 1)
    with pytest.raises(OverQuota) as never:
        tokens.spend(alice, 4)
    assert never.value.retry_seconds is None
    clock.day = datetime(2030, 1, 2, 0, 0, 1, tzinfo=UTC)
    tokens.spend(alice, 3)


def test_what_one_caller_uses_another_still_has() -> None:
    clock = Clock()
    alice, bob = Grant("alice", b"a", pictures_per_day=1), Grant("bob", b"b", pictures_per_day=1)
    tokens = Tokens([alice, bob], clock=clock, today=lambda: clock.day)
    tokens.spend(alice, 1)
    tokens.spend(bob, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no table"),
        ("[alice", "cannot be read"),
        ('alice = "x"', r"alice.token: is not in a table"),
        ("[alice]", r"alice.token: is missing"),
        ('[alice]\ntoken = "short"', r"alice.token: is too short"),
        (f'[alice]\ntoken = "{ALICE}"\nrate = 1', r"alice.rate: is unknown; give pictures_per_day"),
        (f'[alice]\ntoken = "{ALICE}"\npictures_per_second = 0', "is no number above 0"),
        (f'[alice]\ntoken = "{ALICE}"\npictures_per_second = true', "is no number above 0"),
        (f'[alice]\ntoken = "{ALICE}"\npictures_per_day = 1.5', "is no whole number"),
        (f'[a]\ntoken = "{ALICE}"\n[b]\ntoken = "{ALICE}"', "has a token twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_without_the_token(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(InvalidInput, match=says) as error:
        read_grants(write(tmp_path, text))
    assert ALICE not in str(error.value) and 'short"' not in str(error.value)
