"""What recipes that learn from captions share: statistics, and terms of the generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn

from t2i.networks.base import Drawn, PictureGenerator
from t2i.networks.blocks import Standardize
from training.compose import draw_all
from training.objectives import Objective, conditioning_kl, non_saturating
from training.optimizers import Adam, halved
from training.recipe import Batch, Networks, Scores
from training.regularizers import Play, Regularizer
from training.stages import since

# 100 epochs of the 8,855 training birds of the papers.
HALVING_KIMG = 900.0


def halving_adam(learning_rate: float, start: float = 0.0) -> Adam:
    """Return Adam with betas 0.5 and 0.999, whose rate is halved every 100 epochs of birds.

    Args:
        learning_rate: At first.
        start: Kimg from which is counted.
    """
    return Adam(learning_rate, betas=(0.5, 0.999), schedule=since(start, halved(HALVING_KIMG)))


def standardizing(*networks: nn.Module) -> Callable[[Tensor], None]:
    """Return a recipe's `fit`: all that standardises captions takes their statistics.

    Args:
        networks: In which every `Standardize` takes captions' embeddings.
    """

    def fit(embeddings: Tensor) -> None:
        for network in networks:
            for module in network.modules():
                if isinstance(module, Standardize):
                    module.fit(embeddings)

    return fit


@dataclass(frozen=True)
class InterpolatedCaptions(Regularizer):
    """The generator's loss on captions between two of the batch. GAN-INT, 1605.05396, eq. 5.

    No picture belongs to such a caption, so the discriminator never sees it with a real one: what
    it learned of other captions tells whether the drawn picture goes with it.

    Attributes:
        objective: Of the generator.
        share: β, of the first caption.
    """

    objective: Objective = non_saturating
    share: float = 0.5
    name: str = "interpolated"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the generator's loss on ``β t_i + (1 - β) t_{i-1}``, a scalar."""
        between = self.share * play.condition + (1.0 - self.share) * play.condition.roll(1, dims=0)
        drawn = cast(Drawn, play.networks["generator"](between, play.noise)).pictures[-1]
        said = cast(Scores, play.networks["discriminator"](drawn, between))
        return self.objective.generator(said.logits)


@dataclass(frozen=True)
class ConditioningKL(Regularizer):
    """KL divergence of the conditioning's Gaussian from N(0, 1). StackGAN, 1612.03242, eq. 2."""

    name: str = "kl"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the mean over batch and dimensions, a scalar in nats."""
        assert play.drawn is not None
        return conditioning_kl(*drawn_gaussian(play.drawn))


def drawn_for_captions(networks: Networks, batch: Batch, name: str) -> Drawn:
    """Draw every stage for the right captions of a batch.

    Args:
        networks: The generator is among them.
        batch: Gives captions and noise.
        name: Of the noise; different names draw apart.
    """
    generator = cast(PictureGenerator, networks["generator"])
    noise = batch.noise.normal(name, generator.noise_dim)
    return draw_all(generator, batch, name, batch.right, noise)


def drawn_gaussian(drawn: Drawn) -> tuple[Tensor, Tensor]:
    """Return μ and log σ ``(n, conditioning_dim)`` that a conditioning was drawn from."""
    assert drawn.mu is not None and drawn.log_sigma is not None
    return drawn.mu, drawn.log_sigma
