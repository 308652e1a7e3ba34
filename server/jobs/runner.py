"""The jobs of a server: which of them run, how far they are, and how they end."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from server.engine import Engine
from server.jobs.drawer import EngineDrawer
from server.jobs.places import find_input, find_output
from server.jobs.requests import input_format_of, shard_format_of
from server.jobs.settings import JobSettings
from server.jobs.store import Key, State, Store, StoredJob
from server.model_memory import Lease
from server.model_store import ModelStore
from server.refusals import Refusal
from server.tokens import OverQuota, Tokens
from t2i.batch.errors import FolderBusy, JobChanged, JobStopped
from t2i.batch.folder import FAILURES
from t2i.batch.job import Job, Summary, run_job
from t2i.batch.records import format_of
from t2i.batch.shard import ShardReport
from t2i.errors import InvalidInput, T2IError
from t2i.protocol.v1 import batch_service_pb2 as pb

__all__ = ["JobCounts", "Jobs"]

_log = logging.getLogger("t2i.server")

_LOOK_SECONDS = 3600.0
_AGAIN_SECONDS = 1.0
# Of a quota that is used up until midnight: it may be raised before.
_PAY_SECONDS = 30.0
_MEMORY_SECONDS = 5.0


class _Failed(Exception):
    """A job cannot go on; says why for programs and for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Jobs:
    """Runs jobs, on the event loop, in threads of their own.

    Args:
        settings: where jobs may read and write, and how many there may be.
        engine: draws their pictures.
        tokens: what callers may have; None where nobody needs a token.

    Raises:
        InvalidInput: another server runs the jobs of the folder, or it cannot be used.
    """

    def __init__(self, settings: JobSettings, engine: Engine, tokens: Tokens | None) -> None:
        self.settings = settings
        self.store = Store(settings.folder)
        self.counts = JobCounts()
        self._counting = threading.Lock()
        self._engine, self._tokens = engine, tokens
        self._threads = ThreadPoolExecutor(settings.at_once, thread_name_prefix="t2i-job")
        self._running: dict[Key, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: dict[Key, set[asyncio.Event]] = {}
        self._look = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._stopped: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end."""
        return self._stopped is not None

    async def start(self, models: ModelStore) -> None:
        """Go on with the jobs that an earlier server was at, and begin those that wait."""
        waiting = await asyncio.to_thread(self.store.recover)
        if waiting:
            _log.info("going on with %d batch jobs", waiting)
        if self.stopping:
            return
        self._look.set()
        self._looking = asyncio.create_task(self._keep_looking(models))

    async def stop(self) -> None:
        """Give up what runs, to go on with it in the next server; may be called twice."""
        if self._stopped is None:
            self._stopped = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopped)

    async def close(self) -> None:
        """Let another server have the jobs, when the last call has ended."""
        await self.stop()
        await asyncio.to_thread(self._threads.shutdown)
        self.store.close()

    def count_rows(self, report: ShardReport) -> None:
        """Count the rows of a shard that was completed; may be called by any thread."""
        with self._counting:
            self.counts.drawn += report.rows - report.failed
            self.counts.failed += report.failed

    def _count_end(self, state: State) -> None:
        with self._counting:
            self.counts.ended[state] += 1

    def look(self) -> None:
        """Look for jobs that wait."""
        self._look.set()

    def changed(self, key: Key) -> None:
        """Tell those who watch a job that it has changed."""
        for event in self._watching.get(key, ()):
            event.set()

    @contextmanager
    def watching(self, key: Key) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever a job has changed, and when the server stops."""
        event = asyncio.Event()
        self._watching.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            self._watching[key].discard(event)
            if not self._watching[key]:
                del self._watching[key]

    async def cancel(self, key: Key) -> StoredJob | None:
        """Ask a job to stop; None when there is no such job."""
        before = await asyncio.to_thread(self.store.find, key)
        job = await asyncio.to_thread(self.store.cancel, key)
        if before is not None and before.state == "pending" and job and job.state == "cancelled":
            # It never ran, so nobody else takes note of its end.
            self._count_end("cancelled")
        if key in self._running:
            self._running[key].give_up()
        self.changed(key)
        return job

    async def _stop(self) -> None:
        for events in self._watching.values():
            for event in events:
                event.set()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for running in self._running.values():
            running.give_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_looking(self, models: ModelStore) -> None:
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()
            try:
                await asyncio.to_thread(self.store.forget, self.settings.keep_days)
                await self._begin_waiting(models)
            except Exception:
                # A disk that is full for a while must not end the looking.
                _log.exception("cannot look for batch jobs")

    async def _begin_waiting(self, models: ModelStore) -> None:
        while len(self._running) < self.settings.at_once:
            waiting = await asyncio.to_thread(self.store.waiting)
            if not waiting:
                return
            # Callers take turns: whoever has the fewest at work goes next.
            busy = Counter(key.owner for key in self._running)
            key = min(waiting, key=lambda key: busy[key.owner])
            job = await asyncio.to_thread(self.store.begin, key)
            if job is None:
                continue
            running = _Running(self, job, models, asyncio.get_running_loop())
            self._running[key] = running
            task = asyncio.create_task(self._run(running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, running: _Running) -> None:
        key = running.job.key
        self.changed(key)
        _log.info("batch job %s begins", key.id)
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._draw, running)
        except Exception:
            # The database could not be written to. What is finished is in the folder.
            _log.exception("batch job %s cannot be ended, and is begun again", key.id)
            await asyncio.sleep(_AGAIN_SECONDS)
            with suppress(sqlite3.Error):
                await asyncio.to_thread(self.store.give_back, key)
        finally:
            del self._running[key]
            self.changed(key)
            self._look.set()

    def _draw(self, running: _Running) -> None:
        """Run a job to its end and take note of that; in a thread of its own."""
        key = running.job.key
        end: State
        try:
            known = self.store.find(key)
            # It may have been asked to stop before it was known here to run.
            if known is None or known.stopping:
                raise JobStopped("the job is being stopped")
            summary = running.draw()
        except JobStopped:
            known = self.store.find(key)
            if known is None or not known.stopping:
                self.store.give_back(key)
                _log.info("batch job %s goes on in the next server", key.id)
                return
            end = "cancelled"
            self.store.end(key, end)
            _log.info("batch job %s is cancelled", key.id)
        except Exception as error:
            failed = _failure(error, self.settings)
            if failed.reason == "INTERNAL":
                _log.error("batch job %s failed", key.id, exc_info=error)
            else:
                _log.info("batch job %s failed: %s", key.id, failed.reason)
            end = "failed"
            self.store.end(key, end, reason=failed.reason, message=failed.message)
        else:
            failures = f"{running.spec.output_uri}/{FAILURES}" if summary.failures else ""
            counts = {
                "total_rows": summary.rows,
                "completed_rows": summary.rows,
                "failed_rows": summary.failed,
                "images": summary.pictures,
                "total_shards": summary.shards,
                "completed_shards": summary.shards,
            }
            end = "succeeded"
            self.store.end(key, end, counts=counts, failures=failures)
            _log.info("batch job %s is done: %d pictures", key.id, summary.pictures)
        self._count_end(end)

    def drawer(self, job: StoredJob, lease: Lease, loop: asyncio.AbstractEventLoop) -> EngineDrawer:
        """Return what draws for a job with a model that it holds."""

        async def pay(pictures: int) -> None:
            for _ in range(pictures):
                await self._pay(job.owner)

        # A name of its own: the jobs of a caller share the workers with those of others.
        return EngineDrawer(
            self._engine,
            loop,
            lease.info,
            caller=f"jobs of {job.owner}",
            pay=pay,
            release=lease.release,
        )

    async def _pay(self, owner: str) -> None:
        """Wait until the owner's token allows one more picture."""
        if self._tokens is None:
            return
        while True:
            grant = self._tokens.named(owner)
            if grant is None:
                if not owner:
                    return
                raise _Failed("TOKEN_GONE", f"there is no token of the name {owner!r} any more")
            try:
                return self._tokens.spend(grant, 1)
            except OverQuota as over:
                wait = over.retry_seconds
            await asyncio.sleep(min(_PAY_SECONDS, wait or _PAY_SECONDS))


class _Running:
    """One job at work; `t2i.batch.job.Progress` for it."""

    def __init__(
        self, jobs: Jobs, job: StoredJob, models: ModelStore, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.job = job
        self.spec = pb.BatchJobSpec.FromString(job.spec)
        self._jobs, self._models, self._loop = jobs, models, loop
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._drawer: EngineDrawer | None = None
        self._holding: Future[Lease] | None = None
        self._counts = _Counts()

    def give_up(self) -> None:
        """Have the job end soon; finished shards are kept."""
        self._given_up.set()
        with self._lock:
            drawer, holding = self._drawer, self._holding
        if drawer is not None:
            drawer.close()
        elif holding is not None:
            holding.cancel()

    def draw(self) -> Summary:
        """Draw what is not drawn yet.

        Raises:
            JobStopped: it was given up.
            Exception: whatever stops a job.
        """
        settings, spec = self._jobs.settings, self.spec
        # Looked at again: what lies between the request and this may be days.
        source = find_input("input_uri", self.job.input, settings.input_roots)
        out = find_output("output_uri", spec.output_uri, settings.output_root)
        if out != settings.output_root.resolve() / self.job.output:
            raise _Failed("OUTPUT_MOVED", "output_uri: a link on the way to the folder has changed")
        out.parent.mkdir(parents=True, exist_ok=True)
        job = Job(
            source=source,
            input_format=format_of(source, input_format_of(spec)),
            out=out,
            format=shard_format_of(spec),
            rows_per_shard=spec.rows_per_shard,
            count=spec.count,
            seed=spec.seed,
            truncation=spec.options.truncation,
            conditioning_truncation=spec.options.conditioning_truncation,
            # Not set in a job that an older server took in.
            best_of=spec.best_of or 1,
        )
        return run_job(job, self._open, progress=self)

    def _open(self) -> EngineDrawer:
        drawer = self._jobs.drawer(self.job, self._lease(), self._loop)
        if drawer.model.checksum != self.job.checksum:
            drawer.close()
            raise _Failed(
                "MODEL_CHANGED",
                f"the server has another {self.job.model} now; begin anew with another folder",
            )
        with self._lock:
            self._drawer = drawer
        if self._given_up.is_set():
            drawer.close()
        return drawer

    def _lease(self) -> Lease:
        """Have the model in memory to the job's end, whatever its name stands for by then."""
        while True:
            model = self._models.lease(self.job.model)
            with self._lock:
                self._holding = asyncio.run_coroutine_threadsafe(model, self._loop)
            try:
                return self._holding.result()
            except CancelledError:
                raise JobStopped("the job is being stopped") from None
            except Refusal as refusal:
                # Callers' models may take all memory for a while; a job can wait.
                if refusal.reason != "NO_MEMORY":
                    raise
            if self._given_up.wait(_MEMORY_SECONDS):
                raise JobStopped("the job is being stopped")

    def begin(self, rows: int) -> None:
        """See `t2i.batch.job.Progress`."""
        most = self._jobs.settings.max_rows
        if rows > most:
            raise _Failed(
                "TOO_MANY_ROWS", f"input_uri: has {rows:,} rows; give at most {most:,} a job"
            )
        self._counts = _Counts(total_rows=rows, total_shards=-(-rows // self.spec.rows_per_shard))
        self._note()

    def found(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`."""
        self._add(report)

    def drawn(self, rows: int, pictures: int) -> None:
        """See `t2i.batch.job.Progress`; shards are counted by `finished`."""

    def finished(self, report: ShardReport) -> None:
        """See `t2i.batch.job.Progress`."""
        self._jobs.count_rows(report)
        self._add(report)

    def _add(self, report: ShardReport) -> None:
        if self._given_up.is_set():
            raise JobStopped("the job is being stopped")
        with self._lock:
            self._counts.completed_rows += report.rows
            self._counts.failed_rows += report.failed
            self._counts.images += report.pictures
            self._counts.completed_shards += 1
            self._note()

    def _note(self) -> None:
        self._jobs.store.progress(self.job.key, vars(self._counts))
        self._loop.call_soon_threadsafe(self._jobs.changed, self.job.key)


@dataclass
class JobCounts:
    """What this server did for jobs since it began.

    Attributes:
        drawn: rows that were drawn, in shards that were completed.
        failed: rows of such shards that could not be drawn.
        ended: jobs by how they ended.
    """

    drawn: int = 0
    failed: int = 0
    ended: Counter[State] = field(default_factory=Counter)


@dataclass
class _Counts:
    total_rows: int = 0
    completed_rows: int = 0
    failed_rows: int = 0
    images: int = 0
    total_shards: int = 0
    completed_shards: int = 0


def _failure(error: Exception, settings: JobSettings) -> _Failed:
    """Return why a job failed, in words that tell nothing of where the server's folders are."""
    if isinstance(error, _Failed):
        return error
    if isinstance(error, Refusal):
        return _Failed(error.reason, str(error))
    if isinstance(error, JobChanged):
        return _Failed(
            "OUTPUT_OF_ANOTHER_JOB",
            "output_uri: the pictures there are of another input, model or other options; give "
            "another folder",
        )
    if isinstance(error, FolderBusy):
        return _Failed("OUTPUT_BUSY", "output_uri: somebody else writes there; give another folder")
    if isinstance(error, T2IError):
        wrong = isinstance(error, InvalidInput)
        reason = "INPUT_INVALID" if wrong else "CANNOT_GO_ON"
        return _Failed(reason, _without_roots(str(error), settings))
    if isinstance(error, OSError):
        return _Failed(
            "FILE_ERROR", f"a file cannot be read or written: {error.strerror or 'input/output'}"
        )
    return _Failed(
        "INTERNAL", "internal error; the server's log has the details under the job's id"
    )


def _without_roots(text: str, settings: JobSettings) -> str:
    for root in (*settings.input_roots, settings.output_root):
        for told in (root.resolve(), root):
            text = text.replace(f"{told}/", "")
    return " ".join(text.split())
