"""Real pictures to compare a model with, apart from those that it learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from t2i.errors import InvalidInput
from training.data.errors import DataError
from training.data.load import BIRDS, load_pictures, named
from training.data.locate import PICTURE_SETS
from training.data.pictures import PictureData
from training.metrics.errors import MetricsError

AskedSplit = Literal["val", "unseen"]
ASKED_SPLITS: tuple[AskedSplit, ...] = get_args(AskedSplit)

# Fewer held-out pictures than this tell less than training pictures that are said to be such.
ENOUGH = 100


@dataclass(frozen=True, slots=True)
class Sources:
    """Real pictures for three purposes.

    Attributes:
        split: `val`, or `unseen` for classes or combinations that training never showed.
        training: what the model learned from, as far as the name of the data tells.
        held: what the real pictures are of.
        real: rows of `held` that generated pictures are compared with, and asked after.
        others: further rows of `held`, which may be asked after.
        spare_of: what the spare pictures are of: `held` where it is large enough, else `training`.
        spare: rows of it, for the floor; none of `real`.
        held_out: whether `held` is another split than `training`.
    """

    split: AskedSplit
    training: PictureData
    held: PictureData
    real: NDArray[np.int64]
    others: NDArray[np.int64]
    spare_of: PictureData
    spare: NDArray[np.int64]
    held_out: bool

    @property
    def floor_is_training(self) -> bool:
        """Whether the floor is what pictures score that the model learned from."""
        return self.held_out and self.spare_of is self.training


def load_sources(
    source: str,
    *,
    resolution: int,
    count: int,
    split: AskedSplit = "val",
    enough: int = ENOUGH,
    seed: int = 0,
    data_seed: int = 1,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Sources:
    """Load a data set and part what is compared with from what is spare.

    Named sets have a test split, folders one called val or test. Where that holds less than `count`
    pictures for each part, all of it is compared with and training pictures are spare. Where it is
    too small to measure anything, both parts are halves of the training pictures. Of unseen
    pictures both parts are always halves: training pictures are of another kind.

    Args:
        source: a name or a folder, as `--data` takes it.
        resolution: side in pixels.
        count: pictures wanted in each part.
        split: `val`, or `unseen`.
        enough: pictures that val must hold to be compared with.
        seed: of the lot.
        data_seed: of birds that are asked for.
        cache_dir: where decoded pictures are kept.
        progress: show a bar while pictures are decoded.

    Raises:
        DataError: the data cannot be used, or have no unseen pictures.
        MetricsError: the split holds fewer than four pictures.
    """
    options: dict[str, Any] = {
        "resolution": resolution, "cache_dir": cache_dir, "progress": progress,
    }  # fmt: skip
    training = load_pictures(source, **options)
    if named(source)[0] == BIRDS:
        options["seed"] = data_seed
    held = _held(source, split, options)
    if split == "val" and (
        held is None or held.fingerprint == training.fingerprint or len(held) < enough
    ):
        held = training
    if held is None:
        raise DataError(
            f"data {source}: has no unseen pictures; name a split `unseen` whose classes training "
            "does not show, or ask for --split val"
        )
    if len(held) < 4:
        raise MetricsError("data", source, f"holds {len(held)} pictures", "give 4 or more")
    apart = held is not training
    rows = np.random.default_rng([seed, 1]).permutation(len(held))
    if apart and split == "val" and len(held) < 2 * count:
        real = min(count, len(held), len(training))
        lot = np.random.default_rng([seed, 8]).permutation(len(training))
        spare_of, spare = training, lot[:real]
    else:
        real = min(count, len(held) // 2)
        spare_of, spare = held, rows[real : 2 * real]
    return Sources(
        split=split,
        training=training,
        held=held,
        real=np.sort(rows[:real]),
        others=rows[real:],
        spare_of=spare_of,
        spare=np.sort(spare),
        held_out=apart,
    )


def _held(source: str, split: AskedSplit, options: dict[str, Any]) -> PictureData | None:
    """Load a split by the name that the data have for it; None where they have none."""
    names = ["unseen"]
    if split == "val":
        names = ["test"] if named(source)[0] in PICTURE_SETS else ["val", "test"]
    for name in names:
        try:
            return load_pictures(source, split=name, **options)
        except (DataError, InvalidInput):
            # The data as a whole were read before: what is missing is the split.
            continue
    return None
