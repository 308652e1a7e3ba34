"""Critics that judge pairs of picture and caption. Reed et al., 2016, 1605.05396, section 4.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2i.networks.base import Critic, Scores
from t2i.networks.blocks import LEAK, Standardize
from t2i.networks.dcgan import DcganCritic, first_side, init_dcgan


class CaptionCode(nn.Sequential):
    """A short code of a caption: the standardised embedding, a linear layer, leaky ReLU.

    Args:
        condition_dim: Length of the embedding.
        code_dim: Length of the code; 0 leaves the standardised embedding as it is.
    """

    def __init__(self, condition_dim: int, code_dim: int) -> None:
        layers: list[nn.Module] = [Standardize(condition_dim)]
        if code_dim:
            layers += [nn.Linear(condition_dim, code_dim), nn.LeakyReLU(LEAK)]
        super().__init__(*layers)
        self.dim = code_dim or condition_dim


class CaptionCritic(Critic):
    """Looks at a picture, puts the caption's code at every place of what it saw, and judges both.

    A picture may be paired with several captions; it is looked at once.

    Args:
        trunk: From pictures ``(m, c, r, r)`` to features.
        shape: Channels and side of the features.
        condition_dim: Length of the embedding.
        code_dim: Length of the caption's code; 0 takes the standardised embedding.
        join: From features and code at every place to features of the same side.
        joined: Channels of those.
        alone: Have a second score, of the picture without any caption.
    """

    def __init__(
        self,
        *,
        trunk: nn.Module,
        shape: tuple[int, int],
        condition_dim: int,
        code_dim: int,
        join: nn.Module,
        joined: int,
        alone: bool = False,
    ) -> None:
        channels, side = shape
        super().__init__(feature_dim=joined * side * side, condition_dim=condition_dim)
        self.trunk, self.shape = trunk, shape
        self.read = CaptionCode(condition_dim, code_dim)
        self.join = join
        self.score_alone = nn.Linear(channels * side * side, 1) if alone else None

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(m, c, r, r)`` to what is seen without a caption, ``(m, channels, side, side)``."""
        channels, side = self.shape
        seen: Tensor = self.trunk(pictures)
        return seen.reshape(len(seen), channels, side, side)

    def pair(self, seen: Tensor, code: Tensor) -> Scores:
        """Judge what was seen beside codes of captions.

        Args:
            seen: ``(m, channels, side, side)``.
            code: ``(k * m, code_dim)``: the first m belong to the pictures in order, then the next.

        Returns:
            Scores of the ``k * m`` pairs.
        """
        places = code.to(seen.dtype)[:, :, None, None].expand(-1, -1, *seen.shape[2:])
        seen = seen.repeat(len(code) // len(seen), 1, 1, 1)
        features = self.join(torch.cat([seen, places], dim=1)).flatten(1)
        return Scores(self.score(features).squeeze(1).float(), features.float())

    def alone(self, seen: Tensor) -> Tensor:
        """Judge what was seen, ``(m, channels, side, side)``, without a caption: ``(m,)`` logits.

        Raises:
            ValueError: The critic was built without that score.
        """
        if self.score_alone is None:
            raise ValueError("alone: the critic has no such score; build it with alone=True")
        logits: Tensor = self.score_alone(seen.flatten(1)).squeeze(1).float()
        return logits

    def forward(self, pictures: Tensor, embedding: Tensor | None = None) -> Scores:
        """Score ``(m, c, r, r)`` pictures with ``(k * m, condition_dim)`` captions; see `pair`.

        Raises:
            ValueError: There are no captions.
        """
        if embedding is None:
            raise ValueError(f"embedding: is missing; give (n, {self.condition_dim})")
        return self.pair(self.look(pictures), self.read(embedding))


class DcganCaptionCritic(CaptionCritic):
    """DCGAN's strided convolutions, then a convolution over picture and caption, with BatchNorm.

    Args:
        resolution: Side of the pictures: 28, 32, 64, or any 4 to 7 doubled.
        channels: Channels of the pictures.
        condition_dim: Length of the embedding.
        code_dim: Length of the caption's code; 0 takes the standardised embedding.
        width: Channels of the first layer; they double at every halving of the side.
        kernel: Side of the convolution over picture and caption, 1 or 3.
        alone: Have a second score, of the picture without any caption.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        channels: int = 3,
        condition_dim: int = 384,
        code_dim: int = 128,
        width: int = 64,
        kernel: int = 1,
        alone: bool = False,
    ) -> None:
        trunk = DcganCritic(resolution=resolution, channels=channels, width=width).without_heads()
        side = first_side(resolution)
        seen = width * resolution // (2 * side)
        join = nn.Sequential(
            nn.Conv2d(
                seen + (code_dim or condition_dim), seen, kernel, padding=kernel // 2, bias=False
            ),
            nn.BatchNorm2d(seen),
            nn.LeakyReLU(LEAK),
        )
        super().__init__(
            trunk=_Looked(trunk),
            shape=(seen, side),
            condition_dim=condition_dim,
            code_dim=code_dim,
            join=join,
            joined=seen,
            alone=alone,
        )
        init_dcgan(self)


class _Looked(nn.Module):
    """What a critic sees, without its scores."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, pictures: Tensor) -> Tensor:
        return self.critic.look(pictures)
