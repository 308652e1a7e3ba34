"""One trace from a program's span through the client's attempts to the server's work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.app import Server
from server.settings import Settings
from t2i.client import AsyncClient
from t2i.client.errors import InvalidArgumentError
from t2i.conditions import Label

CAPTION = "a turquoise bird nobody may read of"
TOKEN = "0123456789abcdef-a-token"


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Keeps the spans of this process; a provider can be set once only."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_the_servers_span_is_below_the_clients_and_that_below_the_programs(
    bundle: Path, spans: InMemorySpanExporter
) -> None:
    server = Server(Settings(models=(str(bundle),), port=0, token=TOKEN))
    await server.start()
    await server.load()
    tracer = trace.get_tracer("a program")
    with tracer.start_as_current_span("job"):
        async with AsyncClient(server.address, token=TOKEN, max_retries=0) as client:
            await client.generate_images(CAPTION, seeds=[7, 8])
            async for _ in client.generate(CAPTION, seeds=[9]):
                pass
            with pytest.raises(InvalidArgumentError):
                await client.generate_images(Label("red"), seeds=[1])
    await server.stop(0)
    (job,) = named(spans, "job")
    sent = named(spans, "t2i.client GenerateImages") + named(spans, "t2i.client Generate")
    done = named(spans, "t2i.v1.ImageService/GenerateImages")
    done += named(spans, "t2i.v1.ImageService/Generate")
    assert len(sent) == len(done) == 3
    for below, above in [(span, [job]) for span in sent] + [(span, sent) for span in done]:
        assert below.parent is not None and below.context is not None
        assert below.parent.span_id in {each.context.span_id for each in above if each.context}
        assert job.context is not None and below.context.trace_id == job.context.trace_id
    answered, refused, streamed = done
    assert answered.attributes is not None and refused.attributes is not None
    assert answered.attributes["rpc.grpc.status"] == "OK"
    assert answered.attributes["t2i.pictures"] == 2
    assert float(str(answered.attributes["t2i.generate_ms"])) > 0
    assert refused.attributes["t2i.reason"] == "INVALID_FIELD"
    assert not refused.status.is_ok and streamed.attributes is not None
    assert streamed.attributes["t2i.pictures"] == 1
    told = json.dumps([json.loads(span.to_json()) for span in spans.get_finished_spans()])
    assert "turquoise" not in told and TOKEN not in told


async def test_without_a_span_of_its_own_a_call_begins_a_trace(
    bundle: Path, spans: InMemorySpanExporter
) -> None:
    server = Server(Settings(models=(str(bundle),), port=0))
    await server.start()
    await server.load()
    async with AsyncClient(server.address) as client:
        await client.get_model()
    await server.stop(0)
    (sent,) = named(spans, "t2i.client GetModel")
    (done,) = named(spans, "t2i.v1.ModelService/GetModel")
    assert sent.parent is None
    assert done.parent is not None and sent.context is not None
    assert done.parent.span_id == sent.context.span_id
