"""Worker processes: the same pictures, and nothing lost but what a dead one held."""

from __future__ import annotations

from pathlib import Path

from server.backends.process import ProcessBackend
from t2i.pipeline import Pipeline
from tests.server.backends import contract


async def test_two_workers_draw_what_the_pipeline_draws_and_one_that_dies_is_replaced(
    bundle: Path, pipeline: Pipeline
) -> None:
    backend = ProcessBackend(workers=2, device="cpu")
    try:
        pids = await contract.two_workers_draw_as_the_pipeline_and_one_that_dies_is_replaced(
            backend, bundle, pipeline
        )
    finally:
        await backend.close()
    assert not any(map(contract.alive, pids))


async def test_a_server_whose_only_worker_dies_says_so_and_is_back(bundle: Path) -> None:
    backend = ProcessBackend(workers=1, device="cpu")
    await contract.a_server_whose_only_worker_dies_says_so_and_is_back(backend, bundle)


async def test_a_bundle_that_cannot_be_loaded_leaves_the_workers_and_no_model_behind(
    tmp_path: Path, bundle: Path
) -> None:
    backend = ProcessBackend(workers=1, device="cpu")
    await contract.a_bundle_that_cannot_be_loaded_leaves_the_workers_and_no_model_behind(
        backend, tmp_path, bundle
    )
