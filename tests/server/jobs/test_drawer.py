"""What a job draws is what `t2i batch` draws, the choice among candidates included."""

from __future__ import annotations

import asyncio

from server.app import Server
from server.settings import Settings
from t2i.batch.drawers import PipelineDrawer
from t2i.batch.job import Job, run_job
from t2i.client import AsyncClient
from t2i.pipeline import Pipeline
from tests.server.jobs.folders import Places, tree


async def test_the_best_of_several_candidates_is_the_same_in_a_job(places: Places) -> None:
    source = places.write(
        "birds.jsonl",
        [
            {"id": "one", "text": "small bird with red head", "best_of": 3},
            {"id": "two", "text": "small bird with red head"},
            {"id": "three", "text": "a large blue bird flying", "best_of": 2, "count": 2},
        ],
    )
    server = Server(Settings(models=("default",), port=0, device="cpu", jobs=places.settings()))
    await server.start()
    await server.load()
    try:
        async with AsyncClient(server.address) as client:
            job = await client.batches.create("birds.jsonl", "birds", seed=7, best_of=4)
            async with asyncio.timeout(60):
                *_, last = [change async for change in client.batches.watch(job)]
    finally:
        await server.stop(5)
    assert (last.state, last.completed_rows, last.best_of) == ("succeeded", 3, 4), last
    here = places.outputs / "here"
    drawer = PipelineDrawer(Pipeline.from_pretrained("default", "cpu"))
    asked = Job(source=source, input_format="jsonl", out=here, seed=7, best_of=4)
    run_job(asked, lambda: drawer)
    found = tree(places.outputs / "birds")
    assert found == tree(here)
    assert any(b'"score"' in content for content in found.values())
