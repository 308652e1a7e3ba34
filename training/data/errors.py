"""What can be wrong with a data set."""

from __future__ import annotations

from training.errors import TrainingError


class DataError(TrainingError):
    """A data set cannot be used; the message names the file or number and the remedy."""
