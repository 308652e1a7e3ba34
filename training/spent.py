"""The processor time of a run before its first checkpoint, over all goes at it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from t2i.files import write_atomically

__all__ = ["Spent"]


class Spent:
    """What a run's earlier goes took, as far as what they learned was kept.

    Once there is a checkpoint, it tells; what was learned before that tells here. Time whose work
    was lost is lost as well.

    Args:
        out: Folder of the run.

    Attributes:
        before: Seconds of processor time that earlier processes took.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / "spent.json"
        kept = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self.before = float(kept.get("core_seconds", 0.0))

    def keep(self) -> None:
        """Note what was spent up to now, this process's own time included."""
        seconds = round(self.before + time.process_time(), 1)
        write_atomically(self._path, (json.dumps({"core_seconds": seconds}) + "\n").encode())
