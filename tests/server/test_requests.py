from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from server.models import Models
from server.refusals import Refusal
from server.requests import Ask, read_request
from t2i.conditions import Text
from t2i.pipeline import PipelineInfo
from t2i.protocol.v1 import conditions_pb2 as pb
from t2i.protocol.v1.image_service_pb2 import GenerateImagesRequest, GenerateRequest
from t2i.seeds import LARGEST_SEED, candidate_seeds

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TEXT = pb.Condition(text=pb.TextCondition(text="a bird"))


def info(name: str, *resolutions: int) -> PipelineInfo:
    return PipelineInfo(name, "1", "0" * 64, ("text",), resolutions, "encoder", 384, (), 1000)


SEEDS = PipelineInfo("seeds", "1", "0" * 64, (), (32,), "", 0, (), 1000)
DIGITS = PipelineInfo("digits", "1", "0" * 64, ("label",), (32,), "", 2, ("one", "two"), 1000)
MODELS = Models([info("small", 16, 32, 64), info("large", 64, 256, 512), SEEDS, DIGITS])


def read(request: GenerateRequest | GenerateImagesRequest) -> Ask:
    return read_request(request, request.request_id or ID, MODELS)


def faults(request: GenerateRequest | GenerateImagesRequest) -> dict[str, str]:
    with pytest.raises(Refusal) as refusal:
        read(request)
    assert refusal.value.code == code_pb2.INVALID_ARGUMENT
    bad = error_details_pb2.BadRequest()
    for detail in refusal.value.status("").details:
        detail.Unpack(bad)
    return {v.field: v.description for v in bad.field_violations}


def test_the_least_request_asks_for_one_png_with_previews_of_the_default_model() -> None:
    ask = read(GenerateRequest(condition=TEXT))
    assert ask.model.name == "small"
    assert [(item.condition, item.truncation) for item in ask.items] == [(Text("a bird"), 1.0)]
    assert (ask.format, ask.quality, ask.previews) == (pb.IMAGE_FORMAT_PNG, None, True)


def test_everything_asked_for_is_read() -> None:
    options = pb.GenerateOptions(
        truncation=0.7, conditioning_truncation=0.0, format=pb.IMAGE_FORMAT_WEBP, quality=80
    )
    ask = read(
        GenerateRequest(
            condition=TEXT, model="large", seeds=[5, LARGEST_SEED], options=options, previews=False
        )
    )
    assert ask.model.name == "large"
    assert [item.seed for item in ask.items] == [5, LARGEST_SEED]
    assert {(item.truncation, item.conditioning_truncation) for item in ask.items} == {(0.7, 0.0)}
    assert (ask.format, ask.quality, ask.previews) == (pb.IMAGE_FORMAT_WEBP, 80, False)


def test_open_seeds_differ_from_each_other_and_are_the_same_for_the_same_request_id() -> None:
    def seeds(request_id: str) -> list[int]:
        request = GenerateRequest(condition=TEXT, count=16, request_id=request_id)
        return [item.seed for item in read(request).items]

    other = str(uuid.uuid4())
    assert len(set(seeds(ID)) | set(seeds(other))) == 32
    assert seeds(ID) == seeds(ID.upper())
    assert all(0 <= seed <= LARGEST_SEED for seed in seeds(ID))


def request(**fields: Any) -> GenerateRequest:
    return GenerateRequest(**{"condition": TEXT, **fields})


def options(**fields: Any) -> GenerateRequest:
    return request(options=pb.GenerateOptions(**fields))


def condition(**kind: Any) -> GenerateRequest:
    return GenerateRequest(condition=pb.Condition(**kind))


BOX = pb.Box(x0=0.5, y0=0, x1=0.1, y1=1)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (GenerateRequest(), "condition"),
        (request(request_id="7"), "request_id"),
        (request(request_id=str(uuid.uuid1())), "request_id"),
        (request(model="m" * 129), "model"),
        (request(count=0), "count"),
        (request(count=17), "count"),
        (request(count=2**32 - 1), "count"),
        (request(seeds=range(17)), "seeds"),
        (request(count=2, seeds=[1]), "seeds"),
        (request(seeds=[1, 2**63]), "seeds[1]"),
        (options(truncation=1.01), "options.truncation"),
        (options(truncation=float("nan")), "options.truncation"),
        (options(conditioning_truncation=-0.1), "options.conditioning_truncation"),
        (options(format=99), "options.format"),
        (options(quality=50), "options.quality"),
        (options(format=pb.IMAGE_FORMAT_RAW, quality=50), "options.quality"),
        (options(format=pb.IMAGE_FORMAT_JPEG, quality=0), "options.quality"),
        (options(format=pb.IMAGE_FORMAT_WEBP, quality=101), "options.quality"),
        (condition(text=pb.TextCondition(text="")), "condition.text"),
        (condition(text=pb.TextCondition(text=" \n")), "condition.text"),
        (condition(text=pb.TextCondition(text="x" * 513)), "condition.text"),
        (condition(label=pb.LabelCondition()), "condition.label.name"),
        (condition(label=pb.LabelCondition(id=3)), "condition.label"),
        (condition(attributes=pb.AttributesCondition()), "condition.attributes"),
        (
            condition(attributes=pb.AttributesCondition(values={"crown": pb.AttributeValue()})),
            "condition.attributes[crown]",
        ),
        (condition(picture=pb.PictureCondition(data=b"GIF89a")), "condition.picture"),
        (condition(layout=pb.LayoutCondition()), "condition.layout.objects"),
        (
            condition(layout=pb.LayoutCondition(objects=[pb.LayoutObject(label="bird")])),
            "condition.layout.objects[0].box",
        ),
        (
            condition(layout=pb.LayoutCondition(objects=[pb.LayoutObject(label="b", box=BOX)])),
            "condition.layout.box",
        ),
        (
            condition(
                scene_graph=pb.SceneGraphCondition(
                    objects=["bird"], relations=[pb.SceneRelation(predicate="on", object=1)]
                )
            ),
            "condition.scene_graph.relations[0].object",
        ),
        (
            condition(code=pb.CodeCondition(continuous=[float("inf")])),
            "condition.code.continuous[0]",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(
    wrong: GenerateRequest, field: str
) -> None:
    found = faults(wrong)
    assert list(found) == [field]
    assert ";" in found[field]


def test_all_wrong_fields_are_named_at_once() -> None:
    wrong = GenerateRequest(request_id="x", count=99, options=pb.GenerateOptions(truncation=2))
    assert set(faults(wrong)) == {"request_id", "count", "options.truncation", "condition"}


def test_a_kind_that_the_model_does_not_take_is_refused_with_the_kinds_it_takes() -> None:
    found = faults(condition(label=pb.LabelCondition(name="robin")))
    assert found == {"condition.label": "small takes no label; give text"}
    assert faults(GenerateRequest(condition=TEXT, model="digits")) == {
        "condition.text": "digits takes no text; give label (one, two)"
    }


def test_a_model_of_seeds_alone_is_asked_without_a_condition_and_no_other_is() -> None:
    ask = read(GenerateRequest(model="seeds", seeds=[3, 4]))
    assert [(item.condition, item.seed) for item in ask.items] == [(None, 3), (None, 4)]
    assert read(GenerateImagesRequest(model="seeds", condition=pb.Condition())).items
    assert faults(GenerateRequest(model="digits")) == {
        "condition": "is required by digits; give label (one, two)"
    }
    assert faults(GenerateRequest(model="seeds", condition=TEXT)) == {
        "condition.text": "seeds takes no text, it draws by seed alone; leave the condition out"
    }


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named() -> None:
    with pytest.raises(Refusal, match="small, large, seeds, digits") as refusal:
        read(request(model="tiny"))
    assert refusal.value.code == code_pb2.NOT_FOUND
    assert refusal.value.reason == "MODEL_NOT_FOUND"


def test_pictures_that_may_not_fit_one_message_are_refused_with_how_many_would() -> None:
    def ask(count: int, model: str = "large") -> GenerateImagesRequest:
        return GenerateImagesRequest(condition=TEXT, model=model, count=count)

    assert len(read(ask(5)).items) == 5
    assert "at most 5" in faults(ask(6))["count"]
    assert len(read(ask(16, "small")).items) == 16
    assert len(read(request(count=16, model="large")).items) == 16


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_message_that_parses_is_read_or_refused(data: bytes) -> None:
    try:
        message = GenerateRequest.FromString(data)
    except Exception:
        return
    try:
        read_request(message, ID, MODELS)
    except Refusal as refusal:
        assert refusal.reason in ("INVALID_FIELD", "MODEL_NOT_FOUND")


def interpolation(**fields: Any) -> pb.Interpolation:
    return pb.Interpolation(**{"places": [0.0, 0.5, 1.0], **fields})


def test_a_way_becomes_a_picture_a_place_from_one_seed() -> None:
    end = pb.Condition(text=pb.TextCondition(text="a fish"))
    ask = read(
        GenerateRequest(
            condition=TEXT, seeds=[5], interpolation=interpolation(condition=end, seed=6)
        )
    )
    assert [item.seed for item in ask.items] == [5, 5, 5]
    ways = [item.towards for item in ask.items]
    assert [(w.condition, w.seed, w.place) for w in ways if w] == [
        (Text("a fish"), 6, 0.0), (Text("a fish"), 6, 0.5), (Text("a fish"), 6, 1.0),
    ]  # fmt: skip


def test_a_way_without_an_end_changes_nothing_but_what_is_given() -> None:
    ask = read(GenerateRequest(condition=TEXT, count=3, interpolation=interpolation()))
    (way, *_) = (item.towards for item in ask.items)
    assert way is not None
    assert (way.condition, way.seed) == (Text("a bird"), ask.items[0].seed)
    again = read(GenerateRequest(condition=TEXT, count=3, interpolation=interpolation()))
    assert again.items == ask.items


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"seeds": [1, 2]}, "seeds"),
        ({"count": 2}, "interpolation.places"),
        ({"interpolation": interpolation(places=[])}, "interpolation.places"),
        ({"interpolation": interpolation(places=[0.0] * 17)}, "interpolation.places"),
        ({"interpolation": interpolation(places=[0, 2])}, "interpolation.places[1]"),
        ({"interpolation": interpolation(places=[float("nan")])}, "interpolation.places[0]"),
        ({"interpolation": interpolation(seed=LARGEST_SEED + 1)}, "interpolation.seed"),
        ({"fine": pb.FineCondition(condition=TEXT)}, "fine"),
    ],
)
def test_what_is_wrong_with_a_way_is_named(fields: dict[str, Any], wrong: str) -> None:
    request = {"condition": TEXT, "interpolation": interpolation(), **fields}
    assert wrong in faults(GenerateRequest(**request))


def test_a_model_of_seeds_alone_takes_no_fine_condition() -> None:
    empty = GenerateRequest(model="seeds", fine=pb.FineCondition())
    assert faults(empty) == {"fine": "the model takes no condition; leave it out"}


def test_a_fine_condition_becomes_the_number_of_its_stage() -> None:
    staged = Models([replace(info("small", 16, 32, 64), takes_fine=True), SEEDS])
    fine = pb.FineCondition(condition=TEXT, resolution=64)
    ask = read_request(GenerateRequest(condition=TEXT, fine=fine), ID, staged)
    assert ask.items[0].fine is not None and ask.items[0].fine.stage == 2
    assert "fine" in faults(GenerateRequest(condition=TEXT, fine=fine))
    with pytest.raises(Refusal):
        fine = pb.FineCondition(condition=TEXT, resolution=16)
        read_request(GenerateRequest(condition=TEXT, fine=fine), ID, staged)
    with pytest.raises(Refusal):
        read_request(GenerateRequest(condition=TEXT, fine=pb.FineCondition()), ID, staged)


def scored() -> Models:
    return Models([replace(info("small", 16, 32, 64), has_scorer=True), SEEDS])


def test_candidates_of_a_picture_stand_in_a_row() -> None:
    ask = read_request(GenerateRequest(condition=TEXT, seeds=[5, 9], best_of=3), ID, scored())
    assert ask.best_of == 3 and ask.seeds == (5, 9)
    expected = [*candidate_seeds(5, 3), *candidate_seeds(9, 3)]
    assert [item.seed for item in ask.items] == expected
    assert all(item.scored for item in ask.items)
    one = read_request(GenerateRequest(condition=TEXT, seeds=[5], best_of=1), ID, scored())
    assert [(item.seed, item.scored) for item in one.items] == [(5, False)]


@pytest.mark.parametrize(
    "fields",
    [
        {"best_of": 0},
        {"best_of": 17},
        {"best_of": 16, "count": 5},
        {"best_of": 2, "interpolation": interpolation()},
    ],
)
def test_what_cannot_be_chosen_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="best_of"):
        read_request(GenerateRequest(condition=TEXT, **fields), ID, scored())


def test_a_model_without_a_scorer_chooses_nothing() -> None:
    assert "no scorer" in faults(GenerateRequest(condition=TEXT, best_of=2))["best_of"]
