"""Small data of the kind of a named set, for trials that only go through the motions."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.data.few_labels import with_few_labels
from training.data.load import SAMPLE_NAMES, load_data, named
from training.data.locate import PICTURE_SETS
from training.data.pictures import PictureData
from training.data.samples import SampleData, fingerprint_of
from training.data.sets import STACKED

COUNT = 64
SIDE = 32


def stand_in(name: str, **load_options: Any) -> PictureData | SampleData:
    """Return small data of the same kind, channels and labels as a named set.

    Points and text are the set's own, only few. Pictures are noise with a bright square whose place
    follows the label, at most 32 pixels wide, as no named picture set may be on this machine.

    Args:
        name: Its name, as for `training.data.load.load_data`.
        **load_options: Of `load_data`.
    """
    known = named(name)[0]
    if known in SAMPLE_NAMES:
        short = known if known is not None else name
        options = {key: value for key, value in load_options.items() if key != "root"}
        return load_data(short, **{**options, "count": min(options.get("count") or COUNT, COUNT)})
    if known in PICTURE_SETS:
        which = PICTURE_SETS[known]
        names, channels, side, mirrors = which.labels, which.channels, which.side, which.mirrors
    elif known == STACKED:
        names, channels, side, mirrors = tuple(f"{k:03d}" for k in range(1000)), 3, 28, False
    else:
        return load_data(name, **{**load_options, "count": COUNT, "progress": False})
    side = min(load_options.get("resolution") or side, SIDE)
    pictures = _squares(len(names), side, load_options.get("channels") or channels)
    labels = np.arange(COUNT, dtype=np.int64) % len(names)
    data = PictureData(
        name=f"{name} (a stand-in)",
        fingerprint=fingerprint_of([name, side, str(load_options.get("split"))], pictures, labels),
        pictures=pictures,
        captions=((),) * COUNT,
        labels=labels,
        label_names=names,
        mirrors=mirrors,
    )
    few = load_options.get("labels")
    return data if few is None else with_few_labels(data, min(few, 2 * len(names)))


def _squares(classes: int, side: int, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pictures = np.random.default_rng(5).integers(0, 60, (COUNT, side, side, channels))
    third = max(side // 3, 1)
    for number, picture in enumerate(pictures):
        place = number % classes % 9
        top, left = place // 3 * third, place % 3 * third
        picture[top : top + third, left : left + third] += 180
    return pictures.astype(np.uint8)
