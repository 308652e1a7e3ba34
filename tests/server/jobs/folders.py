"""Folders of a server that runs jobs, and rows to put there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.jobs.settings import JobSettings


@dataclass(frozen=True)
class Places:
    """Folders of a server that runs jobs."""

    jobs: Path
    inputs: Path
    outputs: Path

    def settings(self, **others: int | float) -> JobSettings:
        return JobSettings(
            folder=self.jobs,
            input_roots=(self.inputs,),
            output_root=self.outputs,
            **others,  # type: ignore[arg-type]
        )

    def write(self, name: str, rows: Sequence[object]) -> Path:
        path = self.inputs / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


def birds(count: int) -> list[dict[str, object]]:
    """Rows of five captions, some of them with more than a picture, one in a hundred faulty."""
    colours = ("red", "blue", "brown", "yellow", "black")
    rows: list[dict[str, object]] = [
        {"id": f"bird-{n}", "text": f"a {colours[n % 5]} bird", "count": 1 + (n % 7 == 0)}
        for n in range(count)
    ]
    for n in range(3, count, 100):
        rows[n] = {"id": f"bird-{n}", "text": "", "count": 1}
    return rows


def tree(folder: Path) -> dict[str, bytes]:
    """The files of a job, all but the lock, which tells of a process."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
