"""What can stop a batch job."""

from __future__ import annotations

from t2i.errors import T2IError

__all__ = ["BatchError", "FolderBusy", "JobChanged", "JobStopped"]


class BatchError(T2IError):
    """A batch job cannot start or go on."""


class FolderBusy(BatchError):
    """Another run is at work in the folder."""


class JobChanged(BatchError):
    """The folder holds pictures of another input, another model or other options."""


class JobStopped(BatchError):
    """A shard was given up because the job is being stopped."""
