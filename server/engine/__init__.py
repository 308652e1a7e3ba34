"""The queue between requests and workers: waiting requests run together in batches.

A free worker takes whatever waits, up to a batch of pictures of one model, and never waits for
more: with one forward pass a request, waiting for company costs latency and wins no throughput.
Large requests are split. Callers share the workers evenly, interactive requests go before batch
jobs, and nothing is begun that would end too late.

* `cost.py`: what a batch will take, learned from those before it.
* `fairness.py`: a queue whose callers take turns.
* `scheduler.py`: who gets in, who goes next, who is too late. Pure policy, with the time as an
  argument; `python -m benchmarks.queueing` runs it on simulated time.
* `dispatch.py`: the engine itself, on the event loop.
"""

from server.engine.dispatch import QUEUE_BYTES, Counts, Engine
from server.engine.places import (
    DeadlineOutOfReach,
    DeadlinePassed,
    DeadlineTooShort,
    Priority,
    QueueFull,
)
from server.engine.tickets import BackendFailed, Part, Ticket

__all__ = [
    "QUEUE_BYTES",
    "BackendFailed",
    "Counts",
    "DeadlineOutOfReach",
    "DeadlinePassed",
    "DeadlineTooShort",
    "Engine",
    "Part",
    "Priority",
    "QueueFull",
    "Ticket",
]
