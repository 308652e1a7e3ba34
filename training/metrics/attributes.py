"""Reads attributes off pictures: the judge of whether a generated picture shows what was asked.

The judge is trained on drawn pictures whose attributes are known, of all attribute combinations,
so that it is as good on combinations that the generator never saw. It is only valid for drawings
of the same version as those it was trained on, which `AttributeClassifier.drawn_by` names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from t2i.files import write_atomically
from training.metrics.errors import ClassifierMismatch, MetricsError
from training.metrics.features import Progress, batches

INPUT_SIZE = 64
WEIGHTS_FILE = "classifier.safetensors"
CONFIG_FILE = "config.json"


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.body(x))


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class AttributeNetwork(nn.Module):
    """One small trunk; each attribute looks at its own place in the map and answers for itself."""

    def __init__(self, value_counts: tuple[int, ...], widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.value_counts = value_counts
        low, middle, high = widths
        self.trunk = nn.Sequential(
            _down(3, low),
            _Residual(low),
            _down(low, middle),
            _Residual(middle),
            _Residual(middle),
            _down(middle, high),
            _Residual(high),
        )
        # Parts move with the pose, so every attribute learns where to look: one map of weights
        # over places for each, at both of the deeper resolutions.
        self.look_middle = nn.Conv2d(middle, len(value_counts), 1)
        self.look_high = nn.Conv2d(high, len(value_counts), 1)
        self.heads = nn.ModuleList(nn.Linear(middle + 2 * high, values) for values in value_counts)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map pictures (n, 3, 64, 64) in [-1, 1] to logits, one (n, values) for each attribute."""
        middle = self.trunk[:5](x)
        high = self.trunk[5:](middle)
        overall = high.mean(dim=(2, 3))
        seen_middle = _look(middle, self.look_middle(middle))
        seen_high = _look(high, self.look_high(high))
        answers = []
        for index, head in enumerate(self.heads):
            evidence = [seen_middle[:, index], seen_high[:, index], overall]
            answers.append(head(torch.cat(evidence, dim=1)))
        return tuple(answers)


def _look(x: Tensor, places: Tensor) -> Tensor:
    """Average (n, c, h, w) by softmax weights over the places of (n, a, h, w): (n, a, c)."""
    weights = places.flatten(2).float().softmax(dim=2).to(x.dtype)
    return torch.einsum("nap,ncp->nac", weights, x.flatten(2))


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Correct answers among those asked, for each attribute in order."""

    correct: NDArray[np.int64]
    total: NDArray[np.int64]

    @property
    def each(self) -> NDArray[np.float64]:
        """(n_attributes,) correct / total; NaN where nothing was asked."""
        share = np.full(len(self.total), np.nan)
        np.divide(self.correct, self.total, out=share, where=self.total > 0)
        return share

    @property
    def mean(self) -> float:
        """The unweighted mean over the attributes that were asked about."""
        return float(np.nanmean(self.each))


def accuracy(predicted: NDArray[np.int8], asked: NDArray[np.int8]) -> Accuracy:
    """Compare predictions (n, n_attributes) with what was asked, -1 where nothing was.

    Raises:
        MetricsError: the shapes differ.
    """
    if predicted.shape != asked.shape:
        raise MetricsError(
            "predicted", predicted.shape, f"does not match {asked.shape}", "pair them row by row"
        )
    counts = asked >= 0
    right = counts & (predicted == asked)
    return Accuracy(right.sum(axis=0, dtype=np.int64), counts.sum(axis=0, dtype=np.int64))


class AttributeClassifier:
    """A trained network together with the names of what it answers."""

    def __init__(
        self,
        network: AttributeNetwork,
        attributes: Mapping[str, tuple[str, ...]],
        drawn_by: str,
        widths: tuple[int, int, int],
        card: Mapping[str, object] | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        self.attributes = dict(attributes)
        self.drawn_by = drawn_by
        self.widths = widths
        self.card = dict(card or {})

    @torch.inference_mode()
    def predict(
        self,
        pictures: NDArray[np.uint8],
        *,
        batch: int = 128,
        progress: Progress | None = None,
    ) -> NDArray[np.int8]:
        """Return the value index of every attribute, (n, n_attributes), of (n, h, w, 3) uint8."""
        rows = []
        for chunk in batches(pictures, batch):
            logits = self.network(as_input(chunk))
            rows.append(torch.stack([each.argmax(dim=1) for each in logits], dim=1))
            if progress is not None:
                progress(len(chunk))
        if not rows:
            return np.empty((0, len(self.attributes)), np.int8)
        return torch.cat(rows).to(torch.int8).numpy()

    def require(self, attributes: Mapping[str, tuple[str, ...]], drawn_by: str) -> None:
        """Refuse to judge drawings of another version than those the network was trained on.

        Raises:
            ClassifierMismatch: the attributes or the version differ.
        """
        remedy = "train it again: t2i-train classifier birds --out FOLDER, then --classifier FOLDER"
        if self.attributes != dict(attributes):
            raise ClassifierMismatch(
                f"classifier: answers {sorted(self.attributes)}, but the data has other attributes "
                f"or values; {remedy}"
            )
        if self.drawn_by != drawn_by:
            raise ClassifierMismatch(
                f"classifier: was trained on drawings of version {self.drawn_by[:16]}, the data is "
                f"of version {drawn_by[:16]}; {remedy}"
            )

    def save(self, folder: Path) -> None:
        """Write weights (float16) and configuration; every file appears whole or not at all."""
        from safetensors.torch import save

        folder.mkdir(parents=True, exist_ok=True)
        state = {
            name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
            for name, value in self.network.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        config = {
            "format": 1,
            "attributes": {name: list(values) for name, values in self.attributes.items()},
            "drawn_by": self.drawn_by,
            "widths": list(self.widths),
            "training": self.card,
        }
        write_atomically(folder / WEIGHTS_FILE, save(state))
        write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=2).encode() + b"\n")

    @classmethod
    def load(cls, folder: Path) -> AttributeClassifier:
        """Read what `save` wrote.

        Raises:
            MetricsError: a file is missing or is not what this version writes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
            attributes = {name: tuple(values) for name, values in config["attributes"].items()}
            low, middle, high = config["widths"]
            counts = tuple(len(values) for values in attributes.values())
            network = AttributeNetwork(counts, (low, middle, high))
            state = load((folder / WEIGHTS_FILE).read_bytes())
            network.load_state_dict({name: value.float() for name, value in state.items()})
            drawn_by = str(config["drawn_by"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise MetricsError(
                "classifier",
                str(folder),
                f"holds no usable attribute classifier ({error})",
                "train one: t2i-train classifier birds --out FOLDER",
            ) from error
        return cls(network, attributes, drawn_by, (low, middle, high), config.get("training"))


def as_input(pictures: Tensor) -> Tensor:
    """Bring pictures (n, h, w, 3) uint8 to (n, 3, 64, 64) float32 in [-1, 1]."""
    x = pictures.permute(0, 3, 1, 2).float()
    if x.shape[-2:] != (INPUT_SIZE, INPUT_SIZE):
        x = functional.interpolate(
            x, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True
        )
    return (x / 127.5 - 1).contiguous(memory_format=torch.channels_last)
