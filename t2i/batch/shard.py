"""One shard: from its rows to its files.

`draw_shard` is all that a worker has to run, be it a thread here, a service, or a task on another
machine with the same folder: it is told everything and keeps nothing. A shard is finished when its
*record* is there, which is written last; until then it is drawn again from the start, and gives the
same bytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from t2i.batch.errors import JobStopped
from t2i.batch.plan import Plan, Shard
from t2i.batch.rows import Failure, Row, RowReader
from t2i.batch.storage import Storage, storage_of, write
from t2i.batch.writers import Picture, ShardWriter, as_json, open_shard
from t2i.conditions import Condition

__all__ = [
    "Ask",
    "Draw",
    "Drawn",
    "ShardReport",
    "ShardTask",
    "draw_shard",
    "record_name",
    "report_of",
]

# Batches that wait for the thread that packs and writes; what they hold is in memory.
_WAITING = 2
_REPORT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Ask:
    """One picture to draw.

    Attributes:
        condition: None with a model that draws by seed alone.
        seed: 0 to 2**63 - 1.
        truncation: as in `Pipeline.generate`.
        conditioning_truncation: the same.
        best_of: candidates, of which the best is kept.
    """

    condition: Condition | None
    seed: int
    truncation: float
    conditioning_truncation: float
    best_of: int = 1


class Drawn(Protocol):
    """A drawn picture."""

    @property
    def seed(self) -> int | None:
        """The seed that it was drawn with: of several candidates the best one's."""

    @property
    def score(self) -> float | None:
        """Its score; None where it was the only candidate."""

    def png(self) -> bytes:
        """Return it as a PNG file; the same picture always gives the same bytes."""


# Draws pictures together; what each is must not depend on the others. Called by several threads.
Draw = Callable[[Sequence[Ask]], Sequence[Drawn]]


@dataclass(frozen=True, slots=True, eq=False)
class ShardTask:
    """One shard that is to be drawn, and who waits for it.

    Attributes:
        plan: what to do with rows.
        shard: the rows.
        out: the job's folder: a path, an address of fsspec, or what they stand for.
        drawn: called with the rows and pictures that were just written.
        stopped: asked now and then whether to give up; what it raises ends the drawing too.
    """

    plan: Plan
    shard: Shard
    out: Storage | Path | str
    drawn: Callable[[int, int], None] = lambda rows, pictures: None
    stopped: Callable[[], bool] = lambda: False

    @property
    def storage(self) -> Storage:
        """The job's folder.

        Raises:
            InvalidInput: if no program here knows such addresses.
            ExtraMissing: if fsspec is not installed.
        """
        return storage_of(self.out) if isinstance(self.out, Path | str) else self.out


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What became of a shard.

    Attributes:
        shard: its number.
        rows: rows in it.
        failed: rows that could not be drawn.
        pictures: pictures in it.
        passed_over: columns of the input that mean nothing to a batch job.
    """

    shard: int
    rows: int
    failed: int
    pictures: int
    passed_over: tuple[str, ...] = ()


def draw_shard(task: ShardTask, draw: Draw, *, at_once: int = 64) -> ShardReport:
    """Draw a shard and write its files, while the next pictures are drawn.

    Args:
        task: which, where to, and who waits for it; whether it is stopped is asked before each
            call of `draw`.
        draw: draws pictures.
        at_once: pictures asked for in one call of `draw`; the files do not depend on it.

    Raises:
        JobStopped: if it was given up; nothing is left behind.
        T2IError: if the model fails as a whole. A row that cannot be drawn is told in the record.
        OSError: if a file cannot be written; nothing is left behind.
    """
    plan, shard, storage = task.plan, task.shard, task.storage
    rows, failures, passed_over = _read(plan, shard)
    pictures = 0
    with write(storage, record_name(shard.number)) as record:
        for failure in failures:
            record.write(as_json(asdict(failure)) + b"\n")
        task.drawn(len(failures), 0)
        # The writer's block lies within the record's: when the record appears, the rest is there.
        with (
            open_shard(storage, shard.name, plan.format) as writer,
            ThreadPoolExecutor(1, thread_name_prefix="t2i-pack") as packing,
        ):
            waiting: deque[Future[int]] = deque()
            wanted = _wanted(rows)
            while some := list(islice(wanted, at_once)):
                if task.stopped():
                    raise JobStopped("the job is being stopped")
                results = draw([ask for _, _, ask in some])
                waiting.append(packing.submit(_pack, task, some, results, writer, record))
                while len(waiting) > _WAITING:
                    pictures += waiting.popleft().result()
            while waiting:
                pictures += waiting.popleft().result()
        report = ShardReport(
            shard.number, len(shard.records), len(failures), pictures, tuple(sorted(passed_over))
        )
        record.write(as_json(asdict(report)) + b"\n")
    return report


def record_name(number: int) -> str:
    """Return the file that tells what is in a shard, below a job's folder.

    It has a line for each row that failed, then one for each picture, then the report.
    """
    return f"records/{number:06d}.jsonl"


def report_of(out: Storage, number: int) -> ShardReport:
    """Return the report at the end of a shard's record.

    Raises:
        OSError: if there is no record.
        ValueError: if it is not a record.
    """
    told = json.loads(out.read(record_name(number), -_REPORT_BYTES).splitlines()[-1])
    return ShardReport(**{**told, "passed_over": tuple(told["passed_over"])})


def _read(plan: Plan, shard: Shard) -> tuple[list[Row], list[Failure], set[str]]:
    reader = RowReader(plan)
    rows: list[Row] = []
    failures: list[Failure] = []
    for record in shard.records:
        read = reader.read(record)
        if isinstance(read, Row):
            rows.append(read)
        else:
            failures.append(read)
    return rows, failures, reader.passed_over


_Wanted = tuple[Row, int, Ask]


def _wanted(rows: Sequence[Row]) -> Iterator[_Wanted]:
    for row in rows:
        for index, seed in enumerate(row.seeds):
            ask = Ask(row.condition, seed, row.truncation, row.conditioning_truncation, row.best_of)
            yield row, index, ask


def _pack(
    task: ShardTask,
    wanted: Sequence[_Wanted],
    results: Sequence[Drawn],
    writer: ShardWriter,
    record: BinaryIO,
) -> int:
    model = task.plan.model
    for (row, index, ask), result in zip(wanted, results, strict=True):
        described: dict[str, object] = {
            "id": row.id,
            "row": row.number,
            "index": index,
            "seed": ask.seed,
            "caption": row.caption,
            "condition": row.told,
            "truncation": row.truncation,
            "conditioning_truncation": row.conditioning_truncation,
            "model": model.name,
            "checksum": model.checksum,
        }
        if ask.best_of > 1:
            # With this seed the picture is drawn again without choosing.
            described |= {"seed": result.seed, "score": result.score}
        place = writer.add(Picture(f"{row.number:09d}-{index:04d}", result.png(), described))
        record.write(as_json({**described, **asdict(place)}) + b"\n")
    # A row counts when its last picture is there.
    task.drawn(sum(index == row.count - 1 for row, index, _ in wanted), len(wanted))
    return len(wanted)
