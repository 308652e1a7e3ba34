"""One seed of a claim: data by name, runs of the real trainer, a folder to go on in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from t2i.networks.base import PictureGenerator
from training.claims.stand_in import stand_in
from training.data.load import load_data
from training.data.pictures import PictureData
from training.errors import TrainingError
from training.prepare import Data, Options
from training.progress import progress_bar
from training.recipe import Recipe
from training.registry import Entry, find_recipe
from training.run import conduct
from training.trainer import Precision, Report, Trainer

Watch = Callable[[nn.Module], Mapping[str, float]]

# What a quick trial shows, in kimg, and the size of the knobs that make it quick.
QUICK_KIMG = 0.032
QUICK_KNOBS: Mapping[str, int] = {
    "width": 4,
    "generator_width": 4,
    "noise_dim": 5,
    "code_dim": 4,
    "hidden": 8,
    "batch_size": 8,
    "n_dis": 2,
}
MOMENTS = "moments.jsonl"


@dataclass(frozen=True)
class Moment:
    """What was seen of a generator on the way.

    Attributes:
        kimg: Thousands of real samples shown before.
        figures: By name.
    """

    kimg: float
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Trained:
    """A finished run of a trial.

    Attributes:
        recipe: The recipe as it was built.
        networks: All networks by name, in evaluation mode and frozen.
        average: The averaged generator, as it would be served.
        data: What it was trained on.
        folder: Of the run.
        log: Losses on the way, a row a report: ``kimg``, ``round``, ``speed``, the losses by name.
        moments: What `Trial.train` was asked to watch.
        bundle: Folder of the bundle; None where nothing can be served.
    """

    recipe: Recipe
    networks: Mapping[str, nn.Module]
    average: nn.Module
    data: Data
    folder: Path
    log: tuple[Mapping[str, float], ...]
    moments: tuple[Moment, ...] = ()
    bundle: Path | None = None

    def best(self, figure: str, *, higher: bool = True) -> Mapping[str, float]:
        """Return the figures of the moment at which one of them was best.

        Args:
            figure: Name of the one that decides.
            higher: Whether higher is better.

        Raises:
            TrainingError: It was never watched.
        """
        seen = [moment.figures for moment in self.moments if figure in moment.figures]
        if not seen:
            raise TrainingError(f"figure {figure!r}: was not watched; give watch= to Trial.train")
        return (max if higher else min)(seen, key=lambda figures: figures[figure])

    @torch.inference_mode()
    def draw(
        self, count: int, *, seed: int = 0, embedding: Tensor | None = None, batch: int = 1000
    ) -> Tensor:
        """Draw with the averaged generator; see `draw`."""
        return draw(self.average, count, seed=seed, embedding=embedding, batch=batch)


@torch.inference_mode()
def draw(
    generator: nn.Module,
    count: int,
    *,
    seed: int = 0,
    embedding: Tensor | None = None,
    batch: int = 1000,
    stage: int = -1,
) -> Tensor:
    """Draw samples from normal noise.

    Args:
        generator: A `PictureGenerator`.
        count: How many.
        seed: Seed of the noise.
        embedding: ``(count, condition_dim)``; zeros where it is not given.
        batch: How many at once.
        stage: Which stage's pictures, from the coarsest, 0; -1 for the finest.

    Returns:
        ``(count, c, r, r)`` float32 pictures in [-1, 1] of the stage, or other samples.

    Raises:
        TrainingError: It is no generator that can be asked.
    """
    if not isinstance(generator, PictureGenerator):
        raise TrainingError(
            f"generator {type(generator).__name__}: cannot be drawn from; use Trained.networks"
        )
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, generator.noise_dim, generator=rng)
    around = torch.randn(count, generator.conditioning_dim, generator=rng)
    asked = torch.zeros(count, generator.condition_dim) if embedding is None else embedding
    device = next(generator.parameters()).device
    rows = zip(*(torch.split(each, batch) for each in (asked, noise, around)), strict=True)
    parts = [
        generator(*(each.to(device) for each in row)).pictures[stage].float().cpu() for row in rows
    ]
    return torch.cat(parts)


@dataclass
class Trial:
    """One seed of a claim.

    Attributes:
        seed: Seed of everything random.
        out: Folder of this seed: runs go on from what lies in it. Put pictures here.
        quick: A few steps of small networks on small data: all is gone through and no figure means
            anything. Tests ask for it.
        root: Folder of the named picture sets; None takes T2I_DATA.
        shown: Show progress bars.
        download: Fetch named picture sets that are not on this machine.
        used: Fingerprint of each data set that was asked for, by name.
    """

    seed: int
    out: Path
    quick: bool = False
    root: Path | None = None
    shown: bool = False
    download: bool = False
    used: dict[str, str] = field(default_factory=dict)

    def data(self, name: str, **load_options: Any) -> Any:
        """Return a data set as `training.data.load.load_data` does.

        A quick trial gets a small one of the same kind, shape and labels.

        Args:
            name: Its name (``mnist``, ``ring8:2000`` …), or a folder.
            **load_options: Of `load_data`, such as ``resolution``, ``split``, ``labels``.
        """
        if self.quick:
            loaded = stand_in(name, **load_options)
        else:
            given = {"root": self.root, "download": self.download, "progress": self.shown}
            loaded = load_data(name, **{**given, **load_options})
        self.used[loaded.name] = loaded.fingerprint
        return loaded

    def train(
        self,
        key: str,
        data: Data,
        *,
        kimg: float,
        name: str = "",
        watch: Watch | None = None,
        watch_kimg: float = math.inf,
        precision: Precision = "no",
        flip: bool = False,
        **knobs: Any,
    ) -> Trained:
        """Train a recipe with the real trainer; goes on from a checkpoint where there is one.

        Args:
            key: The recipe.
            data: What to learn from.
            kimg: Length in thousands of real samples shown.
            name: Folder of the run below `out`, for several runs of one recipe; the key if empty.
            watch: From the averaged generator to figures; called on the way and at the end.
            watch_kimg: Distance of these calls.
            precision: ``no`` for float32, ``bf16``.
            flip: Mirror pictures at random, where the data does not forbid it.
            **knobs: Arguments of the recipe.

        Raises:
            TrainingError: A knob is unknown, or the run cannot start, go on or be resumed.
            KeyboardInterrupt: It was stopped by a signal; a checkpoint was written.
        """
        entry = find_recipe(key)
        folder = self.out / (name or key)
        options = Options(
            data=data.name,
            out=folder,
            kimg=min(kimg, QUICK_KIMG) if self.quick else kimg,
            resolution=data.resolution if isinstance(data, PictureData) else None,
            seed=self.seed,
            precision=precision,
            checkpoint_kimg=max(kimg / 10, 1.0),
            grid_kimg=max(kimg / 4, 1.0),
            flip=flip,
        )
        if self.quick:
            options = Options(**{**vars(options), "caption_steps": 1, "matcher_steps": 1})
        watched = _Watched(folder / MOMENTS, watch, watch_kimg)
        done = conduct(
            entry,
            options,
            _checked(entry, knobs, quick=self.quick),
            data=data,
            shown=self.shown,
            on_report=watched.see,
        )
        networks = done.trainer.networks
        for network in networks.values():
            network.eval().requires_grad_(False)
        return Trained(
            recipe=done.ready.recipe,
            networks=networks,
            average=done.trainer.average,
            data=data,
            folder=folder,
            log=_rows(folder / "log.jsonl", "round"),
            moments=watched.finish(done.trainer),
            bundle=done.left if (done.left / "manifest.json").is_file() else None,
        )

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """Show a bar while a block runs; call what it gives with the number of things done."""
        return progress_bar(title, total, shown=self.shown)


class _Watched:
    """Looks at a generator every so many kimg, and keeps what it saw with the run."""

    def __init__(self, path: Path, watch: Watch | None, every: float) -> None:
        self._path, self._watch, self._every = path, watch, every
        self._last = max((row["kimg"] for row in _rows(path, "kimg")), default=0.0)

    def see(self, trainer: Trainer, report: Report) -> None:
        if self._watch is not None and report.kimg - self._last >= self._every:
            self._look(trainer)

    def finish(self, trainer: Trainer) -> tuple[Moment, ...]:
        if self._watch is not None and self._last < trainer.kimg:
            self._look(trainer)
        return tuple(
            Moment(row["kimg"], {name: value for name, value in row.items() if name != "kimg"})
            for row in _rows(self._path, "kimg")
        )

    def _look(self, trainer: Trainer) -> None:
        assert self._watch is not None
        figures = {name: float(value) for name, value in self._watch(trainer.average).items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"kimg": trainer.kimg, **figures}) + "\n")
        self._last = trainer.kimg


def _checked(entry: Entry, knobs: Mapping[str, object], *, quick: bool) -> dict[str, object]:
    """Return all knobs of a recipe, small ones for a quick trial."""
    known = {knob.name: knob for knob in entry.knobs}
    for name in knobs:
        if name not in known:
            raise TrainingError(
                f"knob {name!r}: recipe {entry.key} has none of that name; it has "
                f"{', '.join(known)}"
            )
    chosen = {name: knobs.get(name, knob.default) for name, knob in known.items()}
    if quick:
        for name, small in QUICK_KNOBS.items():
            value = chosen.get(name)
            if isinstance(value, int):
                chosen[name] = min(value, small)
    return chosen


def _rows(path: Path, by: str) -> tuple[Mapping[str, float], ...]:
    """Read lines of JSON; a part that was done again after an interruption counts once."""
    if not path.is_file():
        return ()
    rows = {row[by]: row for row in map(json.loads, path.read_text().splitlines())}
    return tuple(rows[place] for place in sorted(rows))
