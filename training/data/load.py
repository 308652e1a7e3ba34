"""From what a person types after `--data` to a data set."""

from __future__ import annotations

from pathlib import Path

from t2i.errors import InvalidInput
from training.data.decoded import cache_root
from training.data.folder import folder
from training.data.pictures import PictureData

BIRDS = "birds"
DEFAULT_BIRDS = 20_000


def load_data(
    source: str | Path,
    *,
    resolution: int,
    split: str = "train",
    count: int | None = None,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: bool = True,
    strict: bool = False,
) -> PictureData:
    """Load a data set by name or folder.

    Args:
        source: "birds" or "birds:COUNT" for the illustrated birds, else a folder of pictures; a
            folder of that name is meant by "./birds" or a Path.
        resolution: side of the square pictures in pixels.
        split: "train", "val", "unseen" (birds, and folders that name it), or "all" (folders).
        count: number of pictures; None for what `source` says, `DEFAULT_BIRDS` birds, or all
            pictures of the folder.
        seed: of the drawn birds; a folder's pictures do not depend on it.
        cache_dir: where decoded or drawn pictures are kept; None for `cache_root()`.
        progress: show a bar while pictures are decoded or drawn.
        strict: refuse a folder at its first faulty file.

    Raises:
        InvalidInput: an argument is out of range.
        DataError: the folder cannot be used.
    """
    name, _, number = str(source).partition(":")
    if isinstance(source, Path) or name != BIRDS:
        return folder(
            Path(source).expanduser(),
            resolution=resolution,
            split=split,
            count=count,
            cache_dir=cache_dir,
            progress=progress,
            strict=strict,
        )
    if count is None and (number or ":" in str(source)):
        if not number.isdecimal() or not int(number):
            raise InvalidInput("data", source, "names no number of birds", "write birds:12000")
        count = int(number)
    # The drawing code is of no use to those who train on a folder.
    from training.data.birds import SPLITS, birds

    known = next((name for name in SPLITS if name == split), None)
    if known is None:
        raise InvalidInput(
            "split", split, "is no split of the birds", f"give one of {', '.join(SPLITS)}"
        )
    return birds(
        split=known,
        count=DEFAULT_BIRDS if count is None else count,
        size=resolution,
        seed=seed,
        cache_dir=cache_root() / "birds" if cache_dir is None else cache_dir,
        progress=progress,
    )
