"""A matcher of pictures and captions for measuring alone: it sees with eyes that no training used.

Frozen EfficientNet-lite0 looks at the picture; a small head learns where on its maps to look. The
captions are read by their words and pairs of words, learned from nothing but the data. So the
judge shares neither the picture network of the matcher that guides generators (`training.matcher`)
nor the text encoder that conditions them, and need not confuse what those confuse.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from t2i.files import write_atomically
from training.data.pictures import PictureData
from training.metrics.errors import MetricsError
from training.metrics.features import Lite0, Progress, batches

WEIGHTS_FILE = "matcher.safetensors"
CONFIG_FILE = "config.json"
RESIZE = 128
FINE, COARSE = (192, 8), (320, 4)
"""Channels and side of what is kept of a picture: fine from four depths, coarse from the last."""

_WORD = re.compile(r"\w+")
_KIND = "picture matcher"
_STATISTICS = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What frozen eyes see of n pictures, small enough to keep for a whole data set.

    Attributes:
        fine: (n, 192, 8, 8) float16, four depths of the network pooled to one grid.
        coarse: (n, 320, 4, 4) float16, its last maps.
    """

    fine: Tensor
    coarse: Tensor

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.fine)

    def at(self, rows: Tensor) -> Seen:
        """Return some of the pictures."""
        return Seen(self.fine[rows], self.coarse[rows])


class Eyes:
    """Frozen EfficientNet-lite0, several scales pooled: 35 kB of memory for each picture."""

    def __init__(self) -> None:
        self._network = Lite0(RESIZE)

    def look(self, pictures: NDArray[np.uint8], *, progress: Progress | None = None) -> Seen:
        """Look at pictures (n, h, w, 1 or 3) uint8, any number of them."""
        fine, coarse = [], []
        for chunk in batches(pictures, 64):
            *shallow, deepest = self._network.maps(chunk)
            side = FINE[1]
            pooled = [functional.adaptive_avg_pool2d(maps, side) for maps in shallow]
            fine.append(torch.cat(pooled, dim=1).half())
            coarse.append(deepest.half())
            if progress is not None:
                progress(len(chunk))
        if not fine:
            return Seen(*(torch.empty(0, c, s, s, dtype=torch.half) for c, s in (FINE, COARSE)))
        return Seen(torch.cat(fine), torch.cat(coarse))


def phrases(caption: str) -> list[str]:
    """Return the words of a caption, its pairs of neighbours, and pairs with a word between.

    "red head" and "red _ head" (as in "red crested head") tell which part a colour belongs to.
    """
    words = _WORD.findall(caption.casefold())
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(words)]
    apart = [f"{first} _ {second}" for first, second in zip(words, words[2:], strict=False)]
    return list(dict.fromkeys([*words, *pairs, *apart]))


def vocabulary_of(captions: Iterable[str], *, most: int = 8192, least: int = 2) -> tuple[str, ...]:
    """Return the phrases that captions use, the commonest first.

    Args:
        captions: what there is to learn from.
        most: phrases at most.
        least: captions that a phrase must be in.
    """
    counts = Counter(phrase for caption in captions for phrase in phrases(caption))
    known = [(-count, phrase) for phrase, count in counts.items() if count >= least]
    return tuple(phrase for _, phrase in sorted(known)[:most])


class Looking(nn.Module):
    """From what the eyes see to a unit vector: learned places on two maps, then linear.

    Args:
        dim: length of the vector.
        width: channels into which each map is turned first.
        places: places looked at on each map.
        drop: share of a map's cells that training hides at random.
    """

    def __init__(self, dim: int, width: int, places: int, drop: float = 0.25) -> None:
        super().__init__()
        self.drop = drop
        channels = (FINE[0], COARSE[0])
        self.enter = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.where = nn.ModuleList(nn.Conv2d(width, places, 1) for _ in channels)
        self.leave = nn.Sequential(nn.Dropout(0.1), nn.Linear(2 * places * width, dim))
        for index, each in enumerate(channels):
            self.register_buffer(f"mean{index}", torch.zeros(each, 1, 1))
            self.register_buffer(f"scale{index}", torch.ones(each, 1, 1))

    def fit(self, seen: Seen) -> None:
        """Take the statistics by which maps are standardised, from some of the pictures."""
        for index, maps in enumerate((seen.fine, seen.coarse)):
            rows = maps[:_STATISTICS].float().transpose(0, 1).flatten(1)
            self.get_buffer(f"mean{index}").copy_(rows.mean(dim=1)[:, None, None])
            self.get_buffer(f"scale{index}").copy_(1 / (rows.std(dim=1)[:, None, None] + 1e-3))

    def forward(self, seen: Seen) -> Tensor:
        """Map n pictures to (n, dim) unit vectors."""
        found = []
        for index, maps in enumerate((seen.fine, seen.coarse)):
            mean, scale = self.get_buffer(f"mean{index}"), self.get_buffer(f"scale{index}")
            x = ((maps.float() - mean) * scale).clamp(-6, 6)
            x = functional.gelu(self.enter[index](x))
            places = self.where[index](x).flatten(2)
            if self.training:
                hidden = torch.rand(len(places), 1, places.shape[2]) < self.drop
                places = places.masked_fill(hidden, -1e4)
            found.append(torch.einsum("nkp,ncp->nkc", places.softmax(dim=2), x.flatten(2)))
        return functional.normalize(self.leave(torch.cat(found, dim=1).flatten(1)), dim=1)


class Reading(nn.Module):
    """From the phrases of a caption to a unit vector: the mean of what each stands for, two layers.

    Args:
        phrases: how many are known; number 0 stands for a caption without any of them.
        dim: length of the vector.
    """

    def __init__(self, phrases: int, dim: int) -> None:
        super().__init__()
        self.meanings = nn.EmbeddingBag(phrases + 1, dim, mode="mean")
        self.layers = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(2 * dim, dim),
        )

    def forward(self, numbers: Sequence[Tensor]) -> Tensor:
        """Map the phrases' numbers of n captions, one or more each, to (n, dim) unit vectors."""
        starts = torch.tensor([0, *(len(each) for each in numbers[:-1])]).cumsum(0)
        meant = self.meanings(torch.cat(list(numbers)), starts)
        return functional.normalize(self.layers(meant), dim=1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the two heads; see `Looking` and `Reading`."""

    dim: int = 256
    width: int = 96
    places: int = 16


class MatcherNetwork(nn.Module):
    """Both heads, and what multiplies cosines to make them logits.

    Args:
        vocabulary: phrases that are known.
        sizes: of the heads.
    """

    def __init__(self, vocabulary: tuple[str, ...], sizes: Sizes) -> None:
        super().__init__()
        self.looking = Looking(sizes.dim, sizes.width, sizes.places)
        self.reading = Reading(len(vocabulary), sizes.dim)
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self._numbers = {phrase: number for number, phrase in enumerate(vocabulary, 1)}

    @property
    def scale(self) -> Tensor:
        """What multiplies cosines."""
        return self.log_scale.exp().clamp(max=50.0)

    def numbers(self, caption: str) -> Tensor:
        """Return the numbers of a caption's phrases, 0 alone where none is known."""
        known = [self._numbers[each] for each in phrases(caption) if each in self._numbers]
        return torch.tensor(known or [0])


@dataclass(frozen=True, slots=True)
class Learned:
    """Which pictures a matcher learned from, and which it was tested on.

    The rows of `of` pictures are put into the order of `numpy.random.default_rng(seed)`'s
    permutation; the first `tested` are tested on, the next `pictures` learned from.

    Attributes:
        data: name of the data and its split.
        fingerprint: of the data.
        resolution: side at which it was read.
        of: pictures that it holds.
        tested: pictures tested on.
        pictures: pictures learned from.
        seed: of that order, the weights and the batches.
        data_seed: of drawn data; None where they were read.
    """

    data: str
    fingerprint: str
    resolution: int
    of: int
    tested: int
    pictures: int
    seed: int
    data_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Tested:
    """What real pictures scored that the matcher did not learn from.

    Attributes:
        r_precision: share whose own caption lies nearest.
        shuffled: the same with another's caption.
        choices: captions among which it was found.
        captions: asked.
    """

    r_precision: float
    shuffled: float
    choices: int
    captions: int


class PictureMatcher:
    """A trained matcher with all that tells whether it may judge.

    Attributes:
        name: what it was trained on, with the first digits of its weights' SHA-256.
        resize: side to which pictures are brought.
        learned: from which pictures.
        tested: how well it does on others.
    """

    resize = RESIZE

    def __init__(
        self,
        network: MatcherNetwork,
        vocabulary: tuple[str, ...],
        sizes: Sizes,
        learned: Learned,
        tested: Tested,
        settings: Mapping[str, Any],
        eyes: Eyes | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.vocabulary = vocabulary
        self.sizes = sizes
        self.learned = learned
        self.tested = tested
        self.settings = dict(settings)
        self.sha256 = hashlib.sha256(self._weights()).hexdigest()
        self.name = f"matcher of {learned.data} ({self.sha256[:8]})"
        self._eyes = eyes or Eyes()

    @torch.inference_mode()
    def see(self, pictures: NDArray[np.uint8], *, progress: Progress | None = None) -> Tensor:
        """Map pictures (n, h, w, 1 or 3) uint8 to unit vectors (n, dim) float32."""
        return self.judge(self._eyes.look(pictures, progress=progress))

    @torch.inference_mode()
    def judge(self, seen: Seen) -> Tensor:
        """Map what the eyes saw of n pictures to unit vectors (n, dim) float32."""
        rows = torch.arange(len(seen))
        parts = [rows[start : start + 256] for start in range(0, len(rows), 256)]
        return torch.cat([self.network.looking(seen.at(some)) for some in parts])

    @torch.inference_mode()
    def read(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors (n, dim) float32; unknown words say nothing."""
        numbers = [self.network.numbers(caption) for caption in captions]
        read: Tensor = self.network.reading(numbers)
        return read

    def may_have_learned_from(self, data: PictureData) -> bool:
        """Tell whether these may be pictures that it learned from, perhaps at another size."""
        if self.learned.fingerprint == data.fingerprint:
            return True
        # Drawn pictures of another seed or split go by one name.
        return self.learned.data_seed is None and self.learned.data == data.name

    def _weights(self) -> bytes:
        from safetensors.torch import save

        return save({key: value.contiguous() for key, value in self.network.state_dict().items()})

    def save(self, folder: Path) -> None:
        """Write weights and configuration; every file appears whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "format": 1,
            "kind": _KIND,
            "sha256": self.sha256,
            "resize": self.resize,
            "learned": asdict(self.learned),
            "tested": asdict(self.tested),
            "settings": self.settings,
            "sizes": asdict(self.sizes),
            "vocabulary": list(self.vocabulary),
        }
        write_atomically(folder / WEIGHTS_FILE, self._weights())
        text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
        write_atomically(folder / CONFIG_FILE, text.encode())

    @classmethod
    def load(cls, folder: Path) -> PictureMatcher:
        """Read what `save` wrote.

        Raises:
            MetricsError: a file is missing, damaged, or not what this version writes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            if (config["format"], config["kind"], config["resize"]) != (1, _KIND, RESIZE):
                raise ValueError(f"it is a {config['kind']!r} of format {config['format']!r}")
            content = (folder / WEIGHTS_FILE).read_bytes()
            if hashlib.sha256(content).hexdigest() != config["sha256"]:
                raise ValueError(f"{WEIGHTS_FILE} has another SHA-256 than {CONFIG_FILE} says")
            vocabulary, sizes = tuple(config["vocabulary"]), Sizes(**config["sizes"])
            network = MatcherNetwork(vocabulary, sizes)
            network.load_state_dict(load(content))
            learned, tested = Learned(**config["learned"]), Tested(**config["tested"])
            settings = dict(config["settings"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise MetricsError(
                "matcher",
                str(folder),
                f"holds no usable matcher of pictures and captions ({error})",
                "train one: t2i-train matcher --data DATA --out FOLDER",
            ) from error
        return cls(network, vocabulary, sizes, learned, tested, settings)
