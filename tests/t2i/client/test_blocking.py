from __future__ import annotations

import gc
import time
import uuid
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from PIL import Image

import t2i.client as sdk
from t2i.client import Accepted, Client, Completed, Finished, Preview, UnimplementedError
from t2i.client.retries import FIRST_WAIT_S, JITTER
from t2i.conditions import Text
from t2i.errors import InvalidInput
from tests.t2i.client.faulty_service import Hang, Refusal, Service, colour, retry_in, serving

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def client(service: Service):
    with Client(service.address, timeout=20) as client:
        yield client


def kinds(events: list[sdk.GenerateEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_stream_is_accepted_then_previews_then_pictures_then_finished(client: Client) -> None:
    events = list(client.generate("small bird with red head", seeds=[5, 9]))
    assert kinds(events) == [
        "Accepted", "Preview", "Completed", "Preview", "Completed", "Finished",
    ]  # fmt: skip
    match events:
        case [
            Accepted(seeds=(5, 9), resolutions=(4, 8)),
            Preview(small),
            Completed(large),
            *_,
            end,
        ]:
            assert (small.resolution, large.resolution) == (4, 8)
            assert large.pil().getpixel((0, 0)) == colour(5)
            assert isinstance(end, Finished) and end.count == 2
            assert end.timings.total_ms == 12.5
        case _:
            raise AssertionError(events)


def test_previews_are_left_out_on_request(client: Client) -> None:
    assert "Preview" not in kinds(list(client.generate("bird", previews=False)))


def test_words_and_text_conditions_ask_for_the_same(client: Client, service: Service) -> None:
    client.generate_images("a bird", seeds=[1])
    client.generate_images(Text("a bird"), seeds=[1])
    assert service.requests[0] == service.requests[1]


def test_all_pictures_come_back_in_the_order_of_their_seeds(client: Client) -> None:
    result = client.generate_images("bird", seeds=[3, 1, 2])
    assert [image.seed for image in result] == [3, 1, 2]
    assert [image.pil().getpixel((2, 2)) for image in result.images] == [
        colour(3), colour(1), colour(2),
    ]  # fmt: skip
    assert len(result) == 3 and result[0] is result.images[0]
    assert result.model.name == "squares"
    assert result.request_id == "chosen-by-server"
    assert result.warnings[0].reason == "FAR"


def test_options_reach_the_service(client: Client, service: Service) -> None:
    request_id = str(uuid.uuid4())
    client.generate_images(
        "bird", count=2, model="squares", format="jpeg", quality=70, truncation=0.5,
        conditioning_truncation=0.25, request_id=request_id,
    )  # fmt: skip
    request = service.requests[0]
    assert (request.count, request.model, request.request_id) == (2, "squares", request_id)
    options = request.options
    assert (options.quality, options.truncation, options.conditioning_truncation) == (70, 0.5, 0.25)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "raw"])
def test_every_format_becomes_the_same_picture(client: Client, format: sdk.ImageFormat) -> None:
    picture = client.generate_images("bird", seeds=[4], format=format).images[0]
    assert picture.format == format
    drawn = picture.pil().getpixel((1, 1))
    assert isinstance(drawn, tuple)
    assert max(abs(a - b) for a, b in zip(drawn, colour(4), strict=True)) <= 3


def test_models_are_listed_and_described(client: Client) -> None:
    (model,) = client.list_models()
    assert model == client.get_model() == client.get_model("squares")
    assert model.conditions == ("text", "scene_graph")
    assert model.resolutions == (4, 8)
    assert model.labels == ("red", "blue")
    assert model.is_default


def test_an_unknown_model_is_not_found(client: Client) -> None:
    with pytest.raises(sdk.NotFoundError, match="there is: squares"):
        client.get_model("circles")


def test_a_service_that_is_away_twice_is_asked_a_third_time(
    client: Client, service: Service
) -> None:
    service.faults = [Refusal(UNAVAILABLE), Refusal(UNAVAILABLE)]
    started = time.monotonic()
    assert len(client.generate_images("bird").images) == 1
    waited = time.monotonic() - started
    assert len(service.requests) == 3
    least = (FIRST_WAIT_S + 2 * FIRST_WAIT_S) * (1 - JITTER)
    assert least <= waited < 10


def test_a_stream_is_repeated_before_its_first_event(client: Client, service: Service) -> None:
    service.faults = [Refusal(UNAVAILABLE)]
    assert kinds(list(client.generate("bird")))[0] == "Accepted"
    assert len(service.requests) == 2


def test_a_third_failure_is_the_callers(client: Client, service: Service) -> None:
    service.faults = [Refusal(UNAVAILABLE, "away", (retry_in(0.01),)) for _ in range(3)]
    with pytest.raises(sdk.UnavailableError, match="away"):
        client.generate_images("bird")
    assert len(service.requests) == 3


def test_without_retries_the_first_failure_is_the_callers(service: Service) -> None:
    service.faults = [Refusal(UNAVAILABLE)]
    with Client(service.address, max_retries=0) as client, pytest.raises(sdk.UnavailableError):
        client.list_models()
    assert len(service.requests) == 1


def test_a_full_service_is_asked_again_when_it_said_when(client: Client, service: Service) -> None:
    service.faults = [Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", (retry_in(0.8),))]
    started = time.monotonic()
    client.generate_images("bird")
    assert time.monotonic() - started >= 0.8
    assert len(service.requests) == 2


def test_a_full_service_that_names_no_time_is_not_asked_again(
    client: Client, service: Service
) -> None:
    service.faults = [Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota used up")]
    with pytest.raises(sdk.ResourceExhaustedError, match="quota used up"):
        client.generate_images("bird")
    assert len(service.requests) == 1


def test_a_wait_that_outlasts_the_timeout_is_not_begun(service: Service) -> None:
    service.faults = [Refusal(UNAVAILABLE, "away", (retry_in(60),))]
    started = time.monotonic()
    with Client(service.address, timeout=3) as client, pytest.raises(sdk.UnavailableError):
        client.generate_images("bird")
    assert time.monotonic() - started < 3


def test_a_stream_that_breaks_off_is_not_repeated_without_a_request_id(
    client: Client, service: Service
) -> None:
    service.faults = [Refusal(UNAVAILABLE, "restarting", after_events=2)]
    events = client.generate("bird", seeds=[1])
    assert kinds([next(events), next(events)]) == ["Accepted", "Preview"]
    with pytest.raises(sdk.UnavailableError) as caught:
        next(events)
    assert caught.value.request_id == "chosen-by-server"
    assert len(service.requests) == 1


def test_a_stream_with_a_request_id_goes_on_where_it_broke_off(
    client: Client, service: Service
) -> None:
    service.faults = [Refusal(UNAVAILABLE, "restarting", after_events=2)]
    events = list(client.generate("bird", seeds=[1], request_id=str(uuid.uuid4())))
    assert kinds(events) == ["Accepted", "Preview", "Completed", "Finished"]
    assert service.requests[0] == service.requests[1]


def test_a_stream_never_mixes_pictures_of_two_draws(client: Client, service: Service) -> None:
    service.first_free_seeds = [10, 20]
    service.faults = [Refusal(UNAVAILABLE, "restarting", after_events=2)]
    received = []
    with pytest.raises(sdk.UnavailableError, match="restarting"):
        for event in client.generate("bird", request_id=str(uuid.uuid4())):
            received.append(event)
    assert kinds(received) == ["Accepted", "Preview"]
    assert len(service.requests) == 2


def test_a_stream_without_its_last_event_is_an_error(client: Client, service: Service) -> None:
    service.truncated = True
    with pytest.raises(sdk.InternalError, match="before its last event"):
        list(client.generate("bird"))


@pytest.mark.parametrize("way", ["close", "with", "break"])
def test_leaving_a_stream_cancels_the_call(client: Client, service: Service, way: str) -> None:
    service.faults = [Hang(after_events=1)]
    if way == "close":
        events = client.generate("bird")
        assert isinstance(next(events), Accepted)
        events.close()
    elif way == "with":
        with client.generate("bird") as events:
            assert isinstance(next(events), Accepted)
    else:
        for event in client.generate("bird"):
            assert isinstance(event, Accepted)
            break
        gc.collect()
    assert service.ended.wait(5)


def test_a_call_that_takes_too_long_is_given_up(client: Client, service: Service) -> None:
    service.faults = [Hang()]
    started = time.monotonic()
    with pytest.raises(sdk.DeadlineExceededError):
        client.generate_images("bird", timeout=0.3)
    assert time.monotonic() - started < 5
    assert service.ended.wait(5)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.value[0] != 0])
def test_every_code_has_an_exception_of_its_own(code: grpc.StatusCode, service: Service) -> None:
    service.faults = [Refusal(code, "what happened\nin two lines")]
    with (
        Client(service.address, max_retries=0) as client,
        pytest.raises(sdk.ServiceError) as caught,
    ):
        client.generate_images("bird")
    assert caught.value.code is code
    assert type(caught.value) is not sdk.ServiceError
    assert type(caught.value).__name__.upper() == code.name.replace("_", "") + "ERROR"
    assert str(caught.value) == "what happened in two lines"


def test_an_error_carries_what_the_service_told(client: Client, service: Service) -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="count", description="is 99; 1 to 16"),
        error_details_pb2.BadRequest.FieldViolation(field="seeds[2]", description="twice"),
    ]
    details = (
        error_details_pb2.ErrorInfo(reason="INVALID_FIELDS", domain="t2i"),
        error_details_pb2.RequestInfo(request_id="r-1"),
        error_details_pb2.BadRequest(field_violations=violations),
    )
    service.faults = [Refusal(grpc.StatusCode.INVALID_ARGUMENT, "the request", details)]
    with pytest.raises(sdk.InvalidArgumentError) as caught:
        client.generate_images("bird")
    error = caught.value
    assert error.violations == (
        sdk.FieldViolation("count", "is 99; 1 to 16"),
        sdk.FieldViolation("seeds[2]", "twice"),
    )
    assert (error.reason, error.request_id) == ("INVALID_FIELDS", "r-1")
    assert str(error) == "the request (count: is 99; 1 to 16; seeds[2]: twice) [request r-1]"


def test_nobody_at_the_address_is_said_in_one_line() -> None:
    said = pytest.raises(sdk.UnavailableError, match=r"cannot reach 127.0.0.1:1 .*t2i-serve")
    with Client("127.0.0.1:1", max_retries=0) as client, said:
        client.list_models()


def test_a_closed_client_says_so(service: Service) -> None:
    client = Client(service.address)
    client.close()
    client.close()
    for use in (client.list_models, lambda: client.generate("bird")):
        with pytest.raises(sdk.ClientClosed):
            use()


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("text", {"condition": "  "}),
        ("condition", {"condition": 7}),
        ("count", {"count": 0}),
        ("count", {"count": True}),
        ("seeds[1]", {"seeds": [1, -1]}),
        ("seeds[0]", {"seeds": [2**63]}),
        ("format", {"format": "gif"}),
        ("quality", {"quality": 101}),
        ("truncation", {"truncation": float("nan")}),
        ("model", {"model": 3}),
        ("timeout", {"timeout": 0}),
    ],
)
def test_what_no_request_can_carry_is_refused_at_once(
    client: Client, service: Service, field: str, arguments: dict[str, object]
) -> None:
    arguments = {"condition": "bird", **arguments}
    with pytest.raises(InvalidInput) as caught:
        client.generate(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert service.requests == []


def test_a_picture_is_saved_as_its_suffix_says(client: Client, tmp_path: Path) -> None:
    picture = client.generate_images("bird", seeds=[6]).images[0]
    assert picture.save(tmp_path / "bird.png").read_bytes() == picture.data
    picture.save(tmp_path / "bird.webp")
    with Image.open(tmp_path / "bird.webp") as read:
        assert (read.format, read.size) == ("WEBP", (8, 8))
    with pytest.raises(InvalidInput, match="suffix"):
        picture.save(tmp_path / "bird.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bird.png", "bird.webp"]


def test_a_notebook_shows_a_png_whatever_came(client: Client) -> None:
    raw = client.generate_images("bird", format="raw").images[0]
    assert raw._repr_png_().startswith(b"\x89PNG")


def test_damaged_bytes_are_refused_in_one_line() -> None:
    damaged = sdk.ServedImage(b"no picture", "png", 8, 8, seed=1, index=0, stage=1)
    with pytest.raises(InvalidInput, match="no png picture of 8×8"):
        damaged.pil()


def test_a_token_goes_with_every_call(service: Service) -> None:
    with Client(service.address, token="secret") as client:
        client.list_models()
        list(client.generate("bird"))
    assert service.tokens == ["Bearer secret"] * 2


def test_the_environment_names_address_and_token(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_ADDRESS", service.address)
    monkeypatch.setenv("T2I_TOKEN", "from the environment")
    with Client() as client:
        client.list_models()
    assert service.tokens == ["Bearer from the environment"]


def test_a_service_on_a_socket_file_is_reached(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/s"
    service = Service()
    bound = serving(service, lambda server: server.add_insecure_port(address))
    with bound, Client(address) as client:
        assert client.list_models()[0].name == "squares"


def test_a_service_that_knows_no_ways_is_told_apart(service: Service) -> None:
    with Client(service.address) as client, pytest.raises(UnimplementedError, match="1 of 3"):
        client.interpolate("a red bird", "a blue bird", steps=3, seed=7)
    with Client(service.address) as client, pytest.raises(InvalidInput, match="fine_from"):
        client.generate_images("a red bird", fine_from=32)
