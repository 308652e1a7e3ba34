from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from t2i.batch import Ask, BatchError, Job, PipelineDrawer, ServiceDrawer, run_job
from t2i.client import CancelledError, NotFoundError, UnavailableError
from t2i.conditions import Text
from t2i.pipeline import Pipeline
from t2i.protocol.v1 import conditions_pb2
from tests.t2i.batch.squares import manifest, told, tree, write_rows
from tests.t2i.client import faulty_service
from tests.t2i.client.faulty_service import Hang, Refusal, Service, colour, serving
from tests.t2i.small_bundle import save_conditioned, save_scored

ROWS = [
    {"id": "a", "text": "small bird with red head", "seed": 7, "count": 2},
    {"id": "b", "text": "a bird", "seed": 8, "truncation": 0.5},
    {"id": "c", "text": "small bird with red head", "conditioning_truncation": 0.5},
    {"id": "d", "text": "a much longer caption of a bird that sits on a branch", "seed": 7},
]


@pytest.fixture(scope="module")
def pipeline(small_bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(small_bundle)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as address:
        service.address = address
        yield service


@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_a_job_draws_what_generate_draws(pipeline: Pipeline, tmp_path: Path, at_once: int) -> None:
    drawer = PipelineDrawer(pipeline)
    drawer.at_once = at_once
    source = write_rows(tmp_path / "c.jsonl", ROWS)
    job = Job(source=source, input_format="jsonl", out=tmp_path / "out", format="folder",
              rows_per_shard=3)  # fmt: skip
    summary = run_job(job, lambda: drawer)
    pictures = manifest(summary.out)
    assert [(p["id"], p["index"]) for p in pictures] == [
        ("a", 0), ("a", 1), ("b", 0), ("c", 0), ("d", 0),
    ]  # fmt: skip
    for picture in pictures:
        alone = pipeline.generate(
            picture["caption"],
            seeds=[picture["seed"]],
            truncation=picture["truncation"],
            conditioning_truncation=picture["conditioning_truncation"],
        )
        written = (job.out / picture["file"]).read_bytes()
        assert written == alone.images[0].encode("png")
        assert picture["checksum"] == alone.checksum
    assert [p["seed"] for p in pictures[:2]] == [7, 8]


def test_a_job_keeps_the_best_and_tells_its_seed_and_score(tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(save_scored(tmp_path / "scored"))
    rows = [ROWS[0] | {"best_of": 4}, ROWS[1]]
    source = write_rows(tmp_path / "c.jsonl", rows)
    job = Job(source=source, input_format="jsonl", out=tmp_path / "out", format="folder")
    summary = run_job(job, lambda: PipelineDrawer(pipeline))
    first, second, plain = manifest(summary.out)
    best = pipeline.generate(ROWS[0]["text"], seeds=[7, 8], best_of=4)
    assert [p["seed"] for p in (first, second)] == list(best.seeds)
    assert [p["score"] for p in (first, second)] == list(best.scores)
    assert plain["seed"] == 8 and plain.get("score") is None
    assert (job.out / first["file"]).read_bytes() == best.images[0].encode("png")
    # The manifest draws the same pictures again, without choosing.
    again = pipeline.generate(ROWS[0]["text"], seeds=[first["seed"]])
    assert (job.out / first["file"]).read_bytes() == again.images[0].encode("png")


def test_candidates_are_asked_of_a_service_in_requests_that_it_takes(service: Service) -> None:
    drawer = ServiceDrawer(service.address)
    try:
        drawer.draw([Ask(Text("a bird"), seed, 1.0, 1.0, best_of=8) for seed in range(20)])
    finally:
        drawer.close()
    asked = [request for request in service.requests if hasattr(request, "best_of")]
    assert sorted(len(request.seeds) for request in asked) == [4, 8, 8]
    assert {request.best_of for request in asked} == {8}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("digits", [{"label": "one"}, {"label": 2}, {"label": "nine"}]),
        ("codes", [{"code": {"digit": 2, "tilt": 0.5}}, {"code": "1,0,0,2"}, {"code": [9]}]),
        ("plumage", [{"attributes": {"crown": "red", "crest": True, "size": 0.3}},
                     {"attributes": "crown=blue; crest=no; size=1"}, {"condition": "x=1"}]),
        ("seeds", [{"seed": 3}, {}, {"text": "a bird"}]),
    ],
)  # fmt: skip
def test_every_kind_of_model_can_be_asked(name: str, rows: list[object], tmp_path: Path) -> None:
    pipeline = Pipeline.from_pretrained(save_conditioned(tmp_path, name))
    source = write_rows(tmp_path / "c.jsonl", rows)
    job = Job(source=source, input_format="jsonl", out=tmp_path / "out")
    summary = run_job(job, lambda: PipelineDrawer(pipeline))
    bad = {3} | ({2} if name == "plumage" else set())
    assert {f["row"] for f in told(summary.failures)} == bad
    # What the manifest tells of a picture draws it again.
    again = write_rows(tmp_path / "again.jsonl", manifest(summary.out))
    repeated = run_job(
        Job(source=again, input_format="jsonl", out=tmp_path / "again"),
        lambda: PipelineDrawer(pipeline),
    )
    assert repeated.pictures == summary.pictures == 3 - len(bad)
    assert [p["seed"] for p in manifest(repeated.out)] == [p["seed"] for p in manifest(summary.out)]


def test_a_service_is_asked_for_each_condition_with_its_seeds(service: Service) -> None:
    drawer = ServiceDrawer(service.address)
    asks = [
        *(Ask(Text("a bird"), seed, 1.0, 1.0) for seed in range(20)),
        Ask(Text("a bird"), 5, 0.5, 0.25),
        Ask(Text("a fish"), 5, 0.5, 0.25),
    ]
    drawn = drawer.draw(asks)
    for ask, picture in zip(asks, drawn, strict=True):
        with Image.open(io.BytesIO(picture.png())) as image:
            assert image.getpixel((0, 0)) == colour(ask.seed)
    requests = [r for r in service.requests if hasattr(r, "seeds")]
    assert sorted((r.condition.text.text, len(r.seeds)) for r in requests) == [
        ("a bird", 1), ("a bird", 4), ("a bird", 16), ("a fish", 1),
    ]  # fmt: skip
    assert {(r.options.truncation, r.options.conditioning_truncation) for r in requests} == {
        (1.0, 1.0), (0.5, 0.25),
    }  # fmt: skip
    drawer.close()


def test_a_service_that_is_not_there_or_has_no_such_model_stops_the_job_at_once(
    service: Service,
) -> None:
    with pytest.raises(UnavailableError, match=r"cannot reach 127\.0\.0\.1:1;? ?"):
        ServiceDrawer("127.0.0.1:1")
    with pytest.raises(NotFoundError, match="no model flowers"):
        ServiceDrawer(service.address, "flowers")


def test_a_service_that_is_full_is_asked_again(service: Service) -> None:
    drawer = ServiceDrawer(service.address)
    service.faults = [Refusal(grpc.StatusCode.UNAVAILABLE)] * 2
    assert len(drawer.draw([Ask(Text("a bird"), 1, 1.0, 1.0)])) == 1
    drawer.close()


def test_a_service_that_changes_its_model_in_between_is_noticed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = ServiceDrawer(service.address)
    other = conditions_pb2.ModelVersion(name="squares", version="2", checksum="cd" * 32)
    monkeypatch.setattr(faulty_service, "VERSION", other)
    with pytest.raises(BatchError, match="another squares answers there now"):
        drawer.draw([Ask(Text("a bird"), 1, 1.0, 1.0)])
    drawer.close()


def test_closing_cancels_what_is_under_way(service: Service) -> None:
    drawer = ServiceDrawer(service.address)
    service.faults = [Hang()]
    threads = drawer._threads
    under_way = threads.submit(drawer.draw, [Ask(Text("a bird"), 1, 1.0, 1.0)])
    while service.faults:
        pass
    drawer.close()
    drawer.close()
    with pytest.raises(CancelledError):
        under_way.result(10)


def test_here_and_there_the_rows_and_their_seeds_are_the_same(
    service: Service, pipeline: Pipeline, tmp_path: Path
) -> None:
    source = write_rows(tmp_path / "c.jsonl", [*ROWS, {"text": ""}])
    here, there = (
        run_job(Job(source=source, input_format="jsonl", out=tmp_path / name), opened)
        for name, opened in (
            ("here", lambda: PipelineDrawer(pipeline)),
            ("there", lambda: ServiceDrawer(service.address)),
        )
    )
    described = [
        [(p["id"], p["index"], p["seed"], p["condition"]) for p in manifest(summary.out)]
        for summary in (here, there)
    ]
    assert described[0] == described[1]
    name = "failures.jsonl"
    assert tree(tmp_path / "here")[name] == tree(tmp_path / "there")[name]
