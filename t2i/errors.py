"""Everything a person can do wrong, as exceptions that say what would be right.

Every error of this project that a user can cause is a `T2IError`, and its message is one line.
"""

from __future__ import annotations

__all__ = ["BundleError", "EncoderUnavailable", "InvalidInput", "T2IError", "shown"]

_SHOWN_CHARACTERS = 60


def shown(value: object) -> str:
    """Return a value as a short one-line text for an error message."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    text = repr(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


class T2IError(Exception):
    """The base of all errors that a user of this project can cause."""


class InvalidInput(T2IError, ValueError):
    """An argument or a field of a request has a value that cannot be used.

    Attributes:
        field: the name of the field, as the user wrote it, for example `"seeds[2]"`.
        value: the value that was given.
        problem: what is wrong with it.
        remedy: what would be right.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(f"{field}: {problem}; {remedy}")
        self.field = field
        self.value = value
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, object, str, str]]:
        # Exception pickles by its args, which are not the arguments of __init__ here.
        return type(self), (self.field, self.value, self.problem, self.remedy)


class BundleError(T2IError):
    """A bundle on disk is missing, damaged, or of a kind that this version cannot read."""


class EncoderUnavailable(T2IError):
    """An encoder's model cannot be found or reached, or its files are not the expected ones."""
