"""What generators and critics have in common, whatever the paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from t2i.networks.conditional_norm import ConditionalBatchNorm2d

Joining = Literal["concat", "projection"]


class Drawn(NamedTuple):
    """What a generator returns.

    Attributes:
        pictures: One ``(n, c, r, r)`` tensor in [-1, 1] a stage, coarse to fine; of a generator of
            other samples one tensor of theirs, such as ``(n, 2)`` points.
        mu: ``(n, conditioning_dim)`` mean of the conditioning; None where none is drawn.
        log_sigma: ``(n, conditioning_dim)`` logarithm of its standard deviation; None likewise.
    """

    pictures: tuple[Tensor, ...]
    mu: Tensor | None = None
    log_sigma: Tensor | None = None


class Scores(NamedTuple):
    """What a critic returns.

    Attributes:
        logits: ``(n,)`` float32, high for real; never squashed.
        features: ``(n, f)`` float32, what the logits are computed from.
        classes: ``(n, outputs)`` float32 logits of a second head, or None without one.
    """

    logits: Tensor
    features: Tensor
    classes: Tensor | None = None

    @property
    def class_logits(self) -> Tensor:
        """The second head's logits.

        Raises:
            ValueError: The critic has no second head.
        """
        if self.classes is None:
            raise ValueError("outputs: the critic has no second head; build it with outputs=N")
        return self.classes


class PictureGenerator(nn.Module, ABC):
    """Base of generators that a bundle may hold; a subclass implements `draw`.

    Args:
        condition_dim: Length of the embedding; 0 draws without a condition. For labels it is the
            number of classes, and embeddings are one-hot or mixtures of such.
        noise_dim: Length of the noise.
        resolutions: Side of each stage's picture in pixels; empty for what is no picture.
        config: Arguments that build the same network again, JSON-able.
        conditioning_dim: Length of the noise by which the conditioning is drawn around the
            embedding; 0 draws none.
    """

    def __init__(
        self,
        *,
        condition_dim: int,
        noise_dim: int,
        resolutions: Sequence[int],
        config: Mapping[str, object],
        conditioning_dim: int = 0,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.noise_dim = noise_dim
        self.conditioning_dim = conditioning_dim
        self.resolutions = tuple(resolutions)
        self.config: dict[str, object] = dict(config)

    @abstractmethod
    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map ``(n, condition_dim)`` and ``(n, noise_dim)`` to ``(n, c, r, r)`` in [-1, 1]."""

    def forward(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None = None
    ) -> Drawn:
        """Draw one picture a row; ``conditioning_noise`` is taken for the protocol's sake."""
        return Drawn((self.draw(embedding, noise).float(),))

    @staticmethod
    def joined(embedding: Tensor, noise: Tensor) -> Tensor:
        """Put noise and embedding side by side: ``(n, noise_dim + condition_dim)``."""
        return torch.cat([noise, embedding.to(noise.dtype)], dim=1)


class Critic(nn.Module, ABC):
    """Base of critics; a subclass implements `look`, from pictures to features.

    A condition enters in one of two ways: ``concat`` puts it beside the input, a plane an entry
    (Mirza & Osindero, 2014, 1411.1784); ``projection`` adds its inner product with the features to
    the logit (Miyato & Koyama, 2018, 1802.05637, eq. 3).

    Args:
        feature_dim: Length of what `look` returns.
        condition_dim: Length of the embedding; 0 judges without a condition.
        joining: How the condition enters.
        outputs: Outputs of a second head (classes, codes); 0 has none.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        condition_dim: int = 0,
        joining: Joining = "concat",
        outputs: int = 0,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.joining = joining
        self.score = nn.Linear(feature_dim, 1)
        self.head: nn.Module | None = nn.Linear(feature_dim, outputs) if outputs else None
        projected = condition_dim and joining == "projection"
        self.project = nn.Linear(condition_dim, feature_dim, bias=False) if projected else None

    @staticmethod
    def planes(condition_dim: int, joining: Joining) -> int:
        """Channels that a condition adds to the input."""
        return condition_dim if joining == "concat" else 0

    def without_heads(self) -> Critic:
        """Take the heads away: `look` alone remains, as the trunk of another critic."""
        del self.score, self.head, self.project
        return self

    @abstractmethod
    def look(self, pictures: Tensor) -> Tensor:
        """Map pictures, with the planes of a concatenated condition, to ``(n, feature_dim)``."""

    def forward(self, pictures: Tensor, embedding: Tensor | None = None) -> Scores:
        """Score ``(n, c, r, r)`` pictures, or other samples, under ``(n, condition_dim)``.

        Raises:
            ValueError: The critic needs a condition and got none.
        """
        if self.condition_dim and embedding is None:
            raise ValueError(f"embedding: is missing; give (n, {self.condition_dim})")
        if self.condition_dim and self.joining == "concat":
            assert embedding is not None
            spread = embedding.to(pictures.dtype)
            if pictures.dim() > 2:
                spread = spread[(...,) + (None,) * (pictures.dim() - 2)]
                spread = spread.expand(-1, -1, *pictures.shape[2:])
            pictures = torch.cat([pictures, spread], dim=1)
        features = self.look(pictures)
        logits = self.score(features).squeeze(1)
        if self.project is not None:
            logits = logits + (self.project(embedding) * features).sum(dim=1)
        classes = None if self.head is None else self.head(features).float()
        return Scores(logits.float(), features.float(), classes)


def normalize_spectrally(network: nn.Module) -> None:
    """Divide every convolution's and linear layer's weight by its largest singular value.

    Miyato et al., 2018, 1802.05957, section 2.1, one step of the power iteration a forward pass.
    The gains and biases of a norm that follows the condition are none of these: they start at zero,
    which has no largest singular value, and stay as they are.
    """
    norms = [m for m in network.modules() if isinstance(m, ConditionalBatchNorm2d)]
    gains = {inner for norm in norms for inner in norm.modules()}
    for module in list(network.modules()):
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) and module not in gains:
            spectral_norm(module)
