"""What can be wrong with a data set."""

from __future__ import annotations

from t2i.errors import T2IError


class DataError(T2IError):
    """A data set cannot be used; the message names the file or number and the remedy."""
