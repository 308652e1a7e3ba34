"""From a caption to a picture, in milliseconds, on your own machine.

Names are imported where they are first used, so that `import t2i` needs neither torch nor numpy:

    >>> from t2i import Pipeline, Text
    >>> picture = Pipeline.from_pretrained().generate(Text("small bird with red head")).images[0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2i.bundle import Bundle
    from t2i.client import AsyncClient, Client
    from t2i.conditions import (
        Attributes,
        Code,
        Condition,
        Label,
        Layout,
        LayoutObject,
        Picture,
        Relation,
        SceneGraph,
        Text,
    )
    from t2i.errors import BundleError, EncoderUnavailable, InvalidInput, T2IError
    from t2i.pictures import GeneratedImage
    from t2i.pipeline import Generation, Pipeline

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "t2i.client",
    "Attributes": "t2i.conditions",
    "Bundle": "t2i.bundle",
    "BundleError": "t2i.errors",
    "Client": "t2i.client",
    "Code": "t2i.conditions",
    "Condition": "t2i.conditions",
    "EncoderUnavailable": "t2i.errors",
    "GeneratedImage": "t2i.pictures",
    "Generation": "t2i.pipeline",
    "InvalidInput": "t2i.errors",
    "Label": "t2i.conditions",
    "Layout": "t2i.conditions",
    "LayoutObject": "t2i.conditions",
    "Picture": "t2i.conditions",
    "Pipeline": "t2i.pipeline",
    "Relation": "t2i.conditions",
    "SceneGraph": "t2i.conditions",
    "T2IError": "t2i.errors",
    "Text": "t2i.conditions",
}

__all__ = [
    "AsyncClient",
    "Attributes",
    "Bundle",
    "BundleError",
    "Client",
    "Code",
    "Condition",
    "EncoderUnavailable",
    "GeneratedImage",
    "Generation",
    "InvalidInput",
    "Label",
    "Layout",
    "LayoutObject",
    "Picture",
    "Pipeline",
    "Relation",
    "SceneGraph",
    "T2IError",
    "Text",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
