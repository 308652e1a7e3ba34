"""The conduct of a training run: to its end or until it is stopped, with log, grids and exports."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import FrameType

from training.data.folder import write_skipped
from training.data.pictures import PictureData
from training.data.shards import shown_url
from training.errors import TrainingError
from training.metrics.runs import RUN_FILE
from training.prepare import Data, Options, Prepared, prepare
from training.progress import progress_bar
from training.registry import Entry
from training.sheets import Sheet
from training.spent import Spent
from training.trainer import Report, Settings, Trainer, accelerator_for

log = logging.getLogger("t2i.training")

# A run may be made longer or report more often; what it learns from must stay as it was.
CHANGEABLE = {
    "kimg", "core_minutes", "checkpoint_kimg", "grid_kimg", "out", "captions", "strict", "download",
}  # fmt: skip
# Where a run that goes on leaves these open, they are what they were.
LEFT_OPEN = ("caption_steps", "matcher_steps", "eyes")


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end.

    Attributes:
        left: Folder of the bundle, or of the generator; the run's own where it leaves neither.
        trainer: Networks, averaged generator and checkpoints.
        ready: What it was made of.
    """

    left: Path
    trainer: Trainer
    ready: Prepared


def run(
    entry: Entry,
    options: Options,
    knobs: Mapping[str, object],
    *,
    shown: bool = True,
    on_report: Callable[[Report], None] | None = None,
) -> Path:
    """Train to the end, or until a signal asks to stop; running again goes on.

    Args:
        entry: The recipe's entry in the zoo.
        options: The run's options.
        knobs: The recipe's arguments.
        shown: Show progress bars.
        on_report: Called with every report, on the main process.

    Returns:
        The folder of the bundle, or of the generator where no bundle can hold its samples.

    Raises:
        TrainingError: The run cannot start, go on or be resumed.
        KeyboardInterrupt: It was stopped by a signal; a checkpoint was written.
    """

    def told(trainer: Trainer, report: Report) -> None:
        if on_report is not None:
            on_report(report)

    return conduct(entry, options, knobs, shown=shown, on_report=told).left


def conduct(
    entry: Entry,
    options: Options,
    knobs: Mapping[str, object],
    *,
    data: Data | None = None,
    shown: bool = True,
    on_report: Callable[[Trainer, Report], None] | None = None,
) -> Finished:
    """Train like `run`, and hand over what was trained.

    Args:
        entry: The recipe's entry in the zoo.
        options: The run's options.
        knobs: The recipe's arguments.
        data: What to learn from; None loads what the options name.
        shown: Show progress bars.
        on_report: Called with the trainer and every report, on the main process.

    Raises:
        TrainingError: The run cannot start, go on or be resumed.
        KeyboardInterrupt: It was stopped by a signal; a checkpoint was written.
    """
    accelerator = accelerator_for(options.precision, options.out)
    main = accelerator.is_main_process
    spent = Spent(options.out)
    with accelerator.main_process_first():
        options = _as_begun(options)
        if main:
            _remember(entry, options, knobs)
        ready = prepare(entry, options, knobs, shown=shown and main, data=data, on_kept=spent.keep)
        if main and isinstance(ready.data, PictureData):
            write_skipped(ready.data, options.out)
    settings = Settings(
        out=options.out,
        kimg=options.kimg,
        seed=options.seed,
        precision=options.precision,
        micro_batches=options.micro_batches,
        checkpoint_kimg=options.checkpoint_kimg,
        core_minutes=options.core_minutes,
    )
    trainer = Trainer(ready.recipe, ready.stream, settings, accelerator, spent_before=spent.before)
    if trainer.resume():
        if main:
            log.warning("resumed at %.1f kimg from %s", trainer.kimg, trainer.checkpoints)
    elif options.start_from is not None:
        trainer.start_from(options.start_from)
    accelerator.init_trackers("tensorboard")
    sheet = ready.sheet()
    average = trainer.average
    left = options.out

    total = round(options.kimg * 1000)
    drawn = trainer.kimg
    with (
        _stop_on_signal(trainer),
        progress_bar(entry.key, total, shown=shown and main) as advance,
    ):
        advance(min(total, round(trainer.kimg * 1000)))
        before = round(trainer.kimg * 1000)
        for report in trainer.train():
            accelerator.log(dict(report.losses), step=report.round)
            if not main:
                continue
            _record(options.out, report)
            now = min(total, round(report.kimg * 1000))
            advance(now - before, _words(report))
            before = now
            if on_report is not None:
                on_report(trainer, report)
            if report.kimg - drawn >= options.grid_kimg:
                _draw(sheet, trainer, options.out)
                ready.leave(average, trainer.kimg)
                drawn = report.kimg
        if main:
            if drawn != trainer.kimg and not trainer.stopped:
                _draw(sheet, trainer, options.out)
            left = ready.leave(average, trainer.kimg)
    accelerator.end_training()
    if trainer.stopped:
        raise KeyboardInterrupt
    return Finished(left, trainer, ready)


def _draw(sheet: Sheet | None, trainer: Trainer, out: Path) -> None:
    if sheet is not None:
        sheet.save(trainer.average, out / "grids" / f"{round(trainer.kimg):06d}.png")


def _as_begun(options: Options) -> Options:
    """Return the options with what they leave open as the run was begun with."""
    path = options.out / RUN_FILE
    before = json.loads(path.read_text()) if path.is_file() else {}
    open_now = [name for name in LEFT_OPEN if getattr(options, name) is None]
    return replace(options, **{name: before[name] for name in open_now if name in before})


def _remember(entry: Entry, options: Options, knobs: Mapping[str, object]) -> None:
    """Keep what the run was started with; refuse to resume it with something else."""
    # A signed address is another every time, and nobody else should find it here.
    plain_options = {**asdict(options), "data": shown_url(options.data)}
    plain = _plain({"recipe": entry.key, **plain_options, **knobs})
    path = options.out / RUN_FILE
    if path.is_file():
        # What the version that began the run did not know yet was as it is by default.
        defaults = {field.name: field.default for field in fields(Options)}
        defaults |= {knob.name: knob.default for knob in entry.knobs}
        before = {**_plain(defaults), **json.loads(path.read_text())}
        changed = [
            f"{name} was {before.get(name)!r}, now {value!r}"
            for name, value in plain.items()
            if name not in CHANGEABLE and before.get(name) != value
        ]
        if changed:
            raise TrainingError(
                f"out: the run in {options.out} was started otherwise ({'; '.join(changed)}); "
                "use the same options, or another --out"
            )
    options.out.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(plain, indent=2) + "\n")
    partial.replace(path)


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Return values as they come back from JSON."""
    plain: dict[str, object] = json.loads(json.dumps(values, default=str))
    return plain


def _record(out: Path, report: Report) -> None:
    line = {"kimg": report.kimg, "round": report.round, "speed": report.pictures_per_second}
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps({**line, **report.losses}) + "\n")


def _words(report: Report) -> str:
    losses = " ".join(f"{name} {value:.2f}" for name, value in report.losses.items())
    return f"{report.kimg:.1f} kimg  {report.pictures_per_second:.0f} pictures/s  {losses}"


@contextmanager
def _stop_on_signal(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the run after the round, with a checkpoint."""

    def stop(number: int, frame: FrameType | None) -> None:
        trainer.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
