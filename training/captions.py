"""What recipes that learn from captions share: statistics, and terms of the generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn

from t2i.networks.base import Drawn
from t2i.networks.blocks import Standardize
from training.objectives import Objective, non_saturating
from training.recipe import Scores
from training.regularizers import Play, Regularizer


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
