"""What a server tells about itself, and what it never tells."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.app import Server
from server.settings import Settings
from server.telemetry import JsonLines
from t2i.client import AsyncClient
from t2i.client.errors import InvalidArgumentError
from t2i.conditions import Label
from t2i.errors import InvalidInput
from tests.server.digits import flip_a_bit, save_digits
from tests.server.test_model_store import draw, refused, serving, until

CAPTION = "a turquoise bird nobody may read of"
ID = "7d0c0a4e-5d0e-4b6e-9f43-3f0f4f0c1d2a"


async def scrape(server: Server) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    def get() -> str:
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())

    text = await asyncio.to_thread(get)
    assert CAPTION not in text and "turquoise" not in text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_prometheus_is_told_what_was_asked_drawn_and_refused(bundle: Path) -> None:
    server = Server(Settings(models=(str(bundle),), port=0, metrics=("127.0.0.1", 0)))
    await server.start()
    assert (await scrape(server))["t2i_serving", ()] == 0
    await server.load()
    before = await scrape(server)
    assert before["t2i_serving", ()] == 1
    async with AsyncClient(server.address, max_retries=0) as client:
        await client.generate_images(CAPTION, seeds=[1, 2])
        async for _ in client.generate(CAPTION, seeds=[3]):
            pass
        with pytest.raises(InvalidArgumentError):
            await client.generate_images(Label("red"), seeds=[1])
        name = (await client.get_model()).name
    told = await scrape(server)
    await server.stop(0)
    service = "/t2i.v1.ImageService/"

    def calls(method: str, code: str, reason: str = "") -> float:
        labels = (("code", code), ("method", service + method), ("reason", reason))
        return told["t2i_requests_total", labels]

    assert calls("GenerateImages", "OK") == 1 and calls("Generate", "OK") == 1
    assert calls("GenerateImages", "INVALID_ARGUMENT", "INVALID_FIELD") == 1
    assert told["t2i_pictures_delivered_total", (("model", name),)] == 3
    assert told["t2i_pictures_total", ()] - before["t2i_pictures_total", ()] == 3
    for stage in ("queue", "encode", "generate", "pack"):
        assert told["t2i_stage_seconds_count", (("stage", stage),)] == 2
    assert told["t2i_stage_seconds_sum", (("stage", "generate"),)] > 0
    assert told["t2i_request_seconds_count", (("method", service + "GenerateImages"),)] == 2
    assert told["t2i_queue_pictures", ()] == 0 and told["t2i_held_bytes", ()] == 0


async def test_prometheus_is_told_the_state_the_memory_and_the_changes_of_models(
    tmp_path: Path,
) -> None:
    size = save_digits(tmp_path / "digits").weight_bytes
    options = {"metrics": ("127.0.0.1", 0), "watch_models": 0.1}
    async with serving(tmp_path / "digits", **options) as (server, _):
        told = await scrape(server)
        # Known from the start, whether or not anybody asked.
        assert told["t2i_model_memory_bytes", ()] == size
        assert ("t2i_model_memory_budget_bytes", ()) not in told
    async with serving(tmp_path / "digits", lazy=True, memory_budget=3 * size, **options) as (
        server,
        channel,
    ):

        def state(told: dict[tuple[str, tuple[tuple[str, str], ...]], float]) -> set[str]:
            labels = {
                labels: on for (name, labels), on in told.items() if name == "t2i_model_state"
            }
            return {dict(each)["state"] for each, on in labels.items() if on}

        def changes(told: dict[tuple[str, tuple[tuple[str, str], ...]], float], kind: str) -> float:
            return told["t2i_model_changes_total", (("change", kind),)]

        told = await scrape(server)
        assert state(told) == {"unloaded"}
        assert told["t2i_model_memory_bytes", ()] == 0
        assert told["t2i_model_memory_budget_bytes", ()] == 3 * size
        await draw(channel)
        assert state(await scrape(server)) == {"loaded"}
        save_digits(tmp_path / "digits", version=2)
        await until(lambda: server._store.changes.swapped == 1)
        told = await scrape(server)
        assert (changes(told, "loaded"), changes(told, "swapped")) == (2, 1)
        # What nobody asked for and fails is counted as a load that fails is.
        flip_a_bit(tmp_path / "digits")
        await until(lambda: server._store.changes.failed == 1)
        assert changes(await scrape(server), "failed") == 1
        await server._store.unload("digits")
        await refused(channel, "digits")
        told = await scrape(server)
        assert state(told) == {"failed"} and changes(told, "failed") == 2
        assert told["t2i_model_memory_bytes", ()] == 0


async def test_an_address_that_is_taken_is_refused_at_the_start(bundle: Path) -> None:
    first = Server(Settings(models=(str(bundle),), port=0, metrics=("127.0.0.1", 0)))
    await first.start()
    assert first.metrics_port is not None
    second = Server(
        Settings(models=(str(bundle),), port=0, metrics=("127.0.0.1", first.metrics_port))
    )
    with pytest.raises(InvalidInput, match=r"metrics: .* cannot be bound"):
        await second.start()
    await second.stop(0)
    await first.stop(0)


async def test_a_log_line_for_machines_has_its_parts_and_no_caption(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="t2i")
    server = Server(Settings(models=(str(bundle),), port=0))
    await server.start()
    await server.load()
    async with AsyncClient(server.address) as client:
        await client.generate_images(CAPTION, seeds=[1], request_id=ID)
    await server.stop(0)
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    (line,) = [each for each in lines if each.get("request_id") == ID]
    assert line["code"] == "OK" and line["method"].endswith("/GenerateImages")
    assert line["milliseconds"] > 0 and line["level"] == "INFO" and line["time"].endswith("+00:00")
    assert CAPTION not in json.dumps(lines)


def test_an_exception_is_part_of_its_line() -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        record = logging.getLogger("t2i").makeRecord(
            "t2i", logging.ERROR, "", 0, "failed %s", ("here",), (ValueError, error, None)
        )
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "failed here" and "ValueError: why" in line["exception"]
