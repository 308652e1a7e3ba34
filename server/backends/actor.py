"""What a worker does that Ray started somewhere. Here nothing of Ray is needed.

Whatever goes over the network is pickled here and in the server, not by Ray: what comes back is
then the receiver's own memory, and an error is the exception that it was.
"""

from __future__ import annotations

import pickle
import threading

from server.backends.worker import Bench, Inspect, Job, Load, Order, answer
from t2i.parcels import Parcel, unpacked

__all__ = ["DRAW", "LIVE", "ORDER", "Actor"]

# Threads of an actor, by what they do.
DRAW, ORDER, LIVE = "draw", "order", "live"


class Actor:
    """A worker's process.

    Args:
        device: torch device; None lets the pipelines choose.
        cores: how many cores it may keep busy.
    """

    def __init__(self, device: str | None, cores: int) -> None:
        self._bench = Bench(device, cores)
        self._cores = cores
        self._drew = False

    def ready(self) -> bytes:
        """Return a pickled `Ready`."""
        return pickle.dumps(self._bench.ready)

    def obey(self, order: bytes, parcel: Parcel | None) -> bytes:
        """Do what is to be done about a model and return the pickled answer.

        Args:
            order: an `Order`, pickled; its model's folder is where the server is.
            parcel: the files of that folder, for orders that need them.
        """
        return pickle.dumps(answer(self._obey, pickle.loads(order), parcel))

    def _obey(self, order: Order, parcel: Parcel | None) -> object:
        if parcel is None:
            return self._bench.obey(order)
        assert isinstance(order, Inspect | Load)
        with unpacked(parcel) as folder:
            return self._bench.obey(type(order)(folder))

    def draw(self, job: bytes) -> bytes:
        """Draw a pickled `Job` and return its `Batch`, or what went wrong, pickled."""
        return pickle.dumps(answer(self._draw, pickle.loads(job)), pickle.HIGHEST_PROTOCOL)

    def _draw(self, job: Job) -> object:
        if not self._drew:
            import torch

            # A setting of the thread, and this one was born before the others' was made.
            torch.set_num_threads(self._cores)
            self._drew = True
        return self._bench.draw(job)

    def live(self) -> None:
        """Never return: whoever waits for it is told when the process ends."""
        threading.Event().wait()
