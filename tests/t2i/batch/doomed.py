"""Runs a job again and again, kills it at random, and at last lets it come to its end.

    python -m tests.t2i.batch.doomed SOURCE OUT FORMAT [KILLS [MODULE ...]]

It prints how often the job was killed, at most KILLS times, and the status of the last process. The
modules are imported once, for all of the processes.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import threading
from typing import Any

from t2i.batch import Job, lease, run_job
from tests.t2i.batch.squares import Squares
from tests.t2i.batch.stores import register


class Doomed(Squares):
    def __init__(self, left: int, moment: float) -> None:
        super().__init__(seconds=0.003)
        self.left, self.moment = left, moment

    def draw(self, asks: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            end = threading.Timer(self.moment, os.kill, [os.getpid(), signal.SIGKILL])
            end.daemon = True
            end.start()
        return super().draw(asks)


def main(source: str, out: str, form: str, kills: str = "1000", *modules: str) -> None:
    register()
    for module in modules:
        importlib.import_module(module)
    lease._SETTLE_SECONDS = 0.0
    job = Job(source=source, input_format="jsonl", out=out, rows_per_shard=4, format=form)
    chance = random.Random(out.partition(":")[0] + form)
    killed = 0
    while True:
        left, moment = chance.randrange(2, 4), chance.uniform(0, 0.04)
        child = os.fork()
        if not child:
            model = Doomed(left if killed < int(kills) else 0, moment)
            run_job(job, lambda model=model: model)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        killed += 1
    print(killed, status)


if __name__ == "__main__":
    main(*sys.argv[1:])
