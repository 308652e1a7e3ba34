"""Any sentence-transformers or transformers model as text encoder, from a folder or the hub."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from t2i.encoders.text import CACHED_CAPTIONS, TextEncoder
from t2i.errors import EncoderUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceEncoder"]

# What a model needs to run in torch; exports to other runtimes and pickled weights stay behind.
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
_UNWANTED = ("onnx/*", "openvino/*")
_HUB_SECONDS = 5.0


class SentenceEncoder(TextEncoder):
    """A model run by sentence-transformers.

    Args:
        name: a folder, or an id on the hub (downloaded once into the hub's own cache).
        device: where the model computes.
        pooling: `"own"` as the sentence-transformers model says, `"mean"` over the tokens, or
            `"cls"`, the first token; None for the model's own, or the mean where it has none.
        cache_size: number of captions whose embeddings are kept.

    Raises:
        EncoderUnavailable: if the model cannot be found, reached or read.
    """

    def __init__(
        self,
        name: str,
        device: torch.device | None = None,
        *,
        pooling: Literal["own", "mean", "cls"] | None = None,
        cache_size: int = CACHED_CAPTIONS,
    ) -> None:
        if Path(name).is_dir():
            folder = Path(name).resolve()
            name = str(folder)
        else:
            folder = _from_hub(name)
        has_own = (folder / "modules.json").is_file()
        pooling = pooling or ("own" if has_own else "mean")
        if pooling == "own" and not has_own:
            raise EncoderUnavailable(
                f"encoder {name}: it has no pooling of its own (no modules.json); "
                "choose pooling mean or cls"
            )
        checksum = _weights_checksum(folder, name)
        device = device or torch.device("cpu")
        with _quiet_and_offline():
            try:
                self._model = _load(folder, pooling, device)
            except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
                reason = " ".join(str(error).split())[:200]
                raise EncoderUnavailable(
                    f"encoder {name}: {folder} cannot be read as a sentence-transformers or "
                    f"transformers model ({type(error).__name__}: {reason}); check its files"
                ) from error
        dim = self._model.get_embedding_dimension()
        if dim is None:
            raise EncoderUnavailable(f"encoder {name}: it does not tell its embedding size")
        super().__init__(f"{name}#{pooling}#{checksum[:12]}", dim, device, cache_size)
        # The tokenizers of transformers set their padding before each use: one use at a time.
        self._running = threading.Lock()

    def _embed(self, texts: list[str]) -> Tensor:
        with self._running:
            encoded: Tensor = self._model.encode(
                texts,
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        return encoded

    def tokens(self, text: str) -> list[str]:
        """See `TextEncoder.tokens`."""
        tokenizer = self._model.tokenizer
        with self._running:
            cut = tokenizer(text, truncation=True, max_length=self._model.max_seq_length)
            return list(tokenizer.convert_ids_to_tokens(cut["input_ids"]))

    def token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.token_states`."""
        with self._running:
            states = list(
                self._model.encode(
                    texts,
                    batch_size=len(texts),
                    show_progress_bar=False,
                    output_value="token_embeddings",
                )
            )
        counts = torch.tensor([len(row) for row in states], device=self.device)
        padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True).float()
        return padded, torch.arange(padded.shape[1], device=self.device) < counts[:, None]


def _load(
    folder: Path, pooling: Literal["own", "mean", "cls"], device: torch.device
) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    if pooling == "own":
        return SentenceTransformer(str(folder), device=str(device), local_files_only=True)
    words = Transformer(
        str(folder),
        model_kwargs={"local_files_only": True, "use_safetensors": True},
        processor_kwargs={"local_files_only": True},
    )
    pool = Pooling(words.get_embedding_dimension(), pooling_mode=pooling)
    return SentenceTransformer(modules=[words, pool], device=str(device))


def _from_hub(name: str) -> Path:
    """Return the folder of a hub model: from the local cache if it is there, else downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    wanted, unwanted = list(_WANTED), list(_UNWANTED)
    try:
        return Path(
            snapshot_download(
                name, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=True
            )
        )
    except HFValidationError as error:
        raise EncoderUnavailable(
            f"encoder {name}: it is neither a folder nor a valid hub id; "
            "give a folder or OWNER/NAME"
        ) from error
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=wanted,
                ignore_patterns=unwanted,
                etag_timeout=_HUB_SECONDS,
            )
        )
    except RepositoryNotFoundError as error:
        raise EncoderUnavailable(
            f"encoder {name}: the hub has no such model; check the id, or give a folder"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise EncoderUnavailable(
            f"encoder {name}: it is not in the local cache and the hub cannot be reached; "
            "connect once to download it, or give a folder"
        ) from error


def _weights_checksum(folder: Path, name: str) -> str:
    """Return the SHA-256 over a model's weights, in the order of their paths."""
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise EncoderUnavailable(
            f"encoder {name}: no *.safetensors in {folder}; save the model with safetensors weights"
        )
    total = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@contextmanager
def _quiet_and_offline() -> Iterator[None]:
    """Keep the libraries off the network and off the terminal while they read local files."""
    from huggingface_hub import constants
    from transformers.utils import logging as chatter

    offline, level = constants.HF_HUB_OFFLINE, chatter.get_verbosity()
    bars = chatter.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = True
    chatter.set_verbosity(logging.ERROR)
    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        chatter.set_verbosity(level)
        if bars:
            chatter.enable_progress_bar()  # type: ignore[no-untyped-call]
