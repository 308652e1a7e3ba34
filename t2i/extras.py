"""What to say when a package is missing that another installation of t2i would have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from t2i.errors import T2IError

__all__ = ["ExtraMissing", "needs_extra"]

_OURS = frozenset({"t2i", "server", "training"})


class ExtraMissing(T2IError):
    """Something needs packages that this installation of t2i was made without."""


@contextmanager
def needs_extra(extra: str, *, or_else: str = "") -> Iterator[None]:
    """Run a block that imports packages of an extra.

    Args:
        extra: the extra that installs them, such as `"inference"`.
        or_else: what a person could do instead of installing it.

    Raises:
        ExtraMissing: a module that is not ours cannot be found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        instead = f", or {or_else}" if or_else else ""
        raise ExtraMissing(
            f"this needs the module {error.name}, which is not installed: run "
            f"pip install 't2i[{extra}]'{instead}"
        ) from error
