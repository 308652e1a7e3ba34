"""Batch jobs: a file of captions in, shards of pictures out.

```
records ─ shards ─ rows ─ asks ─ draw ─ pictures ─ files ─ manifest
```

`records.py` streams the rows of a file, and `plan.py` cuts them into shards of a fixed number.
`shard.py` turns one shard into files by a *draw* callable, and knows nothing of who calls it;
`drawers.py` has the callables that draw in this process and on a service; `ray_drawer.py` hands
whole shards to the processes of a Ray instead (`ray_worker.py`). `folder.py` keeps what is done,
and `job.py` goes through a whole file. A job that a service draws needs neither torch nor numpy
here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from t2i.batch.drawers import Drawer, PipelineDrawer, ServiceDrawer, ShardDrawer
    from t2i.batch.errors import BatchError, FolderBusy, JobChanged
    from t2i.batch.job import Job, Progress, Summary, run_job
    from t2i.batch.plan import Plan, Shard
    from t2i.batch.ray_drawer import RayDrawer
    from t2i.batch.shard import Ask, ShardReport, ShardTask, draw_shard

# Imported where they are first used: the command asks for limits only before it has work to do.
_HOMES = {
    "Ask": "t2i.batch.shard",
    "BatchError": "t2i.batch.errors",
    "Drawer": "t2i.batch.drawers",
    "FolderBusy": "t2i.batch.errors",
    "Job": "t2i.batch.job",
    "JobChanged": "t2i.batch.errors",
    "PipelineDrawer": "t2i.batch.drawers",
    "Plan": "t2i.batch.plan",
    "Progress": "t2i.batch.job",
    "RayDrawer": "t2i.batch.ray_drawer",
    "ServiceDrawer": "t2i.batch.drawers",
    "Shard": "t2i.batch.plan",
    "ShardDrawer": "t2i.batch.drawers",
    "ShardReport": "t2i.batch.shard",
    "ShardTask": "t2i.batch.shard",
    "Summary": "t2i.batch.job",
    "draw_shard": "t2i.batch.shard",
    "run_job": "t2i.batch.job",
}

__all__ = [
    "Ask",
    "BatchError",
    "Drawer",
    "FolderBusy",
    "Job",
    "JobChanged",
    "PipelineDrawer",
    "Plan",
    "Progress",
    "RayDrawer",
    "ServiceDrawer",
    "Shard",
    "ShardDrawer",
    "ShardReport",
    "ShardTask",
    "Summary",
    "draw_shard",
    "run_job",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value: object = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
