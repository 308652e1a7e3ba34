"""From what a person types after `--data` to a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t2i.errors import InvalidInput
from training.data.characters import characters
from training.data.decoded import cache_root
from training.data.errors import DataError
from training.data.few_labels import with_few_labels
from training.data.folder import folder
from training.data.gaussians import gaussians
from training.data.locate import PICTURE_SETS, recognise
from training.data.mixtures import DEFAULT_POINTS, MIXTURES, mixture_data
from training.data.parallel import parallel_text
from training.data.pictures import PictureData
from training.data.samples import SampleData
from training.data.sets import STACKED, Filter, picture_set, stacked_mnist
from training.data.shards import is_pattern

BIRDS = "birds"
DEFAULT_BIRDS = 20_000
DEFAULT_RESOLUTION = 64
PICTURE_NAMES = (BIRDS, *PICTURE_SETS, STACKED)
SAMPLE_NAMES = (*MIXTURES, "gaussians", "characters", "parallel-text")
NAMES = (*PICTURE_NAMES, *SAMPLE_NAMES)
# Drawn sets, of which `NAME:COUNT` asks for so many.
_COUNTED = (BIRDS, *MIXTURES, "gaussians")


def load_data(
    source: str | Path,
    *,
    resolution: int | None = None,
    channels: int | None = None,
    filter: Filter = "lanczos",
    split: str = "train",
    count: int | None = None,
    labels: int | None = None,
    seed: int = 0,
    root: Path | None = None,
    download: bool = False,
    cache_dir: Path | None = None,
    progress: bool = True,
    strict: bool = False,
) -> PictureData | SampleData:
    """Load a data set by name, folder or archive.

    Args:
        source: one of `NAMES`, or a folder of pictures (or a .tar or .zip of it, or WebDataset
            shards by path or address), or a folder or archive of MNIST, CIFAR-10 or SVHN in its
            own format. "birds:COUNT" (also ring8, grid25, mixture1d, gaussians)
            says how many to draw, "mnist:PATH" (also stacked-mnist, cifar10, svhn) where the files
            are. A folder that is called like a data set is meant by "./birds" or a Path.
        resolution: side of the square pictures in pixels; None for the set's own, or
            `DEFAULT_RESOLUTION` for birds and folders. Points and text have none.
        channels: 3 for RGB, 1 for grey (the named picture sets); None for the set's own.
        filter: with which the named picture sets are resized; birds are drawn at their size, and
            folders are resized by Lanczos.
        split: "train"; "test" (the named sets; "extra" of svhn); "val" (birds and folders);
            "unseen" (birds, and folders that name it); "all" (folders).
        count: number of pictures or samples; None for what `source` says, or all.
        labels: keep so many labels, the same number of each class, and set the others to -1; see
            `few_labels`.
        seed: of all that is drawn, and of which labels stay; a folder's pictures do not depend on
            it.
        root: where the named picture sets are, when `source` does not say it; None for T2I_DATA.
        download: fetch a named picture set when it is not there. Without it nothing is fetched.
        cache_dir: where decoded or drawn pictures are kept; None for `cache_root()`.
        progress: show a bar while pictures are decoded or drawn.
        strict: refuse a folder at its first faulty file.

    Returns:
        `PictureData` for pictures, `SampleData` for points and text.

    Raises:
        InvalidInput: an argument is out of range.
        DataError: the name is unknown, or the set is not there or cannot be used.
    """
    name, rest = named(source)
    if name is None:
        shards = isinstance(source, str) and is_pattern(source)
        known = None if shards else recognise(Path(source).expanduser())
        if known is not None:
            name, root = known.name, Path(source).expanduser()
    elif rest is not None and name in _COUNTED:
        if not rest.isdecimal() or not int(rest):
            raise InvalidInput("data", source, f"names no number of {name}", f"write {name}:12000")
        count = int(rest) if count is None else count
    elif rest is not None:
        if not rest or name in SAMPLE_NAMES:
            raise InvalidInput("data", source, "names no place of files", f"write {name}")
        root = Path(rest).expanduser()
    loaded: PictureData | SampleData
    if name in SAMPLE_NAMES:
        loaded = _samples(name, split, count, seed)
    elif name == STACKED:
        if channels not in (None, 3):
            raise InvalidInput("channels", channels, "do not fit stacked-mnist", "give 3")
        loaded = stacked_mnist(
            resolution=resolution,
            filter=filter,
            split=split,
            count=count,
            seed=seed,
            root=root,
            download=download,
            cache_dir=cache_dir,
        )
    elif name in PICTURE_SETS:
        loaded = picture_set(
            PICTURE_SETS[name],
            resolution=resolution,
            channels=channels,
            filter=filter,
            split=split,
            count=count,
            root=root,
            download=download,
            cache_dir=cache_dir,
        )
    else:
        if channels not in (None, 3):
            raise InvalidInput("channels", channels, "does not fit RGB pictures", "give 3")
        side = DEFAULT_RESOLUTION if resolution is None else resolution
        if name == BIRDS:
            loaded = _birds(split, count, side, seed, cache_dir, progress)
        else:
            loaded = folder(
                _existing(source),
                resolution=side,
                split=split,
                count=count,
                cache_dir=cache_dir,
                progress=progress,
                strict=strict,
            )
    if labels is None:
        return loaded
    # One call for each type, so that the type is kept.
    if isinstance(loaded, PictureData):
        return with_few_labels(loaded, labels, seed=seed)
    return with_few_labels(loaded, labels, seed=seed)


def load_pictures(source: str | Path, **options: Any) -> PictureData:
    """Load a data set that must be one of pictures; the arguments are those of `load_data`.

    Raises:
        InvalidInput: an argument is out of range.
        DataError: the set holds no pictures, is not there or cannot be used.
    """
    if named(source)[0] in SAMPLE_NAMES:
        raise DataError(
            f"data {source}: holds no pictures; give {', '.join(PICTURE_NAMES)} or a folder"
        )
    data = load_data(source, **options)
    assert isinstance(data, PictureData)
    return data


def named(source: str | Path) -> tuple[str | None, str | None]:
    """Split what a person typed into the name of a data set and what follows its colon.

    Returns:
        The name, or None for a folder or archive; and the text after the colon, or None.
    """
    if isinstance(source, Path):
        return None, None
    name, colon, rest = source.partition(":")
    return (name, rest if colon else None) if name in NAMES else (None, None)


def _existing(source: str | Path) -> str | Path:
    if isinstance(source, str) and is_pattern(source):
        return source
    path = Path(source).expanduser()
    plain = isinstance(source, str) and "/" not in source
    if plain and not path.exists():
        raise DataError(
            f"data {source}: is no data set and no folder here ({Path.cwd()}); give one of "
            f"{', '.join(NAMES)}, or a folder"
        )
    return path


def _samples(name: str, split: str, count: int | None, seed: int) -> SampleData:
    if name == "characters":
        return characters(split=split, count=count)
    if name == "parallel-text":
        return parallel_text(split=split, count=count, seed=seed)
    points = DEFAULT_POINTS if count is None else count
    if name == "gaussians":
        return gaussians(count=points, split=split, seed=seed)
    return mixture_data(MIXTURES[name](), count=points, split=split, seed=seed)


def _birds(
    split: str, count: int | None, side: int, seed: int, cache_dir: Path | None, progress: bool
) -> PictureData:
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
        size=side,
        seed=seed,
        cache_dir=cache_root() / "birds" if cache_dir is None else cache_dir,
        progress=progress,
    )
