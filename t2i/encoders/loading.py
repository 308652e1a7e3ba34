"""Finding a text encoder by its id."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args
from weakref import WeakValueDictionary

from t2i.encoders.minilm import MINILM_NAME, MiniLM, minilm_folder
from t2i.encoders.text import CACHED_CAPTIONS, TextEncoder
from t2i.errors import EncoderUnavailable, InvalidInput, shown

if TYPE_CHECKING:
    import torch

__all__ = [
    "DEFAULT_TEXT_ENCODER",
    "Pooling",
    "load_text_encoder",
    "shared_text_encoder",
    "text_encoder_bytes",
]

DEFAULT_TEXT_ENCODER = MINILM_NAME

Pooling = Literal["own", "mean", "cls"]

_SHARED: WeakValueDictionary[tuple[str, str], TextEncoder] = WeakValueDictionary()
_SHARING = threading.Lock()
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def load_text_encoder(
    id: str = DEFAULT_TEXT_ENCODER,
    device: str | torch.device | None = None,
    *,
    pooling: Pooling | None = None,
    cache_size: int = CACHED_CAPTIONS,
) -> TextEncoder:
    """Return the text encoder of this id.

    Args:
        id: `"all-MiniLM-L6-v2"` (comes with an installed package), a folder with a
            sentence-transformers or transformers model, or such a model's id on the hub. The `id`
            of a loaded encoder, `NAME#POOLING#CHECKSUM`, loads the same encoder again, and refuses
            a model whose weights have changed.
        device: where the model computes; None for the CPU.
        pooling: how the tokens' vectors become one: `"mean"` over the tokens, `"cls"` (the first
            token), or `"own"` as the sentence-transformers model says. None takes what the id
            says, then the model's own, then the mean.
        cache_size: number of captions whose embeddings are kept.

    Raises:
        EncoderUnavailable: if there is no such model, it cannot be reached, its files are damaged
            or not those that the id names.
        InvalidInput: if the id or the pooling is not one.
    """
    import torch

    name, id_pooling, checksum = _parse(id)
    pooling = pooling or id_pooling
    if pooling is not None and pooling not in get_args(Pooling):
        raise InvalidInput(
            "pooling", pooling, f"{shown(pooling)} is not known", "give own, mean or cls"
        )
    target = torch.device(device or "cpu")
    encoder: TextEncoder
    if (
        name.removeprefix("sentence-transformers/") == MINILM_NAME
        and not Path(name).is_dir()
        and pooling in (None, "own", "mean")
    ):
        encoder = MiniLM(target, cache_size=cache_size)
    else:
        # Only here: importing sentence-transformers takes seconds.
        from t2i.encoders.sentence import SentenceEncoder

        encoder = SentenceEncoder(name, target, pooling=pooling, cache_size=cache_size)
    found = encoder.id.rsplit("#", 1)[1]
    if checksum is not None and checksum != found:
        raise EncoderUnavailable(
            f"encoder {name}: its weights have checksum {found}, not {checksum}; "
            "give the model that the id was made with"
        )
    return encoder


def shared_text_encoder(id: str, device: torch.device) -> TextEncoder:
    """Return the text encoder of this id that this process has already, or else load it.

    It is kept only as long as somebody uses it. See `load_text_encoder` for the rest.
    """
    key = (id, str(device))
    # One at a time: two who ask together would otherwise load two.
    with _SHARING:
        known = _SHARED.get(key)
        if known is None:
            known = _SHARED[key] = load_text_encoder(id, device)
        return known


def text_encoder_bytes(id: str) -> int:
    """Return what the weights of a text encoder take on the disk, 0 when they are not there yet.

    Raises:
        EncoderUnavailable: if there is no such model.
        InvalidInput: if the id is not one.
    """
    name, _, _ = _parse(id)
    if Path(name).is_dir():
        folder = Path(name)
    elif name.removeprefix("sentence-transformers/") == MINILM_NAME:
        folder = minilm_folder()
    else:
        # On the hub, or in its cache: known only once it was loaded.
        return 0
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _parse(id: str) -> tuple[str, Pooling | None, str | None]:
    name, *rest = id.split("#") if isinstance(id, str) else ("",)
    if not name.strip() or len(rest) > 2:
        raise InvalidInput(
            "encoder", id, f"{shown(id)} is not an encoder id", "give NAME or NAME#POOLING#CHECKSUM"
        )
    if not Path(name).is_dir() and not _HUB_ID.fullmatch(name):
        raise EncoderUnavailable(
            f"encoder {name}: no such folder; give an existing folder or a hub id such as "
            f"{DEFAULT_TEXT_ENCODER}"
        )
    pooling = cast("Pooling", rest[0]) if rest else None
    return name, pooling, rest[1] if len(rest) == 2 else None
