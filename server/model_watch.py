"""Finds other versions of models by itself, by the dates of files, and has them swapped.

A look reads no weights. Only what changed, is whole and has stopped changing is checked and loaded,
and that once: what fails is left alone until it changes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from server.backends import WorkerLost
from server.model_memory import NoRoom
from server.model_slot import Pauses
from server.model_store import ModelStore
from t2i.bundle import local_bundle
from t2i.errors import BundleError
from t2i.manifest import MANIFEST, read_manifest

__all__ = ["ModelWatch", "Sight", "look"]

_log = logging.getLogger("t2i.server")

# Of a file: device, inode, size, and the times of its contents and of its entry in nanoseconds.
_Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a bundle's folder looks like from outside. Equal sights: nothing has changed.

    Attributes:
        stamps: of each file by its name, the manifest first; None for one that is missing.
        checksum: of the bundle, as its manifest tells it; empty without a manifest.
        problem: why it is no whole bundle; empty if it is one.
    """

    stamps: dict[str, _Stamp | None]
    checksum: str
    problem: str


def look(source: str, before: Sight | None = None) -> Sight:
    """Look at a bundle without reading its weights.

    Args:
        source: its name or folder; links are followed. What is on a hub is not looked at.
        before: what was seen there the last time. If no file has changed since, nothing is read.
    """
    try:
        folder = local_bundle(source)
    except OSError as error:
        return Sight({}, "", f"bundle {source}: {error.strerror}")
    if folder is None:
        return Sight({}, "", f"bundle {source}: there is no such folder")
    if before is not None and before.checksum and _stamps(folder, before.stamps) == before.stamps:
        return before
    # Before it is read: what changes meanwhile is then seen at the next look.
    first = _stamps(folder, (MANIFEST,))
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        return Sight(first, "", str(error))
    stamps = first | _stamps(folder, manifest.names)
    for name, size, _ in manifest.entries:
        stamp = stamps[name]
        if stamp is None:
            return Sight(stamps, manifest.checksum, f"bundle {folder}: {name} is missing")
        if stamp[2] != size:
            problem = f"bundle {folder}: {name} has {stamp[2]} bytes instead of {size}"
            return Sight(stamps, manifest.checksum, problem)
    return Sight(stamps, manifest.checksum, "")


def _stamps(folder: Path, names: Iterable[str]) -> dict[str, _Stamp | None]:
    return {name: _stamp(folder / name) for name in names}


def _stamp(file: Path) -> _Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(slots=True)
class _Watched:
    """What is known of the bundle of one model.

    Attributes:
        source: where it is.
        seen: what the last look saw.
        settled: the sight that nothing more is to be done about.
        told: whether the log knows that there is no whole bundle now.
        pauses: when what failed for a reason that passes is tried once more.
    """

    source: str
    seen: Sight | None = None
    settled: Sight | None = None
    told: bool = False
    pauses: Pauses = field(default_factory=Pauses)


class ModelWatch:
    """Looks for other versions of a store's models while a server runs. On the event loop.

    Args:
        store: the models, which are open.
        seconds: from one look to the next. A version is swapped at the second look that sees the
            same whole bundle, so that one that is being copied is left alone.
    """

    def __init__(self, store: ModelStore, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self._watched: dict[str, _Watched] = {}
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start looking."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Begin nothing any more; a swap that is on its way is for the store to end."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._look_at_all()
            except Exception:
                # Whatever it is, it must not be the last look.
                _log.exception("looking for other versions of the models failed")

    async def _look_at_all(self) -> None:
        sources = self._store.sources
        for name in self._watched.keys() - sources.keys():
            del self._watched[name]
        for name, (source, _) in sources.items():
            if name not in self._watched or self._watched[name].source != source:
                self._watched[name] = _Watched(source)
        known = {name: self._watched[name].seen for name in sources}
        # Folders may be far away, and slow to answer.
        sights = await asyncio.to_thread(
            lambda: {name: look(source, known[name]) for name, (source, _) in sources.items()}
        )
        for name, (_, checksum) in sources.items():
            await self._consider(name, sights[name], checksum)

    async def _consider(self, name: str, sight: Sight, checksum: str) -> None:
        """Do what is to be done about a model whose bundle looks like this now."""
        watched = self._watched[name]
        still = sight == watched.seen
        as_loaded = sight.checksum == checksum and not sight.problem
        if watched.seen is None and (as_loaded or not sight.stamps):
            # Nothing is there if the bundle came from a hub.
            watched.settled = sight
        watched.seen = sight
        if not still:
            watched.pauses.forget()
        if not sight.problem:
            watched.told = False
        if sight == watched.settled or not still:
            return
        if sight.problem:
            if not watched.told:
                _log.info("%s waits for a whole bundle: %s", name, sight.problem)
            watched.told = True
            return
        if watched.pauses.left > 0:
            return
        error = await self._store.renew(name)
        if isinstance(error, NoRoom | WorkerLost):
            watched.pauses.failed()
        else:
            watched.settled = sight
            watched.pauses.forget()
