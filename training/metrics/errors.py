"""What a person can do wrong when measuring a model."""

from __future__ import annotations

from t2i.errors import InvalidInput, T2IError


class MetricsError(InvalidInput):
    """A measurement was asked for that cannot be made; says what would be right instead."""


class ClassifierMismatch(T2IError):
    """The attribute classifier was trained on other drawings than those it is to judge."""
