"""A tree of generators with attention to words. Xu et al., 2018, 1711.10485, section 3.1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from t2i.networks.base import Drawn, PictureGenerator
from t2i.networks.tree import Tree
from t2i.networks.words import Words, packed_dim, unpack

# Finite: a caption without any word must not become NaN.
ABSENT = -1e4


class WordAttention(nn.Module):
    """Every place of a picture's features gathers the words that matter there.

    c_j = Σ_i β_ji e'_i,  β_j = softmax_i(h_jᵀ e'_i),  e' = U e                     (eq. 2)

    Args:
        token_dim: Length of a word's state.
        channels: Channels of the features.
    """

    def __init__(self, token_dim: int, channels: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, channels))

    def weights(self, x: Tensor, words: Words) -> Tensor:
        """Return β ``(n, places, t)`` of ``(n, channels, h, w)``: each row sums to 1."""
        return self._weights(x, self.read(words.states), words.present)

    def forward(self, x: Tensor, words: Words) -> Tensor:
        """Return the context ``(n, channels, h, w)`` of ``(n, channels, h, w)``."""
        said = self.read(words.states)
        beta = self._weights(x, said, words.present).to(said.dtype)
        gathered: Tensor = (beta @ said).transpose(1, 2).unflatten(2, x.shape[2:])
        return gathered

    @staticmethod
    def _weights(x: Tensor, said: Tensor, present: Tensor) -> Tensor:
        likeness = x.flatten(2).transpose(1, 2) @ said.to(x.dtype).transpose(1, 2)
        return likeness.float().masked_fill(~present[:, None], ABSENT).softmax(dim=2)


class AttentionGenerator(PictureGenerator):
    """A `Tree` of which each finer scale is drawn with attention to the caption's words.

    Args:
        resolution: Side of the finest pictures.
        scales: Number of scales; each has half the side of the next.
        channels: Channels of the pictures.
        condition_dim: Length of a caption packed with its words (`t2i.networks.words`).
        words: Words that it has room for.
        token_dim: Length of a word's state.
        noise_dim: Length of the noise.
        conditioning_dim: Length of the conditioning.
        width: Channels of the coarsest picture's features; each finer scale has half as many.
        blocks: Residual blocks a scale.

    Raises:
        ValueError: The side cannot be halved so often, or the captions have no room for the words.
    """

    takes_fine = True

    def __init__(
        self,
        *,
        resolution: int = 64,
        scales: int = 3,
        channels: int = 3,
        condition_dim: int = 9496,
        words: int = 24,
        token_dim: int = 384,
        noise_dim: int = 100,
        conditioning_dim: int = 100,
        width: int = 64,
        blocks: int = 2,
    ) -> None:
        sentence_dim = condition_dim - packed_dim(0, words, token_dim)
        if sentence_dim < 1 or words < 1:
            raise ValueError(
                f"words: {words} of {token_dim} numbers leave nothing of {condition_dim} for the "
                "sentence; give captions with words"
            )
        shape: dict[str, Any] = {
            "resolution": resolution,
            "scales": scales,
            "channels": channels,
            "noise_dim": noise_dim,
            "conditioning_dim": conditioning_dim,
            "width": width,
            "blocks": blocks,
        }
        tree = Tree(sentence_dim=sentence_dim, attends=True, **shape)
        told = {"condition_dim": condition_dim, "words": words, "token_dim": token_dim}
        super().__init__(
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            resolutions=tree.sides,
            conditioning_dim=conditioning_dim,
            config={**shape, **told},
        )
        self.words, self.token_dim = words, token_dim
        self.tree = tree
        self.attention = nn.ModuleList(
            WordAttention(token_dim, channels) for channels in tree.widths[:-1]
        )

    def read(self, embedding: Tensor) -> Words:
        """Take packed captions ``(n, condition_dim)`` apart."""
        return unpack(embedding, self.words, self.token_dim)

    def forward(
        self,
        embedding: Tensor,
        noise: Tensor,
        conditioning_noise: Tensor | None = None,
        *,
        fine: Tensor | None = None,
        fine_from: int = 1,
    ) -> Drawn:
        """Draw a picture a row and scale; without ``conditioning_noise`` from the mean.

        Args:
            embedding: ``(n, condition_dim)``.
            noise: ``(n, noise_dim)``.
            conditioning_noise: ``(n, conditioning_dim)``.
            fine: ``(n, condition_dim)`` whose words later scales look for; None for ``embedding``.
            fine_from: Number of the first scale that looks for the words of ``fine``, from 1.
        """
        said = self.read(embedding)
        later = said if fine is None else self.read(fine)

        def context(number: int, x: Tensor, conditioning: Tensor) -> Tensor:
            words = said if number < fine_from else later
            gathered: Tensor = self.attention[number - 1](x, words)
            return gathered

        drawn: Drawn = self.tree(said.sentence, noise, conditioning_noise, context)
        return drawn

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map captions and noise to the finest pictures ``(n, channels, r, r)`` in [-1, 1]."""
        return self.forward(embedding, noise).pictures[-1]

    @torch.no_grad()
    def attention_maps(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return where each finer scale looks at each word: ``(n, words, side, side)``, each.

        The side is that of the scale before; over the words present a place's weights sum to 1.
        The arguments are those of `forward`.
        """
        said, maps = self.read(embedding), []

        def context(number: int, x: Tensor, conditioning: Tensor) -> Tensor:
            layer = self.attention[number - 1]
            assert isinstance(layer, WordAttention)
            maps.append(layer.weights(x, said).transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))
            gathered: Tensor = layer(x, said)
            return gathered

        self.tree(said.sentence, noise, conditioning_noise, context)
        return tuple(maps)
