"""A small classifier of labelled pictures, trained here: the judge of classes and of digits.

It gives logits (Inception Score, AM score, class accuracy, modes of stacked digits) and features
(FID, KID and the like over a network that knows the data). Digits take half a minute of one core.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from t2i.files import write_atomically
from training.metrics.errors import MetricsError
from training.metrics.features import Progress, batches
from training.metrics.learning import Average, Learning

WEIGHTS_FILE = "classifier.safetensors"
CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class FitSettings:
    """The knobs of `fit`.

    Attributes:
        kimg: thousands of pictures shown.
        batch: pictures in a step.
        learning_rate: the peak of a one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        width: channels of the first block; each block doubles them.
        blocks: halvings of the side.
        shift: pictures are moved by up to so many pixels.
        mirror: pictures are mirrored at random: right for things, wrong for digits and letters.
        seed: of the weights, the order and the shifts.
    """

    kimg: float = 60.0
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    width: int = 16
    blocks: int = 3
    shift: int = 2
    mirror: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 2 or self.kimg * 1000 < self.batch:
            raise MetricsError("kimg", self.kimg, "is less than one batch", "train for longer")
        if min(self.width, self.blocks) < 1 or self.shift < 0:
            raise MetricsError(
                "width", self.width, "or blocks or shift is too small", "use 16, 3 and 2"
            )

    @property
    def steps(self) -> int:
        """Batches shown; at least ten, which the schedule needs."""
        return max(10, math.ceil(self.kimg * 1000 / self.batch))


class PictureNetwork(nn.Module):
    """Blocks of two convolutions with BatchNorm and a halving each, mean over places, linear."""

    def __init__(self, channels: int, classes: int, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        inputs = channels
        for index in range(blocks):
            outputs = width * 2**index
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(outputs, outputs, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(outputs),
                    nn.ReLU(inplace=True),
                )
            )
            inputs = outputs
        self.num_features = inputs
        self.head = nn.Linear(inputs, classes)

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (n, channels, h, w) in [-1, 1] to the maps after each block."""
        taken = []
        for block in self.blocks:
            x = block(x)
            taken.append(x)
        return tuple(taken)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) in [-1, 1] to logits (n, classes)."""
        logits: Tensor = self.head(self.maps(x)[-1].mean(dim=(2, 3)))
        return logits


class PictureClassifier:
    """A trained network with the names of its classes; usable wherever a feature network is.

    Attributes:
        name: of the classifier, with the first digits of its weights' SHA-256.
        resize: side to which pictures are brought.
        num_features: width of `vectors`.
        labels: names of the classes.
        accuracy: share of the held-out pictures that it classes rightly.
        held_out: how many those were.
    """

    def __init__(
        self,
        network: PictureNetwork,
        *,
        title: str,
        resize: int,
        channels: int,
        labels: tuple[str, ...],
        accuracy: float,
        held_out: int,
        settings: Mapping[str, Any],
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        self.title = title
        self.resize = resize
        self.channels = channels
        self.labels = labels
        self.accuracy = accuracy
        self.held_out = held_out
        self.settings = dict(settings)
        self.num_features = network.num_features
        self.name = f"classifier of {title} ({hashlib.sha256(self._weights()).hexdigest()[:8]})"

    @torch.inference_mode()
    def logits(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 1 or 3) uint8 to logits (n, classes) float32."""
        return self.network(self._prepared(pictures))  # type: ignore[no-any-return]

    @torch.inference_mode()
    def vectors(self, pictures: Tensor) -> Tensor:
        """Map pictures (n, h, w, 1 or 3) uint8 to features (n, num_features) float32."""
        return self.network.maps(self._prepared(pictures))[-1].mean(dim=(2, 3))

    @torch.inference_mode()
    def maps(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (n, h, w, 1 or 3) uint8 to the maps after each block."""
        return self.network.maps(self._prepared(pictures))

    def all_logits(
        self, pictures: NDArray[np.uint8], *, batch: int = 256, progress: Progress | None = None
    ) -> Tensor:
        """Return the logits (n, classes) of an array of pictures, batch by batch."""
        rows = []
        for chunk in batches(pictures, batch):
            rows.append(self.logits(chunk))
            if progress is not None:
                progress(len(chunk))
        return torch.cat(rows) if rows else torch.empty(0, len(self.labels))

    def _prepared(self, pictures: Tensor) -> Tensor:
        return _prepared(pictures, self.resize, self.channels)

    def _weights(self) -> bytes:
        from safetensors.torch import save

        return save({key: value.contiguous() for key, value in self.network.state_dict().items()})

    def save(self, folder: Path) -> None:
        """Write weights and configuration; every file appears whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "format": 1,
            "kind": "picture classifier",
            "title": self.title,
            "resize": self.resize,
            "channels": self.channels,
            "labels": list(self.labels),
            "accuracy": self.accuracy,
            "held_out": self.held_out,
            "settings": self.settings,
        }
        write_atomically(folder / WEIGHTS_FILE, self._weights())
        write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: Path) -> PictureClassifier:
        """Read what `save` wrote.

        Raises:
            MetricsError: a file is missing or is not what this version writes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            if config["format"] != 1 or config["kind"] != "picture classifier":
                raise ValueError(f"it is a {config['kind']!r} of format {config['format']!r}")
            labels = tuple(str(label) for label in config["labels"])
            settings = dict(config["settings"])
            network = PictureNetwork(
                config["channels"], len(labels), settings["width"], settings["blocks"]
            )
            network.load_state_dict(load((folder / WEIGHTS_FILE).read_bytes()))
            return cls(
                network,
                title=str(config["title"]),
                resize=int(config["resize"]),
                channels=int(config["channels"]),
                labels=labels,
                accuracy=float(config["accuracy"]),
                held_out=int(config["held_out"]),
                settings=settings,
            )
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise MetricsError(
                "classifier",
                str(folder),
                f"holds no usable classifier of pictures ({error})",
                "train one: t2i-train classifier DATA --out FOLDER",
            ) from error


def fit(
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    held_out: NDArray[np.uint8],
    held_out_labels: NDArray[np.int64],
    *,
    title: str,
    label_names: tuple[str, ...],
    settings: FitSettings | None = None,
    progress: Progress | None = None,
) -> PictureClassifier:
    """Train a classifier and measure it on held-out pictures; its weights are averaged at the end.

    Args:
        pictures: (n, r, r, 1 or 3) uint8; grey pictures stored as three like channels are learnt
            in one, so that the classifier reads single channels as well.
        labels: (n,) int64; pictures labelled -1 are left out.
        held_out: (m, r, r, 1 or 3) uint8 that it does not learn from.
        held_out_labels: (m,) int64, all known.
        title: what the pictures are, such as `mnist`.
        label_names: the classes.
        settings: the knobs.
        progress: called with the number of pictures shown since the last call.

    Raises:
        MetricsError: shapes do not fit, a label is unknown, or the loss stops being a number.
    """
    knobs = settings or FitSettings()
    known = labels >= 0
    _check(pictures, labels, len(label_names), "labels", least=-1)
    _check(held_out, held_out_labels, len(label_names), "held_out_labels", least=0)
    if not known.any():
        raise MetricsError("labels", len(labels), "are all unknown", "label some pictures")
    rows_of = np.flatnonzero(known)
    side = pictures.shape[1]
    probe = pictures[rows_of[:512]]
    grey = probe.shape[3] == 1 or bool((probe == probe[..., :1]).all())
    channels = 1 if grey else 3
    generator = torch.Generator().manual_seed(knobs.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(knobs.seed)
        network = PictureNetwork(channels, len(label_names), knobs.width, knobs.blocks)
    network.train().to(memory_format=torch.channels_last)
    average = Average(network, knobs.steps)
    learning = Learning(network, knobs)
    for _ in range(knobs.steps):
        rows = rows_of[torch.randint(len(rows_of), (knobs.batch,), generator=generator).numpy()]
        chunk = torch.from_numpy(np.array(pictures[rows]))
        x = _augmented(_prepared(chunk, side, channels), knobs, generator)
        truth = torch.from_numpy(labels[rows].astype(np.int64))
        loss = functional.cross_entropy(network(x), truth)
        learning.step(loss)
        average.follow(network)
        if progress is not None:
            progress(knobs.batch)
    averaged = average.network.eval()
    hits = 0
    with torch.inference_mode():
        start = 0
        for chunk in batches(held_out, 256):
            answers = averaged(_prepared(chunk, side, channels)).argmax(dim=1).numpy()
            hits += int((answers == held_out_labels[start : start + len(chunk)]).sum())
            start += len(chunk)
    return PictureClassifier(
        averaged,
        title=title,
        resize=side,
        channels=channels,
        labels=label_names,
        accuracy=hits / len(held_out),
        held_out=len(held_out),
        settings={**asdict(knobs), "pictures": len(rows_of)},
    )


def _check(
    pictures: NDArray[np.uint8], labels: NDArray[np.int64], classes: int, name: str, *, least: int
) -> None:
    shape = pictures.shape
    if len(shape) != 4 or shape[3] not in (1, 3) or shape[1] != shape[2] or not len(pictures):
        raise MetricsError("pictures", shape, "are not (n, r, r, 1 or 3)", "give 1 or more")
    if labels.shape != shape[:1] or labels.min() < least or labels.max() >= classes:
        raise MetricsError(
            name,
            labels.shape,
            f"do not tell one of {classes} classes for each of {len(pictures)} pictures",
            f"give (n,) numbers from {least}",
        )


def _prepared(pictures: Tensor, side: int, channels: int) -> Tensor:
    """Bring (n, h, w, 1 or 3) uint8 to (n, channels, side, side) float32 in [-1, 1]."""
    x = pictures.permute(0, 3, 1, 2).float()
    if channels == 1 and x.shape[1] == 3:
        x = x.mean(dim=1, keepdim=True)
    elif channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if x.shape[-2:] != (side, side):
        x = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _augmented(x: Tensor, knobs: FitSettings, generator: torch.Generator) -> Tensor:
    """Shift each picture by whole pixels, and mirror half of them where that is asked."""
    count, _, height, width = x.shape
    if knobs.shift:
        reach = knobs.shift
        padded = functional.pad(x, (reach,) * 4, mode="replicate")
        offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
        rows = offsets[0][:, None] + torch.arange(height)
        columns = offsets[1][:, None] + torch.arange(width)
        index = torch.arange(count)[:, None, None]
        x = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None]]
        x = x.permute(0, 3, 1, 2)
    if knobs.mirror:
        mirrored = torch.rand(count, generator=generator) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    return x.contiguous(memory_format=torch.channels_last)
