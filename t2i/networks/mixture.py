"""A mixture of generators: each sample is drawn by one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator


class MixtureGenerator(PictureGenerator):
    """Generators of one kind, of which the noise's last entry chooses one a row.

    Args:
        network: Class of the generators, a name of `t2i.networks.NETWORKS`.
        arguments: What each is built with.
        components: How many.
    """

    weights: Tensor

    def __init__(
        self, *, network: str, arguments: Mapping[str, object], components: int = 2
    ) -> None:
        from t2i.networks import build

        parts = [cast(PictureGenerator, build(network, arguments)) for _ in range(components)]
        first = parts[0]
        super().__init__(
            condition_dim=first.condition_dim,
            noise_dim=first.noise_dim + 1,
            resolutions=first.resolutions,
            config={"network": network, "arguments": dict(arguments), "components": components},
        )
        self.parts = nn.ModuleList(parts)
        self.register_buffer("weights", torch.eye(components)[0])

    @classmethod
    def of(cls, generator: PictureGenerator, components: int) -> MixtureGenerator:
        """Return a mixture of new generators like a given one; only the first has weight yet."""
        name = type(generator).__name__
        return cls(network=name, arguments=generator.config, components=components)

    def share(self, count: int) -> None:
        """Let the first ``count`` components, from 1, draw as often as one another."""
        among = torch.arange(len(self.weights), device=self.weights.device) < count
        self.weights.copy_(among / float(count))

    def component(self, number: int, embedding: Tensor, noise: Tensor) -> Tensor:
        """Draw with one component, from ``(n, noise_dim)`` whose last entry is not looked at."""
        part = cast(PictureGenerator, self.parts[number])
        return part.draw(embedding, noise[:, :-1])

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Draw each row with the component into whose share of the normal it falls."""
        edges = self.weights.cumsum(0)[:-1].to(noise.device)
        place = torch.special.ndtr(noise[:, -1].float())
        chosen = torch.bucketize(place, edges, right=True)
        # A share of nothing at the end is met by no noise but that of the last bit.
        chosen = chosen.clamp_max(int(self.weights.nonzero().max()))
        rows, drawn = [], []
        for number in range(len(self.parts)):
            (mine,) = torch.nonzero(chosen == number, as_tuple=True)
            if len(mine):
                rows.append(mine)
                drawn.append(self.component(number, embedding[mine], noise[mine]))
        return torch.cat(drawn)[torch.cat(rows).argsort()]
