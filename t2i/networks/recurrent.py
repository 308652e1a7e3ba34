"""A generator that draws on its own canvas. Im et al., 2016, 1602.05110, section 3.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator
from t2i.networks.dcgan import DcganCritic, DcganGenerator


class RecurrentGenerator(PictureGenerator):
    """Decode, look at what was drawn, decode again; all drawings add up to the picture.

    h_z = tanh(W z + b),  h_t = g(ΔC_{t-1}),  ΔC_t = f([h_z, h_t]),  picture = tanh(Σ_t ΔC_t)

    h_1 is zero. f and g are the same at every step: f as DCGAN's generator without its tanh, g as
    its critic.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        noise_dim: Length of the noise.
        hidden_dim: Length of h_z and of h_t.
        width: Channels of f's last hidden layer and of g's first.
        steps: How often it draws, T.
        norm: BatchNorm in f and g.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        channels: int = 3,
        noise_dim: int = 60,
        hidden_dim: int = 100,
        width: int = 64,
        steps: int = 3,
        norm: bool = True,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps: is {steps}; give 1 or more")
        super().__init__(
            condition_dim=0,
            noise_dim=noise_dim,
            resolutions=(resolution,),
            config={
                "resolution": resolution,
                "channels": channels,
                "noise_dim": noise_dim,
                "hidden_dim": hidden_dim,
                "width": width,
                "steps": steps,
                "norm": norm,
            },
        )
        self.steps, self.hidden_dim = steps, hidden_dim
        self.start = nn.Linear(noise_dim, hidden_dim)
        drawn = DcganGenerator(
            resolution=resolution,
            channels=channels,
            noise_dim=2 * hidden_dim,
            width=width,
            norm=norm,
        )
        # The sum of all drawings is squashed, not each.
        self.decode = nn.Sequential(
            drawn.start, nn.Unflatten(1, drawn.start_shape), *drawn.body[:-1]
        )
        self.encode: nn.Module = nn.Identity()
        if steps > 1:
            looked = DcganCritic(resolution=resolution, channels=channels, width=width, norm=norm)
            self.encode = nn.Sequential(
                looked.body, nn.Linear(looked.score.in_features, hidden_dim), nn.Tanh()
            )

    def drawings(self, noise: Tensor) -> list[Tensor]:
        """Return what each step draws, ΔC_1 to ΔC_T: ``(n, channels, r, r)`` without bound."""
        told = self.start(noise).tanh()
        seen = torch.zeros_like(told)
        drawn: list[Tensor] = []
        for _ in range(self.steps):
            if drawn:
                seen = self.encode(drawn[-1])
            drawn.append(self.decode(torch.cat([told, seen], dim=1)))
        return drawn

    def canvases(self, noise: Tensor) -> list[Tensor]:
        """Return the canvas after each step: ``(n, channels, r, r)`` in [-1, 1]."""
        sums = torch.stack([drawing.float() for drawing in self.drawings(noise)]).cumsum(dim=0)
        return list(sums.tanh())

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map noise to ``(n, channels, r, r)`` in [-1, 1]; there is no condition."""
        return self.canvases(noise)[-1]
