"""Which versions of models are in memory, within what bounds, and when one of them may leave.

A version that is taken out of service *drains*: its memory is given back when no request, batch or
job needs it any more.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.backends import Backend, Described, model_key
from server.calibration import examples
from server.copies import Copies
from server.engine import Engine
from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from t2i.pipeline import PipelineInfo

__all__ = ["LOOK_SECONDS", "ROOM_SECONDS", "Lease", "ModelMemory", "NoRoom", "Version"]

# How long a load waits for other models to come to rest.
ROOM_SECONDS = 30.0
# The engine tells nobody that a model has come to rest, so that requests cost nothing for it.
LOOK_SECONDS = 0.05
_MIB = 1024 * 1024


class NoRoom(Exception):
    """Models at work leave no memory for another one."""

    def __init__(self) -> None:
        super().__init__("models at work leave no memory for it")


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is in memory, or may be.

    Attributes:
        described: what it is, and its sizes.
        path: what the backend is told to load.
        copy: the server's own copy of the bundle, or None.
    """

    described: Described
    path: str
    copy: Path | None = None

    @property
    def info(self) -> PipelineInfo:
        """What it is."""
        return self.described.info

    @property
    def key(self) -> str:
        """What backend and engine call it."""
        return model_key(self.info)


class Lease:
    """Keeps one version in memory until it is released."""

    def __init__(self, info: PipelineInfo, leases: Counter[str]) -> None:
        self.info = info
        self._leases, self._key, self._held = leases, model_key(info), True
        leases[self._key] += 1

    def release(self) -> None:
        """Let go of it; on the event loop. Twice is allowed."""
        if self._held:
            self._held = False
            self._leases[self._key] -= 1
            # Forgets those that have come to nothing.
            self._leases += Counter()


class ModelMemory:
    """The versions that are in memory. Used on the event loop, by one change at a time.

    Args:
        backend: loads and unloads them.
        engine: draws with them, and knows what is on its way.
        budget: bytes that the weights of all together may take; None for any.
        copies: where to keep copies of bundles; None reads them where they are.

    Attributes:
        loaded: how many were brought into memory so far.
        unloaded: how many have left it.
    """

    def __init__(
        self, backend: Backend, engine: Engine, budget: int | None, copies: Copies | None
    ) -> None:
        self._backend, self._engine = backend, engine
        self.budget, self._copies = budget, copies
        self._held: dict[str, Version] = {}
        self._draining: dict[str, Version] = {}
        self._leases: Counter[str] = Counter()
        self.loaded = self.unloaded = 0

    @property
    def bytes(self) -> int:
        """What the weights of all versions take."""
        return self.footprint(list(self._held.values()))

    @property
    def draining(self) -> list[PipelineInfo]:
        """The versions that are out of service and still needed."""
        return [version.info for version in self._draining.values()]

    def lease(self, info: PipelineInfo) -> Lease:
        """Return a hold on a version that is in memory."""
        return Lease(info, self._leases)

    def needed_by(self, info: PipelineInfo) -> int:
        """Return how many requests, batches and leases need a version."""
        key = model_key(info)
        return self._leases[key] + self._engine.in_flight(key)

    def footprint(self, versions: Iterable[Version]) -> int:
        """Return what the weights of versions take together; a shared text model counts once."""
        all_described = [version.described for version in versions]
        encoders = {described.encoder: described.encoder_bytes for described in all_described}
        each = sum(described.weight_bytes for described in all_described) + sum(encoders.values())
        return self._backend.copies * each

    def has_room_for(self, version: Version) -> bool:
        """Tell whether a version fits beside all that is there."""
        return self._fits([*self._held.values(), version])

    async def check(self, source: str, *, name: str | None = None) -> Version:
        """Return the version that a name or folder of a bundle holds, every file of it checked.

        Raises:
            T2IError: the bundle cannot be used, is of another name than `name`, or alone exceeds
                the budget.
            WorkerLost: there was nobody to look at it.
        """
        path = await asyncio.to_thread(_followed, source)
        version = Version(await self._backend.inspect(path), path)
        if name is not None and version.info.name != name:
            raise InvalidInput(
                "path",
                source,
                f"the bundle there is named {version.info.name}",
                f"give a version of {name}, or load it as a model of its own",
            )
        if not self._fits([version]):
            raise self._too_large([version], f"{source} alone takes", "")
        return version

    async def load_all(self, sources: Iterable[str]) -> list[Version]:
        """Load bundles together, whatever they take, and return them in order; at the start.

        Raises:
            T2IError: a bundle cannot be used.
        """
        paths = await asyncio.to_thread(lambda: list(map(_followed, sources)))
        loaded = await self._backend.load(paths)
        self._engine.start()
        versions = [Version(each, path) for each, path in zip(loaded, paths, strict=True)]
        for version in versions:
            await self._calibrate(version.info)
            self._held[version.key] = version
        self.loaded += len(versions)
        return versions

    async def bring_in(
        self, version: Version, *, beside: Version | None, evict: Callable[[], bool]
    ) -> Version:
        """Have a version in memory that was checked; return it as it is there.

        Args:
            version: what `check` returned.
            beside: the version in whose place it will be put, and which stays until then.
            evict: takes the version that was used least recently, and that nothing needs, out of
                service; tells whether there was one.

        Raises:
            T2IError: it does not fit beside `beside`, changed since it was checked, or cannot be
                copied.
            NoRoom: models at work leave no memory for it.
            Exception: why it cannot be loaded.
        """
        known = self._draining.pop(version.key, None)
        if known is not None:
            # Still in memory, and in use: it need not be loaded to be in service again.
            return self.move(known, version.path)
        if self._copies is not None:
            copy = await asyncio.to_thread(self._copies.take, version.path)
            version = replace(version, path=str(copy), copy=copy)
        try:
            await self._make_room(version, beside, evict)
            (described,) = await self._backend.load([version.path])
            loaded = replace(version, described=described)
            try:
                if loaded.key != version.key:
                    raise InvalidInput(
                        "path", version.path, "it changed while it was loaded", "try again"
                    )
                await self._calibrate(loaded.info)
            except BaseException:
                if loaded.key not in self._held:
                    await self._backend.unload(loaded.key)
                raise
        except BaseException:
            self._drop_copy(version.copy)
            raise
        self._held[loaded.key] = loaded
        self.loaded += 1
        return loaded

    def move(self, version: Version, path: str) -> Version:
        """Return a version in memory as one that is to be found in another folder from now on."""
        if version.copy is not None or version.path == path:
            return version
        self._backend.moved(version.key, path)
        moved = self._held[version.key] = replace(version, path=path)
        return moved

    def retire(self, version: Version) -> None:
        """Take a version out of service; `sweep` unloads it when nothing needs it."""
        self._draining[version.key] = version

    async def sweep(self) -> bool:
        """Unload what drains and is needed no more; tell whether something still drains."""
        for key, version in list(self._draining.items()):
            if not self.needed_by(version.info):
                del self._draining[key]
                del self._held[key]
                self._engine.forget(key)
                await self._backend.unload(key)
                self._drop_copy(version.copy)
                self.unloaded += 1
        return bool(self._draining)

    def close(self) -> None:
        """Delete the copies."""
        for version in self._held.values():
            self._drop_copy(version.copy)
        if self._copies is not None:
            self._copies.close()

    async def _make_room(
        self, version: Version, beside: Version | None, evict: Callable[[], bool]
    ) -> None:
        staying = [version] if beside is None else [beside, version]
        if not self._fits(staying):
            name = version.info.name
            raise self._too_large(
                staying, f"{name} with the version that it replaces takes", ", or unload it before"
            )
        loop = asyncio.get_running_loop()
        until = loop.time() + ROOM_SECONDS
        await self.sweep()
        while not self.has_room_for(version):
            if not evict():
                if loop.time() > until:
                    raise NoRoom
                await asyncio.sleep(LOOK_SECONDS)
            await self.sweep()

    async def _calibrate(self, info: PipelineInfo) -> None:
        for item in examples(info):
            await self._engine.calibrate(model_key(info), item)

    def _fits(self, versions: Iterable[Version]) -> bool:
        return self.budget is None or self.footprint(versions) <= self.budget

    def _too_large(self, versions: Iterable[Version], what: str, remedy: str) -> InvalidInput:
        assert self.budget is not None
        needed = self.footprint(versions) / _MIB
        return InvalidInput(
            "memory-budget",
            self.budget,
            f"{what} {needed:.1f} MiB, of {self.budget / _MIB:.1f} MiB",
            f"give {math.ceil(needed)} or more{remedy}",
        )

    def _drop_copy(self, copy: Path | None) -> None:
        if copy is not None and self._copies is not None:
            self._copies.drop(copy)


def _followed(source: str) -> str:
    """Return a name as it is, and the path of a folder with its links followed.

    Wherever the links lead by then, what is loaded is the folder that was checked.
    """
    return str(Path(source).resolve()) if Path(source).is_dir() else source
