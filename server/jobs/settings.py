"""Where jobs may read and write, and how many there may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2i.errors import InvalidInput

__all__ = ["JobSettings"]


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How to run batch jobs.

    Args:
        folder: for the database of jobs; it is made if need be. One server uses it at a time.
        input_roots: folders below which inputs are looked for, in this order.
        output_root: folder below which jobs write.
        at_once: jobs that draw at the same time, 1 to 64.
        per_owner: jobs of one caller that have not ended, 1 to 10,000.
        max_rows: rows of one job, 1 or more.
        keep_days: after so many days a job that ended is forgotten; its files stay.

    Raises:
        InvalidInput: a value is out of range, a folder is not there, or the database would lie
            where jobs write.
    """

    folder: Path
    input_roots: tuple[Path, ...]
    output_root: Path
    at_once: int = 2
    per_owner: int = 8
    max_rows: int = 1_000_000
    keep_days: float = 30.0

    def __post_init__(self) -> None:
        if not self.input_roots:
            raise InvalidInput(
                "jobs-input-root", None, "is missing", "name a folder that jobs may read from"
            )
        for name, folder in (
            *(("jobs-input-root", root) for root in self.input_roots),
            ("jobs-output-root", self.output_root),
        ):
            if not folder.is_dir():
                raise InvalidInput(
                    name, str(folder), f"{folder} is no folder", "make it, or name another"
                )
        if self.folder.resolve().is_relative_to(self.output_root.resolve()):
            raise InvalidInput(
                "jobs",
                str(self.folder),
                f"{self.folder} is where jobs write",
                "name a folder outside of --jobs-output-root",
            )
        for name, value, low, high in (
            ("jobs-at-once", self.at_once, 1, 64),
            ("jobs-per-caller", self.per_owner, 1, 10_000),
            ("jobs-max-rows", self.max_rows, 1, 2**40),
            ("jobs-keep-days", self.keep_days, 0, 36_500),
        ):
            if not low <= value <= high:
                raise InvalidInput(name, value, f"{value} is out of range", f"give {low} to {high}")
