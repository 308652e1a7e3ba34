"""The matching-aware discriminator: one trunk a stage, scored with and without the caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from t2i.networks.blocks import LEAK, DownBlock, Standardize


class StageScores(NamedTuple):
    """What one stage's discriminator returns. All scores are logits.

    Attributes:
        picture: ``(m,)`` does the picture look real, whatever the caption?
        pair: ``(p,)`` is it a real picture with a caption that is true of it?
        picture_code: ``(m, code_dim)`` unit vectors of the pictures.
        caption_code: ``(p, code_dim)`` unit vectors of the captions, comparable with them.
    """

    picture: Tensor
    pair: Tensor
    picture_code: Tensor
    caption_code: Tensor


def batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Append the mean standard deviation over groups of pictures. Progressive GAN, 1710.10196, 3.

    Neighbours in the batch form a group, so real and fake pictures must not share one: the batch
    is real pictures, then as many fakes.

    Args:
        x: ``(m, channels, h, w)`` features.
        group: Wanted size of a group; the largest divisor of half the batch up to it is taken.

    Returns:
        ``(m, channels + 1, h, w)``.
    """
    m = len(x)
    half = m // 2 if m % 2 == 0 else m
    size = max(g for g in range(1, min(group, half) + 1) if half % g == 0)
    grouped = x.float().reshape(m // size, size, *x.shape[1:])
    # In two passes: on CPUs `var` over other dimensions than the last takes ten times as long.
    variance = (grouped - grouped.mean(dim=1, keepdim=True)).square().mean(dim=1)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    per_picture = deviation.repeat_interleave(size).to(x.dtype)
    return torch.cat([x, per_picture[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


class PictureCritic(nn.Module):
    """Discriminator of one stage, or of one layer of a frozen network's features.

    Args:
        resolution: Side of the pictures in pixels, or of the feature maps; a power of two from 4.
        in_channels: 3, or the channels of the feature maps.
        caption_dim: Length of the caption's code from the shared caption network.
        width: Channels at full resolution; they double at every halving.
        max_channels: Upper bound of the channels.
        code_dim: Length of the codes that pictures and captions are compared by.

    Raises:
        ValueError: The resolution is below 4.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        caption_dim: int,
        width: int,
        max_channels: int,
        code_dim: int,
    ) -> None:
        if resolution < 4:
            what = "pictures" if in_channels == 3 else "feature maps"
            raise ValueError(
                f"resolution: {what} of {resolution} pixels a side cannot be judged, 4 are the "
                "least; train at a higher resolution"
            )
        super().__init__()
        # A picture's colours want their neighbours; features hold theirs already.
        kernel = 3 if in_channels == 3 else 1
        self.from_rgb = nn.Conv2d(in_channels, width, kernel, padding=kernel // 2)
        blocks: list[nn.Module] = []
        channels = width
        for _ in range(round(math.log2(resolution // 4))):
            following = min(max_channels, channels * 2)
            blocks.append(DownBlock(channels, following))
            channels = following
        self.blocks = nn.Sequential(*blocks)
        self.look = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.look_score = nn.Linear(channels * 16, 1)
        self.match = nn.Conv2d(channels + caption_dim, channels, 3, padding=1)
        self.match_score = nn.Linear(channels * 16, 1)
        self.code = nn.Linear(channels * 16, code_dim)
        self.caption_code = nn.Linear(caption_dim, code_dim)

    def forward(self, pictures: Tensor, caption: Tensor, of: Tensor) -> StageScores:
        """Score ``(m, in_channels, r, r)`` and ``(p,)`` pairs; pair i shows picture ``of[i]``."""
        x = F.leaky_relu(self.blocks(self.from_rgb(pictures)), LEAK)
        look = F.leaky_relu(self.look(batch_deviation(x)), LEAK)
        spread = caption.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        match = F.leaky_relu(self.match(torch.cat([x[of], spread], dim=1)), LEAK)
        return StageScores(
            picture=self.look_score(look.flatten(1)).squeeze(1).float(),
            pair=self.match_score(match.flatten(1)).squeeze(1).float(),
            picture_code=F.normalize(self.code(x.flatten(1)).float(), dim=1),
            caption_code=F.normalize(self.caption_code(caption).float(), dim=1),
        )


class StageDiscriminator(nn.Module):
    """A matching-aware discriminator at every stage (GAN-CLS, 1605.05396; StackGAN-v2, 1710.10916).

    Each stage judges the picture alone and the pair of picture and caption, and gives codes by
    which pictures and captions are matched. Spectral normalisation (1802.05957) throughout.

    Further critics may look at features of the last stage's picture in a frozen network, as in
    Projected GANs (2111.01007): they see at once what a critic of pixels has to learn first.

    Args:
        condition_dim: Length of the encoder's embedding.
        resolutions: Side of each stage's picture in pixels, ascending.
        width: Channels at full resolution of the last stage.
        max_channels: Upper bound of the channels.
        caption_dim: Length of the caption's code inside the discriminator.
        code_dim: Length of the codes that pictures and captions are matched by.
        features: Channels and side of each feature map of the frozen network.
    """

    def __init__(
        self,
        *,
        condition_dim: int = 384,
        resolutions: Sequence[int] = (16, 32, 64),
        width: int = 32,
        max_channels: int = 256,
        caption_dim: int = 128,
        code_dim: int = 128,
        features: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__()
        self.resolutions = tuple(int(r) for r in resolutions)
        self.config: dict[str, object] = {
            "condition_dim": condition_dim,
            "resolutions": list(self.resolutions),
            "width": width,
            "max_channels": max_channels,
            "caption_dim": caption_dim,
            "code_dim": code_dim,
            "features": [list(each) for each in features],
        }
        self.standardize = Standardize(condition_dim)
        self.caption_hidden = nn.Linear(condition_dim, 256)
        self.caption_out = nn.Linear(256, caption_dim)
        final = self.resolutions[-1]
        inputs = [(3, r, min(max_channels, width * final // r)) for r in self.resolutions]
        inputs += [(channels, side, min(max_channels, channels)) for channels, side in features]
        self.critics = nn.ModuleList(
            PictureCritic(side, channels, caption_dim, inner, max_channels, code_dim)
            for channels, side, inner in inputs
        )
        for module in list(self.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                spectral_norm(module)

    def forward(
        self, pictures: Sequence[Tensor], embedding: Tensor, of: Tensor
    ) -> tuple[StageScores, ...]:
        """Score pictures and pairs at every stage that is given.

        One call scores all pairs, so that each picture passes the trunk once however many captions
        it is paired with (and a data-parallel wrapper sees one forward before its backward).

        Args:
            pictures: One ``(m, 3, r, r)`` tensor in [-1, 1] a stage, from the first stage on; after
                the last stage's, its features ``(m, channels, side, side)``.
            embedding: ``(p, condition_dim)`` captions of the pairs, as the encoder returns them.
            of: ``(p,)`` index of each pair's picture.
        """
        hidden = F.leaky_relu(self.caption_hidden(self.standardize(embedding)), LEAK)
        caption = F.leaky_relu(self.caption_out(hidden), LEAK)
        return tuple(
            critic(stage, caption, of)
            for critic, stage in zip(self.critics, pictures, strict=False)
        )
