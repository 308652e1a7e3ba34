"""What runs: a bundle's generator, and what reads captions for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.ways import Unavailable
from t2i.bundle import Bundle
from t2i.encoders.loading import load_text_encoder
from t2i.encoders.minilm import MiniLM
from t2i.noise import draw_noise
from t2i.products import Product

__all__ = ["Captions", "Pictures", "Subject", "encoder_subject", "generator_subject"]

COLOURS = ("red", "blue", "green", "black", "white", "yellow", "brown", "grey")


class Subject(NamedTuple):
    """A network that can be loaded again and again.

    Attributes:
        network: loads it, in float32 and evaluation mode; it maps tensors to a tuple of tensors.
        inputs: as many rows as are ever asked for.
    """

    network: Any
    inputs: tuple[Tensor, ...]

    def sizes(self, sizes: Sequence[int]) -> dict[int, tuple[Tensor, ...]]:
        """Return the first so many rows, in memory of their own."""
        return {size: tuple(each[:size].clone() for each in self.inputs) for size in sizes}


class Pictures(nn.Module):
    """A generator of which only the pictures are asked.

    Args:
        generator: takes embedding, noise and conditioning noise.
    """

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a picture of each stage, `(n, c, r, r)`."""
        return tuple(self.generator(*inputs).pictures)


class Captions(nn.Module):
    """all-MiniLM-L6-v2 and what a bundle reads its token states with, from tokens to embeddings.

    Its products are torch's own until `lay_out`.

    Args:
        words: the text model, which stays as it is.
        network: reads its token states; None takes their mean.
    """

    def __init__(self, words: MiniLM, network: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.words = copy.copy(words)
        self.words._weights = {
            name: self._own(name, weight) for name, weight in words._weights.items()
        }
        self.words._products = {
            name: partial(  # type: ignore[misc]
                F.linear,
                weight=self._own(f"{name}.weight", product.weight),
                bias=self._own(f"{name}.bias", product.bias),
            )
            for name, product in words._products.items()
        }

    def _own(self, name: str, value: Tensor) -> nn.Parameter:
        parameter = nn.Parameter(value.clone(), requires_grad=False)
        self.register_parameter(name.replace(".", "_"), parameter)
        return parameter

    def lay_out(self) -> None:
        """Have the products that the pipeline has."""
        self.words._products = {
            name: Product(**product.keywords)  # type: ignore[attr-defined]
            for name, product in self.words._products.items()
        }

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Return embeddings, `(n, dim)`, of token ids, `(n, tokens)`."""
        states = self.words._run(ids, None).float()
        present = torch.ones_like(ids, dtype=torch.bool)
        read = self.words.pooled if self.network is None else self.network
        return (read(states, present),)


def encoder_subject(bundle: Bundle, most: int) -> Subject:
    """Return what reads captions for a bundle, and captions of one length.

    Raises:
        Unavailable: the bundle takes no captions, or has another text model read them.
    """
    config = bundle.config.encoder
    if config is None or "text" not in bundle.config.conditions:
        raise Unavailable("the bundle takes no captions")
    words = load_text_encoder(config.id)
    if not isinstance(words, MiniLM):
        raise Unavailable(f"{config.id} is run by sentence-transformers")
    texts = [
        f"a small {one} bird with a {other} head and {third} wings"
        for one in COLOURS for other in COLOURS for third in COLOURS
    ]  # fmt: skip
    tokens = [encoding.ids for encoding in words._tokenizer.encode_batch(texts)]
    length = len(tokens[0])
    ids = torch.tensor([row for row in tokens if len(row) == length][:most])
    return Subject(lambda: Captions(words, bundle.encoder_network()).eval(), (ids,))


def generator_subject(bundle: Bundle, most: int, embeddings: Tensor | None) -> Subject:
    """Return a bundle's generator, and noise by seeds.

    Args:
        bundle: the model.
        most: rows.
        embeddings: `(n, dim)` of captions; None draws random ones.
    """
    generator: Any = bundle.generator()
    rows = torch.arange(most)
    if bundle.config.labels:
        embeddings = torch.eye(generator.condition_dim)
    if embeddings is None or embeddings.shape[1:] != (generator.condition_dim,):
        numbers = torch.Generator().manual_seed(0)
        embeddings = torch.randn(most, generator.condition_dim, generator=numbers)
    noise = [
        draw_noise(seed, generator.noise_dim, generator.conditioning_dim) for seed in range(most)
    ]
    inputs = (
        embeddings[rows % len(embeddings)],
        torch.stack([picture for picture, _ in noise]),
        torch.stack([around for _, around in noise]),
    )
    return Subject(lambda: Pictures(bundle.generator()).eval(), inputs)
