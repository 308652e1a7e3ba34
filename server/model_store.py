"""The models that requests can name: loading when asked, swapping versions without a pause.

A model has a *source*, the name or folder of its bundle, and at any time one *version*, told by the
checksum of its files. Requests are given the version that is there when they come and keep it to
their end. One change is made after another; requests for models that are in memory wait for none.
What is in memory, and what may leave it, is kept by `server.model_memory`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from server.backends import Backend, WorkerLost
from server.background import Background
from server.copies import Copies
from server.engine import Engine
from server.model_memory import LOOK_SECONDS, ROOM_SECONDS, Lease, ModelMemory, NoRoom, Version
from server.model_slot import Slot
from server.model_status import Changes, ModelState, Status, Swapped
from server.models import Models
from server.refusals import model_unavailable, no_memory
from t2i.errors import InvalidInput, T2IError

if TYPE_CHECKING:
    from t2i.pipeline import PipelineInfo

__all__ = ["ModelStore"]

_log = logging.getLogger("t2i.server")

# When a request that found no room for its model may come again.
_AGAIN_SECONDS = 1.0


class ModelStore:
    """The models of a server. Used on the event loop only.

    Args:
        backend: loads them.
        engine: draws with them.
        sources: names or folders of bundles; the first is the default model.
        lazy: load each at its first request, not at the start.
        memory_budget: bytes that the weights of loaded models may take; None for any.
        copies: where to keep copies of the bundles; None reads them where they are.
        able: told of a model by name, and whether requests for it can be answered.
    """

    def __init__(
        self,
        backend: Backend,
        engine: Engine,
        sources: Sequence[str],
        *,
        lazy: bool = False,
        memory_budget: int | None = None,
        copies: Copies | None = None,
        able: Callable[[str, bool], None] = lambda name, able: None,
    ) -> None:
        self._memory = ModelMemory(backend, engine, memory_budget, copies)
        self._engine, self._copies_of_each = engine, backend.copies
        self._sources, self._able = tuple(sources), able
        self._lazy = lazy
        # Looked at before they are loaded only where sizes matter: it takes time at the start.
        self._at_once = not lazy and memory_budget is None and copies is None
        self._slots: dict[str, Slot] = {}
        self._models: Models | None = None
        self._changing = asyncio.Lock()
        self._background = Background()
        self._sweeper: asyncio.Task[None] | None = None
        self._swapped = self._failed = 0

    @property
    def models(self) -> Models | None:
        """What can be asked for; None until `open` is done."""
        return self._models

    @property
    def budget(self) -> int | None:
        """Bytes that the weights of loaded models may take; None for any."""
        return self._memory.budget

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded, unloaded or swapped."""
        return self._changing.locked()

    @property
    def memory_bytes(self) -> int:
        """What the weights of the loaded models take."""
        return self._memory.bytes

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Where the bundle of each model is, and the checksum of the present version, by name."""
        models = self._models
        if models is None:
            return {}
        return {n: (slot.source, models.find(n).checksum) for n, slot in self._slots.items()}

    @property
    def states(self) -> dict[str, ModelState]:
        """What a request for each model meets, by name; for any thread."""
        return {slot.name: slot.state for slot in list(self._slots.values())}

    @property
    def loaded(self) -> dict[str, bool]:
        """Whether each model is in memory, by name."""
        return {slot.name: slot.version is not None for slot in list(self._slots.values())}

    @property
    def changes(self) -> Changes:
        """What became of models so far."""
        memory = self._memory
        return Changes(memory.loaded, memory.unloaded, self._swapped, self._failed)

    async def open(self) -> Models:
        """Make the models ready to be asked for: loaded, or checked where they are loaded later.

        Raises:
            T2IError: a bundle cannot be used, two have one name, or one alone exceeds the budget.
        """
        async with self._changing:
            self._models = await (self._open_all() if self._at_once else self._open_as_fits())
        return self._models

    async def ready(self, name: str) -> Models:
        """Return the models once the one of this name is in memory, loading it if it is not.

        Until the caller awaits something else, the version that it finds there stays.

        Args:
            name: of a model, empty for the default. One that is unknown is left to `Models.find`.

        Raises:
            Refusal: it cannot be loaded at present.
        """
        assert self._models is not None
        slot = self._slots.get(name or self._default)
        if slot is not None:
            slot.touch()
            if slot.version is None:
                await self._wait_for(slot)
        return self._models

    async def lease(self, name: str) -> Lease:
        """Return a hold on the present version of a model, which keeps it in memory.

        Raises:
            Refusal: there is no such model, or it cannot be loaded at present.
        """
        return self._memory.lease((await self.ready(name)).find(name))

    async def load(self, name: str) -> Status:
        """Load a model now if it is not in memory.

        Raises:
            Refusal: there is no such model, or models at work leave no memory for it.
            Exception: why it cannot be loaded.
        """
        slot = self._slot(name)
        if slot.version is None:
            slot.pauses.over()
            error = await asyncio.shield(self._loading(slot))
            if isinstance(error, NoRoom):
                raise no_memory(slot.name, ROOM_SECONDS)
            if error is not None:
                raise error
        return self._status(slot)

    async def add(self, source: str) -> Status:
        """Serve one more model, and load it.

        Raises:
            T2IError: its bundle cannot be used, or there is a model of its name.
            Exception: why it cannot be loaded.
        """
        return await self._background.finish(self._add(source))

    async def unload(self, name: str, *, forget: bool = False) -> Status:
        """Take a model out of memory, as soon as nothing needs it any more.

        Args:
            name: of the model.
            forget: do not serve it any more. Without this the next request loads it again.

        Raises:
            Refusal: there is no such model.
            InvalidInput: the default model is to be forgotten.
        """
        return await self._background.finish(self._unload(name, forget))

    async def swap(self, name: str, source: str | None = None) -> Swapped:
        """Put another version in the place of a model's present one, without a pause.

        The new one is checked, loaded beside the old one, warmed up and measured. Then it is what
        requests that come are given; those that are there end with the old one. A model that is not
        in memory is checked only. Whatever goes wrong, the old version stays.

        Args:
            name: of the model, empty for the default.
            source: name or folder of the new bundle; None for the source that the model has, where
                another bundle may be by now.

        Raises:
            Refusal: there is no such model.
            T2IError: the new bundle cannot be used, is of another name, or does not fit the budget
                beside the old one.
            Exception: why it cannot be loaded.
        """
        return await self._background.finish(self._swap(self._slot(name), source))

    async def refresh(self) -> None:
        """Swap every model whose source holds another version by now; see `renew`."""
        for name in list(self._slots):
            await self.renew(name)

    async def renew(self, name: str) -> Exception | None:
        """Swap a model if its source holds another version by now.

        Nobody waits for the outcome, so what goes wrong is logged and counted.

        Returns:
            Why it stays as it was; None when all is well, or there is no such model any more.
        """
        slot = self._slots.get(name)
        if slot is None:
            return None
        try:
            await self._background.finish(self._swap(slot, None))
        except Exception as error:
            if self._slots.get(name) is not slot:
                return None
            self._failed += 1
            _log_failure(f"{name} stays as it was", error)
            return error
        return None

    def statuses(self) -> list[Status]:
        """Return all models, the default first."""
        models = self._models
        infos = [] if models is None else models.list()
        return [self._status(self._slots[info.name]) for info in infos]

    async def close(self) -> None:
        """Give up what is being changed, and delete the copies."""
        await self._background.close()
        self._memory.close()

    async def _open_all(self) -> Models:
        versions = await self._memory.load_all(self._sources)
        models = Models([version.info for version in versions])
        for source, version in zip(self._sources, versions, strict=True):
            name = version.info.name
            self._slots[name] = Slot(name, source, version.described, version)
        return models

    async def _open_as_fits(self) -> Models:
        found = [await self._memory.check(source) for source in self._sources]
        models = Models([version.info for version in found])
        self._engine.start()
        for source, version in zip(self._sources, found, strict=True):
            name = version.info.name
            slot = self._slots[name] = Slot(name, source, version.described)
            if not self._lazy and self._memory.has_room_for(version):
                models.replace(await self._bring_in(slot, version))
        return models

    async def _add(self, source: str) -> Status:
        models = self._models
        assert models is not None
        async with self._changing:
            version = await self._memory.check(source)
            slot = Slot(version.info.name, source, version.described)
            if slot.name in models:
                raise InvalidInput(
                    "path", source, f"there is a model {slot.name} already", "swap that one"
                )
            models.add(await self._bring_in(slot, version))
            self._slots[slot.name] = slot
        self._able(slot.name, True)
        _log.info("%s is served as well, from %s", _named(version.info), source)
        return self._status(slot)

    async def _unload(self, name: str, forget: bool) -> Status:
        models = self._models
        assert models is not None
        async with self._changing:
            slot = self._slot(name)
            if forget and slot.name == self._default:
                raise InvalidInput(
                    "forget", True, f"{slot.name} is the default model", "swap it for another"
                )
            status = self._status(slot)
            self._retire(slot)
            if forget:
                models.remove(slot.name)
                del self._slots[slot.name]
                self._able(slot.name, False)
            await self._memory.sweep()
        _log.info("%s is unloaded%s", _named(status.info), " and forgotten" if forget else "")
        return status if forget else self._status(slot)

    async def _swap(self, slot: Slot, source: str | None) -> Swapped:
        models = self._models
        assert models is not None
        async with self._changing:
            before = models.find(slot.name)
            source = source or slot.source
            version = await self._memory.check(source, name=slot.name)
            if slot.version is None:
                after = before if version.info.checksum == before.checksum else version.info
            elif version.key == slot.version.key:
                # The folder that it was loaded from may be gone soon.
                slot.version = self._memory.move(slot.version, version.path)
                after = before
            else:
                after = await self._bring_in(slot, version)
            # From here to the end nothing is awaited: a request finds the old or the new version.
            slot.source, slot.described = source, version.described
            models.replace(after)
            if slot.failure:
                slot.forgive()
                self._able(slot.name, True)
        if after is before:
            return Swapped(before, before)
        self._swapped += 1
        _log.info("%s is now %s, from %s", _named(before), _named(after), source)
        return Swapped(before, after)

    async def _bring_in(self, slot: Slot, version: Version) -> PipelineInfo:
        """Load a version and let it be a slot's, with the lock held; its former version drains."""

        def evict() -> bool:
            idle = [
                (each.used or -math.inf, index, each)
                for index, each in enumerate(self._slots.values())
                if each is not slot
                and each.version is not None
                and not each.waiting
                and not self._memory.needed_by(each.version.info)
            ]
            if idle:
                oldest = min(idle)[-1]
                _log.info("%s makes room for %s", oldest.name, _named(version.info))
                self._retire(oldest)
            return bool(idle)

        loaded = await self._memory.bring_in(version, beside=slot.version, evict=evict)
        self._retire(slot)
        slot.version = loaded
        return loaded.info

    def _retire(self, slot: Slot) -> None:
        """Take a slot's version, if it has one, out of service."""
        if slot.version is None:
            return
        self._memory.retire(slot.version)
        slot.version = None
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = self._background.start(self._keep_sweeping())

    async def _keep_sweeping(self) -> None:
        draining = True
        while draining:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._changing:
                draining = await self._memory.sweep()

    async def _wait_for(self, slot: Slot) -> None:
        """Wait until a model is in memory.

        Raises:
            Refusal: it cannot be loaded.
        """
        slot.waiting += 1
        try:
            while slot.version is None and self._slots.get(slot.name) is slot:
                if slot.loading is None and slot.pauses.left > 0:
                    raise model_unavailable(slot.name, slot.pauses.left)
                # Whoever waits may go; the others still want it.
                error = await asyncio.shield(self._loading(slot))
                if isinstance(error, NoRoom):
                    raise no_memory(slot.name, _AGAIN_SECONDS)
                if error is not None:
                    raise model_unavailable(slot.name, slot.pauses.left)
        finally:
            slot.waiting -= 1

    def _loading(self, slot: Slot) -> asyncio.Task[Exception | None]:
        """Return the one task that loads a model, for all who want it."""
        if slot.loading is None:
            slot.loading = self._background.start(self._load(slot))
        return slot.loading

    async def _load(self, slot: Slot) -> Exception | None:
        """Load a model from its source; return why it cannot be, after it was noted."""
        models, loop = self._models, asyncio.get_running_loop()
        assert models is not None
        try:
            async with self._changing:
                if slot.version is not None or self._slots.get(slot.name) is not slot:
                    return None
                began = loop.time()
                version = await self._memory.check(slot.source, name=slot.name)
                info = await self._bring_in(slot, version)
                slot.described = version.described
                models.replace(info)
        except NoRoom as full:
            return full
        except Exception as error:
            self._failed += 1
            pause = slot.fail(error)
            _log_failure(f"{slot.name} cannot be loaded, next try in {pause:.0f} s", error)
            self._able(slot.name, False)
            return error
        else:
            slot.forgive()
            self._able(slot.name, True)
            _log.info("%s is loaded, in %.1f s", _named(info), loop.time() - began)
            return None
        finally:
            slot.loading = None

    @property
    def _default(self) -> str:
        return next(iter(self._slots), "")

    def _slot(self, name: str) -> Slot:
        assert self._models is not None
        return self._slots[self._models.find(name).name]

    def _status(self, slot: Slot) -> Status:
        assert self._models is not None
        info, described = self._models.find(slot.name), slot.described
        draining = [each for each in self._memory.draining if each.name == slot.name]
        return Status(
            info=info,
            source=slot.source,
            state=slot.state,
            weight_bytes=self._copies_of_each * described.weight_bytes,
            encoder_bytes=self._copies_of_each * described.encoder_bytes,
            in_flight=self._memory.needed_by(info),
            idle_seconds=slot.idle_seconds,
            draining=tuple(each.checksum for each in draining),
            failure=slot.failure,
            is_default=slot.name == self._default,
        )


def _log_failure(what: str, error: Exception) -> None:
    """Log a failure: in one line where it says all, with its place where it was not foreseen."""
    known = isinstance(error, T2IError | WorkerLost | NoRoom)
    _log.error("%s: %s", what, error, exc_info=None if known else error)


def _named(info: PipelineInfo) -> str:
    return f"{info.name} (version {info.version}, {info.checksum[:12]})"
