"""What a server tells about itself: numbers for Prometheus, and log lines for machines."""

from __future__ import annotations

import functools
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.jobs.store import ENDS
from server.model_status import ModelState
from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from server.engine import Engine
    from server.jobs.runner import Jobs
    from server.lag import LagProbe
    from server.model_store import ModelStore
    from server.replays import Replays
    from t2i.protocol.v1 import conditions_pb2

__all__ = ["Done", "JsonLines", "Metrics"]

# From a picture drawn at once to a queue that is nearly lost, in seconds.
_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 30.0)
_STAGES = ("queue", "encode", "generate", "pack")
# What a log record has by itself, and what is no more than its text taken apart.
_USUAL = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@dataclass(frozen=True, slots=True)
class Done:
    """A call that ended.

    Attributes:
        method: its full name, such as `/t2i.v1.ImageService/Generate`.
        code: gRPC's name of its status, `OK` or `CANCELLED` or another.
        reason: why it was refused, such as `QUEUE_FULL`; empty otherwise.
        seconds: from its arrival to its end.
        request_id: its id.
    """

    method: str
    code: str
    reason: str
    seconds: float
    request_id: str


class Metrics:
    """Counts what happens, and reads the rest when it is asked; one registry a server.

    Nothing in it names a caller, a caption or a seed.

    Args:
        engine: its queue and counts.
        replays: its memory of answers.
        lag: how late the event loop is.
        serving: tells whether anything can draw.
        models: what is in memory.
        jobs: its batch jobs; None where it runs none.
    """

    def __init__(
        self,
        engine: Engine,
        replays: Replays,
        lag: LagProbe,
        serving: Callable[[], bool],
        models: ModelStore,
        jobs: Jobs | None = None,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._calls = Counter(
            "t2i_requests", "Calls by status and reason.", ("method", "code", "reason"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "t2i_request_seconds", "From the arrival of a call to its end.", ("method",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "t2i_stage_seconds", "Where the time of an answered request goes.", ("stage",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._delivered = Counter(
            "t2i_pictures_delivered", "Pictures in answers, by model.", ("model",),
            registry=self.registry,
        )  # fmt: skip
        # The library makes and looks up a counter's key in many steps, for every call again.
        self._calls_of = functools.cache(self._calls.labels)
        self._seconds_of = functools.cache(self._seconds.labels)
        self._stage_of = functools.cache(self._stages.labels)
        self._delivered_of = functools.cache(self._delivered.labels)
        self.registry.register(_State(engine, replays, lag, serving))
        self.registry.register(_Models(models))
        self.registry.register(_JobState(jobs))

    def done(self, call: Done) -> None:
        """Count a call that ended."""
        self._calls_of(call.method, call.code, call.reason).inc()
        self._seconds_of(call.method).observe(call.seconds)

    def answered(self, model: str, pictures: int, timings: conditions_pb2.Timings) -> None:
        """Count a request that was answered, and where its time went."""
        self._delivered_of(model).inc(pictures)
        spent = (timings.queue_ms, timings.encode_ms, timings.generate_ms, timings.pack_ms)
        for stage, milliseconds in zip(_STAGES, spent, strict=True):
            self._stage_of(stage).observe(milliseconds / 1e3)

    def serve(self, host: str, port: int) -> tuple[WSGIServer, int]:
        """Answer `GET /metrics` in a thread; return the server and its port.

        Raises:
            InvalidInput: the address cannot be bound.
        """
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise InvalidInput(
                "metrics", f"{host}:{port}", f"{host}:{port} cannot be bound ({error.strerror})",
                "choose a free port and an address of this machine",
            ) from error  # fmt: skip
        return server, server.server_port


class _State(Collector):
    """Reads what the parts of a server count anyway."""

    def __init__(
        self, engine: Engine, replays: Replays, lag: LagProbe, serving: Callable[[], bool]
    ) -> None:
        self._engine, self._replays, self._lag, self._serving = engine, replays, lag, serving

    def collect(self) -> Iterable[Metric]:
        counts, lags = self._engine.counts, self._lag.lags()
        yield from _counters(
            ("t2i_batches", "Batches drawn.", counts.batches),
            ("t2i_pictures", "Pictures drawn, wanted or not by then.", counts.pictures),
            ("t2i_batches_failed", "Batches that the backend failed with.", counts.failed),
            ("t2i_late", "Requests given up because they could no longer be in time.", counts.late),
            ("t2i_cancelled", "Requests given up by their callers.", counts.cancelled),
            ("t2i_replayed", "Answers given a second time.", self._replays.replayed),
            ("t2i_loop_lags_over_5_ms", "Times the event loop was 5 ms late.", lags.over_5_ms),
        )
        yield from _gauges(
            ("t2i_serving", "1 while anything can draw.", float(self._serving())),
            ("t2i_queue_pictures", "Pictures that wait for a worker.", self._engine.waiting),
            ("t2i_held_bytes", "Bytes that requests hold.", self._engine.held_bytes),
            ("t2i_replay_bytes", "Bytes that kept answers hold.", self._replays.bytes),
            ("t2i_loop_lag_p99_seconds", "Lateness of the event loop.", lags.p99_ms / 1e3),
        )


class _JobState(Collector):
    """Reads what there is to know of batch jobs; nothing where there are none."""

    def __init__(self, jobs: Jobs | None) -> None:
        self._jobs = jobs

    def collect(self) -> Iterable[Metric]:
        states = GaugeMetricFamily("t2i_jobs", "Batch jobs by state.", labels=("state",))
        rows = CounterMetricFamily(
            "t2i_job_rows", "Rows of batch jobs in completed shards.", labels=("result",)
        )
        ended = CounterMetricFamily("t2i_jobs_ended", "Batch jobs that ended.", labels=("state",))
        if self._jobs is not None:
            counts = self._jobs.counts
            rows.add_metric(("drawn",), counts.drawn)
            rows.add_metric(("failed",), counts.failed)
            for state in sorted(ENDS):
                ended.add_metric((state,), counts.ended[state])
            # A database that cannot be read must not take the other numbers with it.
            with suppress(sqlite3.Error):
                for each, count in self._jobs.store.states().items():
                    states.add_metric((each,), count)
        return (states, rows, ended)


class _Models(Collector):
    """Reads what became of models, what state each is in, and what they take of the memory."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        changes, text = self._models.changes, "Models brought into memory, taken out, and so on."
        counted = CounterMetricFamily("t2i_model_changes", text, labels=["change"])
        for change in ("loaded", "unloaded", "swapped", "failed"):
            counted.add_metric([change], getattr(changes, change))
        yield counted
        loaded = GaugeMetricFamily("t2i_model_loaded", "1 while in memory.", labels=["model"])
        for name, is_loaded in self._models.loaded.items():
            loaded.add_metric([name], float(is_loaded))
        yield loaded
        states = GaugeMetricFamily(
            "t2i_model_state", "1 for the state that a model is in.", labels=["model", "state"]
        )
        for name, now in self._models.states.items():
            for state in ModelState:
                states.add_metric([name, state.value], float(state is now))
        yield states
        yield from _gauges(
            ("t2i_model_memory_bytes", "What loaded weights take.", self._models.memory_bytes)
        )
        budget = GaugeMetricFamily("t2i_model_memory_budget_bytes", "What they may take.")
        if self._models.budget is not None:
            budget.add_metric([], self._models.budget)
        yield budget


def _counters(*rows: tuple[str, str, float]) -> Iterator[Metric]:
    for name, text, value in rows:
        yield CounterMetricFamily(name, text, value=value)


def _gauges(*rows: tuple[str, str, float]) -> Iterator[Metric]:
    for name, text, value in rows:
        yield GaugeMetricFamily(name, text, value=value)


class JsonLines(logging.Formatter):
    """Writes a log record as one line of JSON, with whatever it carries beside its text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
