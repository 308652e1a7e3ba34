"""From a condition to an embedding."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2i.encoders.attributes import AttributesEncoder
    from t2i.encoders.captions import CaptionEncoder
    from t2i.encoders.codes import CodeEncoder
    from t2i.encoders.datasets import encode_dataset
    from t2i.encoders.familiarity import Familiarity, caption_statistics
    from t2i.encoders.labels import LabelEncoder
    from t2i.encoders.loading import DEFAULT_TEXT_ENCODER, load_text_encoder
    from t2i.encoders.text import TextEncoder
    from t2i.encoders.words import WordsEncoder

# Imported where they are first used: the modules behind these names import torch.
_HOMES = {
    "AttributesEncoder": "t2i.encoders.attributes",
    "CaptionEncoder": "t2i.encoders.captions",
    "CodeEncoder": "t2i.encoders.codes",
    "DEFAULT_TEXT_ENCODER": "t2i.encoders.loading",
    "Familiarity": "t2i.encoders.familiarity",
    "LabelEncoder": "t2i.encoders.labels",
    "TextEncoder": "t2i.encoders.text",
    "WordsEncoder": "t2i.encoders.words",
    "caption_statistics": "t2i.encoders.familiarity",
    "encode_dataset": "t2i.encoders.datasets",
    "load_text_encoder": "t2i.encoders.loading",
}

__all__ = [
    "DEFAULT_TEXT_ENCODER",
    "AttributesEncoder",
    "CaptionEncoder",
    "CodeEncoder",
    "Familiarity",
    "LabelEncoder",
    "TextEncoder",
    "WordsEncoder",
    "caption_statistics",
    "encode_dataset",
    "load_text_encoder",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
