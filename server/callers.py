"""Who calls, and how urgently: what a call says beside its message."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from server.engine import Priority
from server.refusals import Violation, invalid
from server.tokens import Grant

__all__ = ["PRIORITY_KEY", "Caller", "caller_of", "priority_of"]

# Like a deadline it says how the call is to be treated, and nothing of the pictures.
PRIORITY_KEY = "t2i-priority"
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_THIS_MACHINE = ("127.", "[::1]", "::1")


class Caller(NamedTuple):
    """Who calls.

    Attributes:
        name: whom the workers are shared between: a machine, or on this machine a connection.
        owner: whose request ids they are: the token's, or empty without tokens.
        grant: what the token allows; None without tokens.
    """

    name: str
    owner: str
    grant: Grant | None = None


def caller_of(
    peer: str, metadata: Iterable[tuple[str, str | bytes]], grant: Grant | None = None
) -> Caller:
    """Return who calls.

    Tokens with names tell callers apart. A single token is known to all of them, so machines are
    told apart. All of this machine have one address: there every connection counts as a caller.

    Args:
        peer: as gRPC tells it, such as `ipv4:10.0.0.7:41234`.
        metadata: of a call that was let in.
        grant: what its token allows.
    """
    address = unquote(peer)
    host = address.partition(":")[2].rpartition(":")[0]
    name = address if not host or host.startswith(_THIS_MACHINE) else host
    tokens = [value for key, value in metadata if key == "authorization"]
    if grant is not None and grant.name:
        name = grant.name
    return Caller(name, _digest(tokens[0]) if tokens else "", grant)


def priority_of(metadata: Iterable[tuple[str, str | bytes]]) -> Priority:
    """Return the priority that a call asks for, interactive unless it says otherwise.

    Raises:
        Refusal: INVALID_ARGUMENT for a priority that is not known.
    """
    for key, value in metadata:
        if key == PRIORITY_KEY:
            word = value if isinstance(value, str) else ""
            if word not in _PRIORITIES:
                known = " or ".join(_PRIORITIES)
                raise invalid([Violation(f"metadata.{PRIORITY_KEY}", f"is unknown; give {known}")])
            return _PRIORITIES[word]
    return Priority.INTERACTIVE


def _digest(token: str | bytes) -> str:
    return hashlib.sha256(token if isinstance(token, bytes) else token.encode()).hexdigest()[:16]
