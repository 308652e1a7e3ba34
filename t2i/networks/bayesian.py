"""A generator whose weights are random: a normal distribution over each, learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from t2i.networks.base import PictureGenerator


class BayesianGenerator(PictureGenerator):
    """Any generator with independent normal weights, ``β ~ N(μ, s²)``.

    The noise's last entry chooses one of a fixed set of weights drawn from that distribution.

    Args:
        network: Class of the generator, a name of `t2i.networks.NETWORKS`, without BatchNorm.
        arguments: What it is built with.
        draws: How many sets of weights it draws with.
        scale: Deviation s of every weight at the start.
    """

    def __init__(
        self,
        *,
        network: str,
        arguments: Mapping[str, object],
        draws: int = 10,
        scale: float = 0.02,
    ) -> None:
        from t2i.networks import build

        means = cast(PictureGenerator, build(network, arguments))
        super().__init__(
            condition_dim=means.condition_dim,
            noise_dim=means.noise_dim + 1,
            resolutions=means.resolutions,
            config={
                "network": network,
                "arguments": dict(arguments),
                "draws": draws,
                "scale": scale,
            },
        )
        if draws < 1:
            raise ValueError(f"draws: is {draws}; give 1 or more")
        self.draws = draws
        self.means = means
        self.log_scales = nn.ParameterList(
            torch.full_like(w, math.log(scale)) for w in means.parameters()
        )

    @classmethod
    def like(cls, generator: PictureGenerator, draws: int = 10) -> BayesianGenerator:
        """Return a new generator like a given one, with random weights."""
        name = type(generator).__name__
        return cls(network=name, arguments=generator.config, draws=draws)

    def weights(self, seed: int | None = None) -> dict[str, Tensor]:
        """Draw weights, with gradients to means and deviations; by torch's own seed if None."""
        rng = None if seed is None else torch.Generator().manual_seed(seed)
        drawn = {}
        pairs = zip(self.means.named_parameters(), self.log_scales, strict=True)
        for (name, mean), log_scale in pairs:
            step = torch.randn(mean.shape, generator=rng).to(mean.device)
            drawn[name] = mean + log_scale.exp() * step
        return drawn

    def with_weights(
        self, weights: Mapping[str, Tensor], embedding: Tensor, noise: Tensor
    ) -> Tensor:
        """Draw samples with given weights, from ``(n, noise_dim)``; its last entry is not used."""
        drawn = functional_call(self.means, dict(weights), (embedding, noise[:, :-1]))
        samples: Tensor = drawn.pictures[-1]
        return samples

    def divergence(self, deviation: float = 1.0) -> Tensor:
        """Return KL(q(β) ‖ p(β)) in nats from the prior N(0, deviation²) of every weight."""
        terms = []
        for mean, log_scale in zip(self.means.parameters(), self.log_scales, strict=True):
            square = ((2.0 * log_scale).exp() + mean.square()) / deviation**2
            terms.append((0.5 * (square - 1.0) - log_scale + math.log(deviation)).sum())
        return torch.stack(terms).sum()

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Draw each row with the weights that its noise chooses."""
        place = torch.special.ndtr(noise[:, -1].float())
        chosen = (place * self.draws).long().clamp(0, self.draws - 1)
        rows, drawn = [], []
        for number in chosen.unique().tolist():
            (mine,) = torch.nonzero(chosen == number, as_tuple=True)
            rows.append(mine)
            drawn.append(self.with_weights(self.weights(number), embedding[mine], noise[mine]))
        return torch.cat(drawn)[torch.cat(rows).argsort()]
