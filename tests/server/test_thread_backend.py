"""Drawing in threads, with a real pipeline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from server.backends import Drawn, Item, Packing, model_key
from server.backends.thread import ThreadBackend
from t2i.conditions import Text
from t2i.pictures import encode_picture
from t2i.pipeline import Draw, Pipeline

RED, OWL = Text("small bird with red head"), Text("an owl")


@pytest.fixture
async def backend(bundle: Path) -> AsyncIterator[ThreadBackend]:
    backend = ThreadBackend(workers=1, device="cpu")
    await backend.load([str(bundle)])
    yield backend
    await backend.close()


async def test_what_is_not_wanted_any_more_is_not_drawn(
    backend: ThreadBackend, pipeline: Pipeline
) -> None:
    items = [Item(RED, 1), Item(OWL, 2), Item(RED, 3)]
    batch = await backend.run(model_key(pipeline.info), items, lambda: [True, False, True])
    first, left_out, last = batch.outcomes
    assert left_out is None
    embedding = pipeline.encode([RED])[0]
    for outcome, seed in ((first, 1), (last, 3)):
        assert isinstance(outcome, Drawn)
        (wanted,) = pipeline.draw([Draw(embedding, seed)])
        np.testing.assert_array_equal(outcome.pictures[-1], wanted[-1])
    nothing = await backend.run(model_key(pipeline.info), items, lambda: [False] * 3)
    assert list(nothing.outcomes) == [None] * 3
    assert nothing.generate_seconds < 0.05


async def test_a_picture_comes_packed_as_it_is_asked_for(
    backend: ThreadBackend, pipeline: Pipeline
) -> None:
    packings = [Packing("png", previews=True), Packing("jpeg", 80), Packing("raw"), None]
    items = [Item(RED, 1, packing=packing) for packing in packings]
    batch = await backend.run(model_key(pipeline.info), items, lambda: [True] * 4)
    (stages,) = pipeline.draw([Draw(pipeline.encode([RED])[0], 1)])
    png, jpeg, raw, plain = (each for each in batch.outcomes if isinstance(each, Drawn))
    assert [each.data for each in png.packed] == [encode_picture(stage) for stage in stages]
    assert [(each.stage, each.width, each.height) for each in png.packed] == [
        (number, *stage.shape[:2]) for number, stage in enumerate(stages)
    ]
    assert [each.data for each in jpeg.packed] == [encode_picture(stages[-1], "jpeg", 80)]
    assert [each.data for each in raw.packed] == [stages[-1].tobytes()]
    assert (png.pictures, jpeg.pictures, raw.pictures) == ((), (), ())
    assert plain.packed == () and len(plain.pictures) == len(stages)
    assert batch.pack_seconds > 0


async def test_a_caption_is_encoded_once(backend: ThreadBackend, pipeline: Pipeline) -> None:
    key = model_key(pipeline.info)
    first = await backend.run(key, [Item(RED, 1), Item(RED, 2)], lambda: [True] * 2)
    again = await backend.run(key, [Item(RED, 3)], lambda: [True])
    assert first.encode_seconds > 0
    assert again.encode_seconds == 0


async def test_the_next_batch_is_encoded_while_a_worker_is_busy(
    backend: ThreadBackend, pipeline: Pipeline
) -> None:
    loop, release, began = asyncio.get_running_loop(), threading.Event(), asyncio.Event()

    def hold() -> list[bool]:
        loop.call_soon_threadsafe(began.set)
        release.wait(20)
        return [True]

    key = model_key(pipeline.info)
    running = asyncio.create_task(backend.run(key, [Item(RED, 1)], hold))
    await began.wait()
    ahead = asyncio.create_task(backend.run(key, [Item(OWL, 2)], lambda: [True]))
    async with asyncio.timeout(20):
        while len(backend._memory._known) < 2:
            await asyncio.sleep(0.005)
    assert not ahead.done()
    release.set()
    assert isinstance((await running).outcomes[0], Drawn)
    assert isinstance((await ahead).outcomes[0], Drawn)


@pytest.mark.parametrize(("asked", "workers", "batch"), [(None, 3, 8), (1, 1, 24), (4, 4, 8)])
async def test_each_core_is_a_worker_unless_fewer_are_asked_for(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None, workers: int, batch: int
) -> None:
    monkeypatch.setattr("t2i.compute.core_count", lambda: 3)
    backend = ThreadBackend(workers=asked, device="cpu")
    await backend.load([str(bundle)])
    assert (backend.workers, backend.best_batch) == (workers, batch)
    await backend.close()


async def test_a_worker_that_has_one_core_draws_a_batch_in_one_pass(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.compute.core_count", lambda: 2)
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 2)
    backend = ThreadBackend(workers=None, device="cpu")
    info = (await backend.load([str(bundle)]))[0].info
    (pipeline,) = backend._pipelines.values()
    rows: list[int] = []
    pipeline._generator.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    items = [Item(RED, seed) for seed in range(4)]
    assert pipeline.draws_together, "else each picture has a pass of its own"
    rows.clear()
    await backend.run(model_key(info), items, lambda: [True] * 4)
    assert 4 in rows, "both workers draw batches of their own"
    assert 2 not in rows
    await backend.close()
