"""The attribute classifier of the illustrated birds: made here, shipped beside this file."""

from __future__ import annotations

import hashlib
import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2i.files import write_atomically
from training.data.birds import ATTRIBUTES, Split, birds
from training.data.birds.dataset import DRAWING_VERSION
from training.metrics.attributes import Accuracy, AttributeClassifier, accuracy
from training.metrics.features import Progress
from training.metrics.train_classifier import ClassifierTraining, train_classifier

SHIPPED = Path(__file__).with_name("birds_classifier")
TRAINING_SEED, HELD_OUT_SEED = 770_001, 770_002
"""Seeds of the birds that the classifier learns from and is tested on; nothing else uses them."""

# The first shows what training birds show, the second the combinations that they lack.
_SPLITS: tuple[Split, ...] = ("val", "unseen")


def drawing_fingerprint() -> str:
    """SHA-256 (hex) of what a classifier depends on: the version of the drawings and attributes."""
    facts = {"version": DRAWING_VERSION, "attributes": {k: list(v) for k, v in ATTRIBUTES.items()}}
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BirdsForClassifier:
    """Pictures (n, 64, 64, 3) uint8 of both kinds of birds, and all their attributes."""

    pictures: NDArray[np.uint8]
    attributes: NDArray[np.int8]


def classifier_birds(
    count: int, seed: int, cache_dir: Path | None, *, progress: bool = True
) -> BirdsForClassifier:
    """Draw `count` birds of 64 pixels, half with combinations that training lacks."""
    parts = [
        birds(split, max(1, count // 2), 64, seed=seed, cache_dir=cache_dir, progress=progress)
        for split in _SPLITS
    ]
    return BirdsForClassifier(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.attributes for part in parts]),
    )


def make_birds_classifier(
    training: ClassifierTraining,
    *,
    count: int,
    test_count: int,
    cache_dir: Path | None,
    show_drawing: bool = True,
    progress: Progress | None = None,
) -> tuple[AttributeClassifier, Accuracy]:
    """Train the classifier and return it with its accuracy on held-out birds.

    Args:
        training: the knobs.
        count: birds to learn from.
        test_count: birds to be tested on.
        cache_dir: where drawn birds are kept.
        show_drawing: show a progress bar while birds are drawn.
        progress: called with the number of pictures shown in training.
    """
    learn = classifier_birds(count, TRAINING_SEED, cache_dir, progress=show_drawing)
    test = classifier_birds(test_count, HELD_OUT_SEED, cache_dir, progress=show_drawing)
    classifier = train_classifier(
        learn.pictures, learn.attributes, ATTRIBUTES, drawing_fingerprint(), training, progress
    )
    measured = accuracy(classifier.predict(test.pictures), test.attributes)
    classifier.card |= {
        "command": f"t2i-train classifier birds --out FOLDER --count {count} "
        f"--test-count {test_count} --kimg {training.kimg:g} --seed {training.seed}",
        "knobs": asdict(training),
        "data": {
            "name": "illustrated birds",
            "drawing_version": DRAWING_VERSION,
            "splits": list(_SPLITS),
            "seed": TRAINING_SEED,
            "test_seed": HELD_OUT_SEED,
            "test_pictures": len(test.pictures),
        },
        "held_out_accuracy": dict(
            zip(ATTRIBUTES, (round(float(each), 4) for each in measured.each), strict=True)
        ),
        "held_out_mean": round(measured.mean, 4),
    }
    return classifier, measured


def save_with_card(classifier: AttributeClassifier, folder: Path) -> None:
    """Write the classifier and a `CARD.md` that tells what it is and how it was made."""
    classifier.save(folder)
    write_atomically(folder / "CARD.md", _card(classifier).encode())


def _card(classifier: AttributeClassifier) -> str:
    facts = json.loads(json.dumps(classifier.card))
    data, scores = facts["data"], facts["held_out_accuracy"]
    rows = "\n".join(f"| {name} | {share:.4f} |" for name, share in scores.items())
    made = (
        f"Made by `{facts['command']}` from {facts['pictures']:,} drawn birds "
        f"(seed {data['seed']}, half of them with attribute combinations that the training "
        f"split lacks; drawings of version {data['drawing_version']})."
    )
    tested = (
        f"Accuracy on {data['test_pictures']:,} birds that it never saw "
        f"(seed {data['test_seed']}), before the weights were rounded; `t2i-train eval` measures "
        "it anew with the stored ones:"
    )
    return f"""# Attribute classifier of the illustrated birds

Reads {len(scores)} attributes off a picture of one illustrated bird. It judges generated pictures
in `t2i-train eval`; it is no part of any generator, and none is trained against it.

{textwrap.fill(made, 100, break_on_hyphens=False)}
Weights are stored as float16. Licence: the project's; its data is the project's own.

{textwrap.fill(tested, 100, break_on_hyphens=False)}

| attribute | accuracy |
|---|---|
{rows}
| **mean** | **{facts["held_out_mean"]:.4f}** |

Limits: 64 pixels (larger pictures are reduced); illustrated birds of the same drawing version only.
It always answers, even for a picture without a bird.
"""
