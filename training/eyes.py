"""Networks that read pictures for what goes before a generator's training, by name.

`learned` ones begin with nothing and see what the data's captions teach them to see: the best where
thousands of pictures say what matters. `lite1` looks through a network that has seen a million
photographs (ImageNet) and stays as it is; only where to look is learned, so that a few hundred
photographs are enough. As the critics' eyes they are those of Projected GANs (2111.01007). `both`
is critics through lite1, and codes of what learned ones see: where exact colours and small marks
matter and pictures are many.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from t2i.networks.picture_reader import PictureNetwork, PictureReader, looked_at
from training.data.pictures import PictureData
from training.lite import load_lite, without_norms

__all__ = ["BothEyes", "Eyes", "FrozenEyes", "PretrainedNetwork", "make_eyes", "suitable_eyes"]

Eyes = Literal["learned", "lite1", "both"]
# The blocks of lite1 whose maps are looked at: their channels, and how often the side was halved.
TAPS = {3: (24, 2), 6: (40, 3), 14: (112, 4)}
# Side at which `both` reads pictures, and of how many of a batch the frozen eyes learn their norms.
READ_AT, MEASURED = 64, 16
MANY = 10_000
# Side at which the coarsest of the blocks of `TAPS` leaves maps that a critic can judge.
SMALLEST = 64


class FrozenEyes(nn.Module):
    """What a network that has seen photographs sees of a picture, at three depths.

    Only the mean and the deviation of each channel are learned from the data.

    Raises:
        InvalidInput: The packages that carry the weights are missing.
    """

    def __init__(self) -> None:
        super().__init__()
        # Without their norms the blocks pad alike whatever the side, so long as it halves evenly.
        self.trunk = nn.ModuleList(without_norms(load_lite(1, 64, "eyes"), max(TAPS) + 1))
        self.trunk.requires_grad_(False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, affine=False) for c, _ in TAPS.values())

    def features(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """See `PictureReader`: what the blocks of `TAPS` see, normed."""
        x = (127.5 * pictures + 0.5) / 128.0
        taken: list[Tensor] = []
        # The stem comes before block 0.
        for number, block in enumerate(self.trunk, start=-1):
            x = block(x)
            if number in TAPS:
                taken.append(x)
        return tuple(norm(each) for norm, each in zip(self.norms, taken, strict=True))

    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """See `PictureReader`."""
        return tuple((channels, resolution >> halvings) for channels, halvings in TAPS.values())


class PretrainedNetwork(FrozenEyes, PictureReader):
    """A picture's code, of what frozen eyes see.

    Args:
        code_dim: Length of the code.
        places: Places looked at, at each of the three resolutions.
        width: Channels into which each map is turned first.

    Raises:
        InvalidInput: The packages that carry the weights are missing.
    """

    def __init__(self, code_dim: int = 256, places: int = 16, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Conv2d(c, width, 1) for c, _ in TAPS.values())
        self.look = nn.ModuleList(nn.Conv2d(width, places, 1) for _ in TAPS)
        self.code = nn.Linear((places + 1) * width * len(TAPS), code_dim)

    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See `PictureReader`."""
        maps = self.features(pictures)
        seen: list[Tensor] = []
        for each, enter, look in zip(maps, self.enter, self.look, strict=True):
            inner = nn.functional.gelu(enter(each))
            seen += [looked_at(inner, look(inner)), inner.mean(dim=(2, 3))]
        return maps, self.code(torch.cat(seen, dim=1))


class BothEyes(PictureReader):
    """Maps of what frozen eyes see, and a code of what others learn to see from the data.

    What captions state can still be told at a side of `READ_AT`, at a quarter of the cost of the
    next larger one, and codes of smaller pictures ask nothing of single pixels.

    Args:
        code_dim: Length of the code.

    Raises:
        InvalidInput: The packages that carry the frozen eyes' weights are missing.
    """

    def __init__(self, code_dim: int = 256) -> None:
        super().__init__()
        self.frozen = FrozenEyes()
        self.learned = PictureNetwork(code_dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """See `PictureReader`; while it learns, the frozen eyes learn their norms."""
        if self.training:
            with torch.no_grad():
                self.frozen.features(pictures[:MEASURED])
        return self._read(pictures)

    def features(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """See `PictureReader`: the feature maps of the frozen eyes."""
        return self.frozen.features(pictures)

    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """See `PictureReader`."""
        return self.features(pictures), self._read(pictures)

    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """See `PictureReader`."""
        return self.frozen.map_shapes(resolution)

    def _read(self, pictures: Tensor) -> Tensor:
        if pictures.shape[-1] > READ_AT:
            pictures = adaptive_avg_pool2d(pictures, READ_AT)
        code: Tensor = self.learned(pictures)
        return code


def suitable_eyes(data: PictureData) -> Eyes:
    """Return which eyes suit the data, where nobody says.

    Learned ones need many pictures that say what can be seen in them. Those of photographs see too
    little of pictures that are smaller than `SMALLEST`.
    """
    described = len(data) >= MANY and data.attributes is not None
    return "learned" if described or data.resolution < SMALLEST else "lite1"


def make_eyes(eyes: Eyes, code_dim: int) -> PictureReader:
    """Return a new network that reads pictures.

    Args:
        eyes: Which.
        code_dim: Length of a picture's code.
    """
    network: PictureReader
    match eyes:
        case "learned":
            network = PictureNetwork(code_dim)
        case "lite1":
            network = PretrainedNetwork(code_dim)
        case "both":
            network = BothEyes(code_dim)
    return network.to(memory_format=torch.channels_last)
