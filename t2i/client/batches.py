"""Batch jobs of a service: `Client.batches`, and `AsyncClient.batches` for event loops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import grpc

from t2i.batch.formats import InputFormat, ShardFormat
from t2i.client.connection import Connection
from t2i.client.errors import ServiceError, from_call
from t2i.client.jobs import (
    BatchJob,
    BatchJobState,
    WatchState,
    create_request,
    id_of,
    job_from_message,
    list_request,
)
from t2i.client.settings import Settings
from t2i.protocol.v1 import batch_service_pb2, batch_service_pb2_grpc

__all__ = ["AsyncBatches", "Batches"]

PATIENCE_S = 300.0


class Batches:
    """Batch jobs that the service runs: from a file there to pictures there.

    Paths are relative to folders that the service's operator has named. A caller sees its own jobs
    only.

        >>> job = client.batches.create("captions.jsonl", "birds", seed=7)
        >>> for job in client.batches.watch(job):
        ...     print(job.state, job.completed_rows, "of", job.total_rows)

    Args:
        connection: where the service is.
        stub: its batch service.
        ask: asks once and again, as the client does.
    """

    def __init__(
        self,
        connection: Connection,
        stub: batch_service_pb2_grpc.BatchServiceStub,
        ask: Callable[..., Any],
    ) -> None:
        self._connection, self._stub, self._ask = connection, stub, ask

    def create(
        self,
        input: str,
        output: str,
        *,
        model: str | None = None,
        rows_per_shard: int | None = None,
        count: int | None = None,
        seed: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        format: ShardFormat | None = None,
        input_format: InputFormat | None = None,
        best_of: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> BatchJob:
        """Start a job and return at once.

        Args:
            input: path of the file of rows.
            output: folder of the job: new, or of an earlier job that is to be gone on with.
            model: name of the model; by default the service's default.
            rows_per_shard: 1 to 100,000; by default 1,000.
            count: pictures of a row that does not tell, 1 to 16; by default 1.
            seed: what rows without a seed have theirs from; by default the service chooses.
            truncation: of a row that does not tell, as in `generate_images`.
            conditioning_truncation: the same.
            format: what a shard becomes: `"webdataset"` (a tar file, the default), `"folder"` or
                `"parquet"`.
            input_format: how the rows are written: `"jsonl"`, `"csv"`, `"parquet"` or `"text"`; by
                default as the suffix of the input says.
            best_of: candidates for each picture of a row that does not tell, 1 to 16, of which the
                best is kept; by default 1.
            request_id: a UUID of version 4, which becomes the job's id: asking again with it
                returns the same job. By default a new one.
            timeout: seconds for the request; by default the client's.

        Raises:
            InvalidInput: a value that no request can carry.
            InvalidArgumentError: a value that the service cannot use; it names each.
            ResourceExhaustedError: too many jobs of the caller have not ended.
            UnimplementedError: the service runs no jobs.
            ServiceError: what else the service answers.
        """
        request = create_request(
            input,
            output,
            model=model,
            rows_per_shard=rows_per_shard,
            count=count,
            seed=seed,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            format=format,
            input_format=input_format,
            best_of=best_of,
            request_id=request_id,
        )
        answer: batch_service_pb2.CreateBatchJobResponse = self._ask(
            self._stub.CreateBatchJob, request, timeout, request.request_id
        )
        return job_from_message(answer.job)

    def get(self, job: BatchJob | str, *, timeout: float | None = None) -> BatchJob:
        """Return a job as it is now.

        Args:
            job: a job or its id.
            timeout: seconds for the request; by default the client's.

        Raises:
            NotFoundError: the caller has no such job.
            ServiceError: what else the service answers.
        """
        answer: batch_service_pb2.GetBatchJobResponse = self._ask(
            self._stub.GetBatchJob, batch_service_pb2.GetBatchJobRequest(id=id_of(job)), timeout
        )
        return job_from_message(answer.job)

    def list(
        self, *, state: BatchJobState | None = None, timeout: float | None = None
    ) -> Generator[BatchJob]:
        """Yield the caller's jobs, the newest first; they are asked for in pages as need be.

        Args:
            state: only jobs in this state; None for all.
            timeout: seconds for each page; by default the client's.

        Raises:
            InvalidInput: there is no such state.
            ServiceError: what the service answers.
        """
        request = list_request(state)
        while True:
            answer: batch_service_pb2.ListBatchJobsResponse = self._ask(
                self._stub.ListBatchJobs, request, timeout
            )
            yield from map(job_from_message, answer.jobs)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def cancel(self, job: BatchJob | str, *, timeout: float | None = None) -> BatchJob:
        """Ask a job to stop; what is finished is kept. A job that has ended stays as it is.

        Returns:
            The job, which may still run for a moment.

        Raises:
            NotFoundError: the caller has no such job.
            ServiceError: what else the service answers.
        """
        answer: batch_service_pb2.CancelBatchJobResponse = self._ask(
            self._stub.CancelBatchJob,
            batch_service_pb2.CancelBatchJobRequest(id=id_of(job)),
            timeout,
        )
        return job_from_message(answer.job)

    def watch(self, job: BatchJob | str, *, patience: float = PATIENCE_S) -> Generator[BatchJob]:
        """Yield a job as it is now, then at every change, and last when it has ended.

        A service that is started again meanwhile is watched again: the job goes on there, and its
        end is not missed.

        Args:
            job: a job or its id.
            patience: seconds without the service after which its error is raised.

        Raises:
            InvalidInput: the patience is no time.
            NotFoundError: the caller has no such job.
            ServiceError: what else the service answers.
        """
        request = batch_service_pb2.WatchBatchJobRequest(id=id_of(job))
        state = WatchState(_checked(patience))
        while True:
            call = self._stub.WatchBatchJob(
                request, timeout=state.timeout, metadata=self._connection.metadata
            )
            try:
                for message in call:
                    changed = state.receive(message)
                    if changed is not None:
                        yield changed
                state.check_ended()
                return
            except grpc.RpcError as failure:
                error = _error(failure, self._connection)
            finally:
                call.cancel()
            time.sleep(state.wait_after(error))


class AsyncBatches:
    """The same for event loops: `await client.batches.create(...)`.

        >>> job = await client.batches.create("captions.jsonl", "birds", seed=7)
        >>> async for job in client.batches.watch(job):
        ...     print(job.state, job.completed_rows, "of", job.total_rows)

    Args:
        connection: where the service is.
        stub: returns its batch service.
        ask: asks once and again, as the client does.
    """

    def __init__(
        self,
        connection: Connection,
        stub: Callable[[], batch_service_pb2_grpc.BatchServiceAsyncStub],
        ask: Callable[..., Awaitable[Any]],
    ) -> None:
        self._connection, self._stub, self._ask = connection, stub, ask

    async def create(
        self,
        input: str,
        output: str,
        *,
        model: str | None = None,
        rows_per_shard: int | None = None,
        count: int | None = None,
        seed: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        format: ShardFormat | None = None,
        input_format: InputFormat | None = None,
        best_of: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> BatchJob:
        """Start a job and return at once; see `Batches.create`.

        Raises:
            InvalidInput: a value that no request can carry.
            ServiceError: what the service answers.
        """
        request = create_request(
            input,
            output,
            model=model,
            rows_per_shard=rows_per_shard,
            count=count,
            seed=seed,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            format=format,
            input_format=input_format,
            best_of=best_of,
            request_id=request_id,
        )
        answer: batch_service_pb2.CreateBatchJobResponse = await self._ask(
            self._stub().CreateBatchJob, request, timeout, request.request_id
        )
        return job_from_message(answer.job)

    async def get(self, job: BatchJob | str, *, timeout: float | None = None) -> BatchJob:
        """Return a job as it is now; see `Batches.get`.

        Raises:
            NotFoundError: the caller has no such job.
            ServiceError: what else the service answers.
        """
        answer: batch_service_pb2.GetBatchJobResponse = await self._ask(
            self._stub().GetBatchJob, batch_service_pb2.GetBatchJobRequest(id=id_of(job)), timeout
        )
        return job_from_message(answer.job)

    async def list(
        self, *, state: BatchJobState | None = None, timeout: float | None = None
    ) -> AsyncGenerator[BatchJob]:
        """Yield the caller's jobs, the newest first; see `Batches.list`.

        Raises:
            InvalidInput: there is no such state.
            ServiceError: what the service answers.
        """
        request = list_request(state)
        while True:
            answer: batch_service_pb2.ListBatchJobsResponse = await self._ask(
                self._stub().ListBatchJobs, request, timeout
            )
            for job in answer.jobs:
                yield job_from_message(job)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def cancel(self, job: BatchJob | str, *, timeout: float | None = None) -> BatchJob:
        """Ask a job to stop; see `Batches.cancel`.

        Raises:
            NotFoundError: the caller has no such job.
            ServiceError: what else the service answers.
        """
        answer: batch_service_pb2.CancelBatchJobResponse = await self._ask(
            self._stub().CancelBatchJob,
            batch_service_pb2.CancelBatchJobRequest(id=id_of(job)),
            timeout,
        )
        return job_from_message(answer.job)

    async def watch(
        self, job: BatchJob | str, *, patience: float = PATIENCE_S
    ) -> AsyncGenerator[BatchJob]:
        """Yield a job as it is now, then at every change, and last its end; see `Batches.watch`.

        Raises:
            InvalidInput: the patience is no time.
            ServiceError: what the service answers.
        """
        request = batch_service_pb2.WatchBatchJobRequest(id=id_of(job))
        state = WatchState(_checked(patience))
        while True:
            call = self._stub().WatchBatchJob(
                request, timeout=state.timeout, metadata=self._connection.metadata
            )
            try:
                async for message in call:
                    changed = state.receive(message)
                    if changed is not None:
                        yield changed
                state.check_ended()
                return
            except grpc.RpcError as failure:
                error = _error(failure, self._connection)
            finally:
                call.cancel()
            await asyncio.sleep(state.wait_after(error))


def _checked(patience: float) -> float:
    return Settings(timeout=patience, max_retries=0).timeout


def _error(failure: grpc.RpcError, connection: Connection) -> ServiceError:
    return from_call(failure, address=connection.address, request_id=None)
