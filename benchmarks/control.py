"""What each control of generation does to the pictures of a bundle of illustrated birds.

    python -m benchmarks.control [--json] [--only CONTROL] [--bundle default] [--captions 300]

Measured on captions of held-out birds: warnings (share of captions that are called far),
truncation of noise and of conditioning (fidelity against variety), the best of several candidates
(what it shows of what its caption states), ways between two captions and between two seeds (how
even they are), and a coarse caption with a fine one (which attributes
follow which). Attributes are read off the pictures by the classifier that ships.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.conditions import Text
from t2i.drawing import Generator, Inputs, draw_pictures
from t2i.noise import draw_noise
from t2i.pipeline import Draw, Pipeline, Towards
from t2i.seeds import candidate_seeds
from training.data.birds import ATTRIBUTE_NAMES
from training.data.birds.attributes import COLOURED_PARTS, MARKS
from training.metrics.attributes import AttributeClassifier, accuracy
from training.metrics.birds_judge import SHIPPED
from training.metrics.features import FeatureNetwork, extract, load_features
from training.metrics.fidelity import kid
from training.metrics.reference import Reference, load_reference
from training.metrics.variety import mean_variety

SCALES = (1.0, 0.75, 0.5, 0.25, 0.0)
PICTURES_OF_A_CAPTION = 6
STEPS = 9
CANDIDATES = (1, 2, 4, 8)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "colours": COLOURED_PARTS,
    "marks": MARKS,
    "beak": ("beak_length", "beak_shape"),
    "size": ("size",),
    "pose": ("pose",),
    "setting": ("setting",),
}
# A hundred sentences that no caption of an illustrated bird is like, one a line.
FAR_CAPTIONS = Path(__file__).with_name("far_captions.txt").read_text("utf-8").splitlines()
CONTROLS = ("warnings", "truncation", "best-of", "interpolation", "coarse-fine")
_AT_ONCE = 64

Pictures = NDArray[np.uint8]


class Bench:
    """A model, its judge, and the held-out birds that it is asked for.

    Args:
        bundle: name or folder.
        captions: number of captions.
        seed: of the pairs of captions.
    """

    def __init__(self, bundle: str, captions: int, seed: int) -> None:
        self.pipeline = Pipeline.from_pretrained(bundle)
        self.judge = AttributeClassifier.load(SHIPPED)
        self.features: FeatureNetwork = load_features("lite0", 128)
        self.rng = np.random.default_rng(seed)
        size = self.pipeline.info.resolutions[-1]
        self.references: dict[str, Reference] = {
            split: load_reference(
                split, captions, size=size, seed=1, cache_dir=None, progress=False
            )
            for split in ("val", "unseen")
        }
        self.real = self.references["val"]
        self.embeddings = self.pipeline.encode([Text(caption) for caption in self.real.captions])

    def draw(self, draws: Sequence[Draw]) -> Pictures:
        """Return the last stage of each draw, `(n, r, r, 3)`."""
        parts = [
            self.pipeline.draw(draws[start : start + _AT_ONCE])
            for start in range(0, len(draws), _AT_ONCE)
        ]
        return np.stack([stages[-1] for part in parts for stages in part])

    def warnings(self) -> dict[str, float]:
        """Return the share of captions that are called far, of three kinds."""
        kinds = {
            "held-out captions": self.references["val"].captions,
            "captions of unseen combinations": self.references["unseen"].captions,
            "a hundred sentences about something else": FAR_CAPTIONS,
        }
        return {
            kind: float(np.mean([bool(self.pipeline.warnings(text)) for text in captions]))
            for kind, captions in kinds.items()
        }

    def truncation(self) -> list[dict[str, float]]:
        """Return fidelity and variety by the scale of either noise."""
        rows = [(1.0, 1.0)]
        rows += [(scale, 1.0) for scale in SCALES[1:]] + [(1.0, scale) for scale in SCALES[1:]]
        real = extract(self.features, self.real.pictures)
        return [self._truncated(real, *scales) for scales in rows]

    def _truncated(self, real: Tensor, noise: float, conditioning: float) -> dict[str, float]:
        drawn = self.draw(
            [Draw(e, seed, noise, conditioning) for seed, e in enumerate(self.embeddings)]
        )
        some = self.embeddings[: max(2, len(self.embeddings) // 8)]
        groups = self.draw(
            [
                Draw(embedding, 10_000 + PICTURES_OF_A_CAPTION * row + k, noise, conditioning)
                for row, embedding in enumerate(some)
                for k in range(PICTURES_OF_A_CAPTION)
            ]
        )
        grouped = groups.reshape(len(some), PICTURES_OF_A_CAPTION, *groups.shape[1:])
        distance = kid(real, extract(self.features, drawn), subset_size=len(real) // 2)
        return {
            "truncation": noise,
            "conditioning_truncation": conditioning,
            "attributes": accuracy(self.judge.predict(drawn), self.real.claims).mean,
            "kid": distance.value,
            "variety": mean_variety(grouped, self.features)[0],
        }

    def ways(self) -> list[dict[str, float | str]]:
        """Return how even the ways between two captions and between two seeds are."""
        count = max(2, len(self.embeddings) // 8)
        pairs = [(row, (row + 1) % count) for row in range(count)]
        places = np.linspace(0, 1, STEPS).tolist()
        kinds = {
            "two captions, one seed": lambda a, b: (self.embeddings[b], 20_000 + a),
            "one caption, two seeds": lambda a, b: (self.embeddings[a], 20_000 + b),
        }
        rows: list[dict[str, float | str]] = []
        for name, end in kinds.items():
            drawn = self.draw(
                [
                    Draw(self.embeddings[a], 20_000 + a, towards=Towards(*end(a, b), place))
                    for a, b in pairs
                    for place in places
                ]
            ).reshape(count, STEPS, -1)
            values = drawn.astype(np.float32) / 255
            steps = np.sqrt(np.square(np.diff(values, axis=1)).mean(axis=2))
            whole = np.sqrt(np.square(values[:, -1] - values[:, 0]).mean(axis=1))
            rows.append(
                {
                    "way": name,
                    "end_to_end": float(whole.mean()),
                    "mean_step": float(steps.mean()),
                    "largest_step": float(steps.max(axis=1).mean()),
                    "largest_step_of_the_whole": float((steps.max(axis=1) / whole).mean()),
                }
            )
        return rows

    def best_of(self) -> list[dict[str, float | str | int]]:
        """Return what the best of several candidates shows of what its caption states."""
        if not self.pipeline.info.has_scorer:
            return []
        rows: list[dict[str, float | str | int]] = []
        most = CANDIDATES[-1]
        for split, reference in self.references.items():
            embeddings = self.pipeline.encode([Text(caption) for caption in reference.captions])
            draws = [
                Draw(embedding, candidate)
                for row, embedding in enumerate(embeddings)
                for candidate in candidate_seeds(40_000 + row, most)
            ]
            pictures = self.draw(draws)
            scores = np.array(self.pipeline.score(pictures, [draw.embedding for draw in draws]))
            scores = scores.reshape(-1, most)
            seen = self.judge.predict(pictures).reshape(*scores.shape, -1)
            for count in CANDIDATES:
                best = scores[:, :count].argmax(axis=1)
                rows.append(
                    {
                        "split": split,
                        "best_of": count,
                        "score": float(scores[:, :count].max(axis=1).mean()),
                        **_told(seen[np.arange(len(seen)), best], reference.claims),
                    }
                )
        return rows

    def coarse_fine(self) -> list[dict[str, float | str | int]]:
        """Return which attributes follow the coarse caption, and which the fine one.

        Only attributes that both captions state, with different values, can tell.
        """
        generator = self.pipeline.bundle.generator()
        if not hasattr(generator, "takes_fine"):
            return []
        claims = self.real.claims
        first, second = (self.rng.integers(0, len(claims), 3 * len(claims)) for _ in range(2))
        differ = (claims[first] >= 0) & (claims[second] >= 0) & (claims[first] != claims[second])
        telling = np.flatnonzero(differ.any(axis=1))[: len(claims)]
        first, second, differ = first[telling], second[telling], differ[telling]
        rows: list[dict[str, float | str | int]] = []
        sides = self.pipeline.info.resolutions
        # First what is seen without a second caption.
        for stage, side in enumerate(("none", *sides[1:])):
            # Not by the pipeline, which offers it only where it is known to do something.
            sizes = (generator.noise_dim, generator.conditioning_dim)
            inputs = [
                Inputs(
                    self.embeddings[a],
                    *draw_noise(30_000 + n, *sizes),
                    self.embeddings[b] if stage else None,
                    max(1, stage),
                )
                for n, (a, b) in enumerate(zip(first, second, strict=True))
            ]
            network = cast("Generator", generator)
            values = self.pipeline.bundle.config.value_range
            drawn = draw_pictures(network, inputs, torch.device("cpu"), values)
            seen = self.judge.predict(np.stack([stages[-1] for stages in drawn]))
            for group, names in GROUPS.items():
                columns = [ATTRIBUTE_NAMES.index(name) for name in names]
                asked = differ[:, columns]
                if not asked.any():
                    continue
                rows.append(
                    {
                        "fine_from": side,
                        "attributes": group,
                        "stated": int(asked.sum()),
                        "as_the_coarse_caption": _share(seen, claims[first], columns, asked),
                        "as_the_fine_caption": _share(seen, claims[second], columns, asked),
                    }
                )
        return rows


def _told(seen: NDArray[np.int8], claims: NDArray[np.int8]) -> dict[str, float]:
    """Return the mean accuracy of the attributes, and the share of pictures without a mistake."""
    right = (seen == claims) | (claims < 0)
    return {
        "attributes": accuracy(seen, claims).mean,
        "pictures_without_a_mistake": float(right.all(axis=1).mean()),
    }


def _share(
    seen: NDArray[np.int8], said: NDArray[np.int8], columns: list[int], asked: NDArray[np.bool_]
) -> float:
    agree = (seen[:, columns] == said[:, columns]) & asked
    return float(agree.sum() / max(1, asked.sum()))


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a page with one table for each control."""
    for name, rows in result.items():
        if isinstance(rows, dict):
            rows = [{"": key, "share": value} for key, value in rows.items()]
        if not isinstance(rows, list) or not rows:
            continue
        yield from (f"**{name}**", "")
        yield "| " + " | ".join(rows[0]) + " |"
        yield "|" + "---|" * len(rows[0])
        for row in rows:
            told = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
            yield "| " + " | ".join(told) + " |"
        yield ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--bundle", default="default", help="name or folder")
    parser.add_argument("--captions", type=int, default=300, help="captions asked for")
    parser.add_argument("--only", choices=CONTROLS, help="one control instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs of captions")
    given = parser.parse_args()
    began = time.perf_counter()
    bench = Bench(given.bundle, given.captions, given.seed)
    measures = (bench.warnings, bench.truncation, bench.best_of, bench.ways, bench.coarse_fine)
    result = {
        name: measure()
        for name, measure in zip(CONTROLS, measures, strict=True)
        if given.only in (None, name)
    }
    if not given.json:
        print("\n".join(tables(result)))
        return
    told = {
        **result,
        "bundle": bench.pipeline.info.name,
        "checksum": bench.pipeline.info.checksum,
        "captions": given.captions,
        "seed": given.seed,
        "data": {split: each.fingerprint for split, each in bench.references.items()},
        "machine": f"{platform.machine()} {platform.python_version()} torch {torch.__version__}",
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
