"""The calls about batch jobs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc

from server.guard import CALLER
from server.jobs.requests import STATE_NAMES, digest_of, read_create, read_page
from server.jobs.runner import Jobs
from server.jobs.store import ENDS, FolderTaken, IdTaken, Key, StoredJob, TooManyJobs
from server.models import Models
from server.refusals import (
    Violation,
    invalid,
    job_not_found,
    jobs_off,
    request_id_reused,
    stopping,
    too_many_jobs,
)
from server.requests import is_request_id
from t2i.protocol.v1 import batch_service_pb2 as pb
from t2i.protocol.v1 import batch_service_pb2_grpc, conditions_pb2

__all__ = ["BatchService"]

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

# What changes more often than this is told together.
_WATCH_SECONDS = 0.05


class BatchService(batch_service_pb2_grpc.BatchServiceServicer):
    """Starts batch jobs and tells about them, to their owners alone.

    An owner is whoever a token is named after; callers without names of their own are one owner.

    Args:
        jobs: the jobs; None where the server runs none.
        models: returns the loaded models, or refuses while there are none.
    """

    def __init__(self, jobs: Jobs | None, models: Callable[[], Models]) -> None:
        self._served = jobs
        self._models = models

    async def CreateBatchJob(
        self, request: pb.CreateBatchJobRequest, context: _Context
    ) -> pb.CreateBatchJobResponse:
        """Start a job."""
        jobs, models = self._jobs(), self._models()
        id = request.request_id.lower() or str(uuid.uuid4())
        if is_request_id(id):
            known = await asyncio.to_thread(jobs.store.find, Key(_owner(), id))
            if known is not None:
                # Asked again: the input may be gone by now, and need not be looked at.
                if known.digest != digest_of(request.spec):
                    raise request_id_reused()
                return pb.CreateBatchJobResponse(job=_message(known))
        job = await asyncio.to_thread(
            read_create, request, id=id, owner=_owner(), models=models, settings=jobs.settings
        )
        self._jobs()
        per_owner = jobs.settings.per_owner
        try:
            stored = await asyncio.to_thread(jobs.store.add, job, per_owner=per_owner)
        except IdTaken:
            raise request_id_reused() from None
        except TooManyJobs:
            raise too_many_jobs(per_owner) from None
        except FolderTaken as taken:
            raise invalid([Violation("spec.output_uri", f"{taken}; give another folder")]) from None
        jobs.look()
        return pb.CreateBatchJobResponse(job=_message(stored))

    async def GetBatchJob(
        self, request: pb.GetBatchJobRequest, context: _Context
    ) -> pb.GetBatchJobResponse:
        """Tell how far a job is."""
        job = await self._find(_key(request.id))
        return pb.GetBatchJobResponse(job=_message(job))

    async def ListBatchJobs(
        self, request: pb.ListBatchJobsRequest, context: _Context
    ) -> pb.ListBatchJobsResponse:
        """Tell the caller's jobs, the newest first."""
        jobs = self._jobs()
        size, after, state = read_page(request)
        # One more than asked for tells whether there is another page.
        found = await asyncio.to_thread(
            jobs.store.page, _owner(), most=size + 1, after=after, state=state
        )
        shown = found[:size]
        token = f"{shown[-1].created}-{shown[-1].id}" if len(found) > size else ""
        return pb.ListBatchJobsResponse(
            jobs=[_message(job) for job in shown], next_page_token=token
        )

    async def CancelBatchJob(
        self, request: pb.CancelBatchJobRequest, context: _Context
    ) -> pb.CancelBatchJobResponse:
        """Ask a job to stop."""
        jobs = self._jobs()
        key = _key(request.id)
        job = await jobs.cancel(key)
        if job is None:
            raise job_not_found(request.id)
        return pb.CancelBatchJobResponse(job=_message(job))

    async def WatchBatchJob(
        self, request: pb.WatchBatchJobRequest, context: _Context
    ) -> AsyncIterator[pb.WatchBatchJobResponse]:
        """Tell how far a job is, now and at every change, until it has ended."""
        key = _key(request.id)
        last: StoredJob | None = None
        with self._jobs().watching(key) as changed:
            while True:
                # Cleared before the look: what changes after it wakes us again.
                changed.clear()
                job = await self._find(key)
                if job != last:
                    yield pb.WatchBatchJobResponse(job=_message(job))
                    last = job
                if job.state in ENDS:
                    return
                await asyncio.sleep(_WATCH_SECONDS)
                await changed.wait()

    def _jobs(self) -> Jobs:
        if self._served is None:
            raise jobs_off()
        if self._served.stopping:
            raise stopping()
        return self._served

    async def _find(self, key: Key) -> StoredJob:
        job = await asyncio.to_thread(self._jobs().store.find, key)
        if job is None:
            raise job_not_found(key.id)
        return job


def _owner() -> str:
    grant = CALLER.get().grant
    return "" if grant is None else grant.name


def _key(id: str) -> Key:
    if not is_request_id(id):
        raise invalid([Violation("id", "is not a UUID of version 4; give BatchJob.id")])
    return Key(_owner(), id.lower())


def _message(job: StoredJob) -> pb.BatchJob:
    message = pb.BatchJob(
        id=job.id,
        spec=pb.BatchJobSpec.FromString(job.spec),
        state=STATE_NAMES[job.state],
        model=conditions_pb2.ModelVersion(
            name=job.model, version=job.version, checksum=job.checksum
        ),
        total_rows=job.total_rows,
        completed_rows=job.completed_rows,
        failed_rows=job.failed_rows,
        images=job.images,
        total_shards=job.total_shards,
        completed_shards=job.completed_shards,
        failures_uri=job.failures,
    )
    if job.state == "failed":
        message.error.reason, message.error.message = job.reason, job.message
    message.create_time.FromNanoseconds(job.created)
    if job.started is not None:
        message.start_time.FromNanoseconds(job.started)
    if job.ended is not None:
        message.end_time.FromNanoseconds(job.ended)
    return message
