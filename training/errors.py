"""Errors of the training room."""

from __future__ import annotations

from t2i.errors import T2IError


class TrainingError(T2IError):
    """Training cannot start or go on; the message says what was seen and what to do."""
