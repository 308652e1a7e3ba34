"""What `t2i generate` does: draw pictures, here or on a server, and save them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from t2i.cli_conditions import Words, read_words
from t2i.conditions import Condition, Text
from t2i.errors import InvalidInput
from t2i.extras import needs_extra
from t2i.files import write_atomically
from t2i.seeds import LARGEST_SEED
from t2i.sheets import contact_sheet, in_rows, labelled, looked_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2i.client import Client

__all__ = [
    "SUFFIXES",
    "Ask",
    "Drawing",
    "check_suffix",
    "default_file",
    "draw_here",
    "draw_there",
    "is_folder",
    "save",
]

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
# The service takes no more in a request; more pictures are more requests.
_MOST_AT_ONCE = 16
_MOST_CANDIDATES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What to draw.

    Args:
        words: the condition as it was typed.
        sweep: the part of the code to go through, a row for each seed; None for no sweep.
        steps: pictures along a continuous part in a sweep; None for the usual.
        count: number of pictures, or of rows in a sweep.
        seed: seed of the first picture, the next have the next; None draws anew.
        model: name or folder of a bundle; None is the default.
        previews: whether to keep the pictures of the earlier stages.
        truncation: scale of the noise, 0 to 1.
        conditioning_truncation: scale of the noise of the conditioning, 0 to 1.
        fine: what the later stages follow, in words; None for the condition.
        fine_from: resolution of the first stage that follows it; None for the second stage.
        best_of: candidates for each picture.
        attention: whether to show where each picture looked at each word.
    """

    words: Words
    sweep: str | None = None
    steps: int | None = None
    count: int = 1
    seed: int | None = None
    model: str | None = None
    previews: bool = False
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    fine: str | None = None
    fine_from: int | None = None
    best_of: int = 1
    attention: bool = False

    def seeds(self, first: int, count: int) -> list[int] | None:
        """Return the seeds of `count` pictures from number `first` on, or None for new ones."""
        if self.seed is None:
            return None
        # After the largest seed comes 0.
        return [(self.seed + first + n) % (LARGEST_SEED + 1) for n in range(count)]


@dataclass(slots=True)
class Drawing:
    """What was drawn.

    Attributes:
        model: name of the model.
        stages: for each picture its stages, from coarse to fine; only the last without previews.
        seeds: the seed of each picture.
        scores: the score of each picture, or none where each was the only candidate.
        attention: for each picture the words and where it looked at them, or nothing.
        warnings: sentences for people, each once.
        columns: pictures in a row of the sheet; None to make it nearly square.
    """

    model: str = ""
    stages: list[list[Image.Image]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    attention: list[list[tuple[str, Image.Image]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    columns: int | None = None

    def warn(self, warnings: Iterable[str]) -> None:
        """Add warnings that are not there yet."""
        self.warnings += [w for w in dict.fromkeys(warnings) if w not in self.warnings]

    def summary(self) -> str:
        """Return one line about what was drawn."""
        count, final = len(self.stages), self.stages[0][-1]
        different = list(dict.fromkeys(self.seeds)) if self.columns else self.seeds
        seeds = ", ".join(map(str, different[:16])) + (", …" if len(different) > 16 else "")
        told = (
            f"{count} picture{'s' * (count > 1)} of {final.width}×{final.height} px by "
            f"{self.model}, seed{'s' * (len(different) > 1)} {seeds}"
        )
        if self.scores:
            scores = ", ".join(f"{score:.2f}" for score in self.scores[:16])
            told += f", score{'s' * (len(self.scores) > 1)} {scores}"
            told += ", …" if len(self.scores) > 16 else ""
        return told


def draw_here(ask: Ask, device: str | None, tell: Callable[[str], None]) -> Drawing:
    """Draw in this process.

    Args:
        ask: what to draw.
        device: torch device; None for the best there is.
        tell: called with what is being done, for people who wait.

    Raises:
        T2IError: the model or the request cannot be used.
    """
    with needs_extra("inference", or_else="ask a service with --server ADDRESS"):
        tell("Loading torch")
        from t2i.pipeline import Pipeline

        tell("Loading the model")
        pipeline = Pipeline.from_pretrained(ask.model or "default", device)
    drawing = Drawing(model=pipeline.info.name)
    if ask.sweep is not None:
        start = ask.words.start(pipeline.info)
        for seed in _rows(ask, tell):
            swept = pipeline.sweep(
                ask.sweep,
                start=start,
                steps=ask.steps,
                seed=seed,
                truncation=ask.truncation,
                conditioning_truncation=ask.conditioning_truncation,
            )
            _add_row(drawing, [image.pil() for image in swept.images], swept.seeds[0] or 0)
        return drawing
    condition = ask.words.condition(pipeline.info)
    for first, count in _portions(ask, tell):
        generation = pipeline.generate(
            condition,
            count=count,
            seeds=ask.seeds(first, count),
            truncation=ask.truncation,
            conditioning_truncation=ask.conditioning_truncation,
            stages="all" if ask.previews else "final",
            fine=read_words(ask.fine, pipeline.info),
            fine_from=ask.fine_from,
            best_of=ask.best_of,
            attention=ask.attention,
        )
        for image, previews in zip(generation.images, generation.previews, strict=True):
            drawing.stages.append([stage.pil() for stage in (*previews, image)])
            maps = [(map.word, _grey(map.weights)) for map in image.attention]
            drawing.attention.append(maps)
        drawing.seeds += [seed for seed in generation.seeds if seed is not None]
        drawing.scores += [score for score in generation.scores if score is not None]
        drawing.warn(warning.message for warning in generation.warnings)
    return drawing


def draw_there(ask: Ask, server: str, tell: Callable[[str], None]) -> Drawing:
    """Draw on the service at an address; `tell` as in `draw_here`.

    Raises:
        T2IError: the address or the request cannot be used, or the service fails.
    """
    from t2i.client import Accepted, Client, Completed, Finished, Preview

    drawing = Drawing()
    with Client(server) as client:
        if ask.sweep is not None:
            model = client.get_model(ask.model)
            start = ask.words.start(model)
            for seed in _rows(ask, tell):
                swept = client.sweep(
                    ask.sweep,
                    start=start,
                    steps=ask.steps,
                    seed=seed,
                    model=model.name,
                    truncation=ask.truncation,
                    conditioning_truncation=ask.conditioning_truncation,
                )
                drawing.model = swept.model.name
                _add_row(drawing, [image.pil() for image in swept], swept.seed)
            return drawing
        condition, fine = _conditions(ask, client)
        drawing.stages = [[] for _ in range(ask.count)]
        drawing.attention = [[] for _ in range(ask.count)]
        scores: dict[int, float] = {}
        for first, count in _portions(ask, tell):
            for event in client.generate(
                condition,
                count=count,
                seeds=ask.seeds(first, count),
                model=ask.model,
                previews=ask.previews,
                truncation=ask.truncation,
                conditioning_truncation=ask.conditioning_truncation,
                fine=fine,
                fine_from=ask.fine_from,
                best_of=ask.best_of if ask.best_of > 1 else None,
                attention=ask.attention,
            ):
                match event:
                    case Accepted():
                        drawing.model = event.model.name
                        drawing.seeds += event.seeds
                    case Preview(image) | Completed(image):
                        drawing.stages[first + image.index].append(image.pil())
                        # The best of several has a seed and a score of its own.
                        drawing.seeds[first + image.index] = image.seed
                        if image.score is not None:
                            scores[first + image.index] = image.score
                        if image.attention:
                            maps = [(map.word, map.pil()) for map in image.attention]
                            drawing.attention[first + image.index] = maps
                    case Finished():
                        drawing.warn(warning.message for warning in event.warnings)
    drawing.scores = [scores[index] for index in sorted(scores)]
    for stages in drawing.stages:
        stages.sort(key=lambda picture: picture.height)
    return drawing


def _conditions(ask: Ask, client: Client) -> tuple[Condition | None, Condition | None]:
    """Return what to ask a service with; only what depends on the model needs to know it."""
    words = ask.words
    if words.caption is not None:
        return Text(words.caption), None if ask.fine is None else Text(ask.fine)
    model = client.get_model(ask.model)
    return words.condition(model), read_words(ask.fine, model)


def _rows(ask: Ask, tell: Callable[[str], None]) -> Iterator[int | None]:
    """Return the seed of each row of a sweep, and tell how far it is."""
    for row in range(ask.count):
        tell(f"Drawing row {row + 1} of {ask.count}" if ask.count > 1 else "Drawing")
        seeds = ask.seeds(row, 1)
        yield None if seeds is None else seeds[0]


def _add_row(drawing: Drawing, pictures: list[Image.Image], seed: int) -> None:
    drawing.columns = len(pictures)
    drawing.stages += [[picture] for picture in pictures]
    drawing.seeds += [seed] * len(pictures)


def _portions(ask: Ask, tell: Callable[[str], None]) -> Iterator[tuple[int, int]]:
    """Return how many pictures to draw at once, as (first, count), and tell how far it is."""
    most = min(_MOST_AT_ONCE, _MOST_CANDIDATES // ask.best_of)
    for first in range(0, ask.count, most):
        tell(f"Drawing {ask.count} pictures, {first} done" if ask.count > 1 else "Drawing")
        yield first, min(most, ask.count - first)


def is_folder(path: Path) -> bool:
    """Return whether a path given by a person means a folder: it is one, or it has no suffix."""
    return path.is_dir() or not path.suffix


def check_suffix(path: Path) -> None:
    """Check that a file's suffix names a format of pictures.

    Raises:
        InvalidInput: if it does not.
    """
    if path.suffix.lower() not in {".jpeg", *SUFFIXES.values()}:
        raise InvalidInput(
            "out",
            str(path),
            f"the suffix {path.suffix!r} is of no known picture format",
            "use .png, .jpg or .webp, or name a folder",
        )


def save(drawing: Drawing, out: Path, *, suffix: str = ".png", scale: int = 1) -> list[Path]:
    """Save pictures and return the paths of the files.

    In a folder every picture becomes a file of its own, `000-seed7.png`, its earlier stages
    `000-seed7-16px.png`. In a file, several pictures become one sheet; with previews each row of
    the sheet is one picture from its first stage to its last.

    Raises:
        InvalidInput: if the suffix of a file names no format.
        OSError: if a file cannot be written.
    """
    if is_folder(out):
        out.mkdir(parents=True, exist_ok=True)
        paths = [
            _write(_scaled(picture, scale), out / name)
            for number, stages in enumerate(drawing.stages)
            for name, picture in _names(stages, f"{number:03d}-seed{drawing.seeds[number]}", suffix)
        ]
        if any(drawing.attention):
            paths.append(_write(_looks(drawing, scale), out / f"attention{suffix}"))
        return paths
    check_suffix(out)
    if any(drawing.attention):
        return [_write(_looks(drawing, scale), out)]
    if all(len(stages) == 1 for stages in drawing.stages):
        pictures = [_scaled(stages[0], scale) for stages in drawing.stages]
        rows = in_rows(pictures, drawing.columns)
    else:
        rows = [[_scaled(picture, scale) for picture in stages] for stages in drawing.stages]
    single = len(rows) == len(rows[0]) == 1
    return [_write(rows[0][0] if single else contact_sheet(rows, gap=2 * scale), out)]


def default_file(drawing: Drawing, asked: str, suffix: str) -> Path:
    """Return the file for a drawing that nobody named, after what was asked and its first seed."""
    words = re.sub(r"[^\w]+", "-", asked.lower()).strip("-")[:60] or "picture"
    return Path(f"{words}-{drawing.seeds[0]}{suffix}")


def _names(stages: list[Image.Image], stem: str, suffix: str) -> Iterable[tuple[str, Image.Image]]:
    *earlier, final = stages
    for picture in earlier:
        yield f"{stem}-{picture.height}px{suffix}", picture
    yield f"{stem}{suffix}", final


def _grey(weights: NDArray[np.float32]) -> Image.Image:
    """Return a map as the service sends it: white where the weight is largest."""
    largest = float(weights.max()) or 1.0
    pixels = (weights * (255.0 / largest)).round().astype("uint8")
    return Image.frombytes("L", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def _looks(drawing: Drawing, scale: int) -> Image.Image:
    """Return a sheet with a row for each picture: the picture, then a map for each word."""
    rows = []
    for stages, maps in zip(drawing.stages, drawing.attention, strict=True):
        picture = _scaled(stages[-1], scale)
        looks = (labelled(looked_at(picture, map), word) for word, map in maps)
        rows.append([labelled(picture, ""), *looks])
    return contact_sheet(rows, gap=2 * scale)


def _scaled(picture: Image.Image, scale: int) -> Image.Image:
    if scale == 1:
        return picture
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.BICUBIC)


def _write(picture: Image.Image, path: Path) -> Path:
    packed = io.BytesIO()
    picture.save(packed, Image.registered_extensions()[path.suffix.lower()], quality=95)
    return write_atomically(path, packed.getvalue())
