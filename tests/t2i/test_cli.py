from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from t2i.cli import main
from tests.t2i.client.faulty_service import Refusal, Service, colour, serving


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as address:
        service.address = address
        yield service


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def assert_one_line(result: Result) -> None:
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


def test_one_picture_is_saved_where_it_was_asked_for(run, service: Service) -> None:
    result = run("generate", "a bird", "--seed", "7", "--out", "b.png", "--server", service.address)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "b.png\n"
    assert result.stderr == "1 picture of 8×8 px by squares, seed 7\n"
    with Image.open("b.png") as picture:
        assert (picture.size, picture.getpixel((0, 0))) == ((8, 8), colour(7))


def test_several_pictures_share_a_sheet_in_the_order_of_their_seeds(run, service: Service) -> None:
    arguments = ("--count", "4", "--seed", "7", "--out", "b.png", "--server", service.address)
    result = run("generate", "a bird", *arguments)
    assert "seeds 7, 8, 9, 10" in result.stderr
    with Image.open("b.png") as sheet:
        assert sheet.size == (18, 18)
        corners = [sheet.getpixel(at) for at in [(0, 0), (10, 0), (0, 10), (10, 10)]]
    assert corners == [colour(seed) for seed in (7, 8, 9, 10)]


def test_a_folder_gets_one_file_each(run, service: Service) -> None:
    arguments = ("--count", "2", "--seed", "3", "--previews", "--format", "webp")
    result = run("generate", "a bird", *arguments, "--out", "birds", "--server", service.address)
    assert result.stdout.split() == [
        "birds/000-seed3-4px.webp", "birds/000-seed3.webp",
        "birds/001-seed4-4px.webp", "birds/001-seed4.webp",
    ]  # fmt: skip
    assert sorted(result.stdout.split()) == sorted(str(p) for p in Path("birds").iterdir())


def test_previews_make_a_row_for_each_picture(run, service: Service) -> None:
    arguments = ("--count", "3", "--previews", "--scale", "2", "--out", "b.png")
    assert run("generate", "a bird", *arguments, "--server", service.address).exit_code == 0
    with Image.open("b.png") as sheet:
        assert sheet.size == (2 * 16 + 4, 3 * 16 + 2 * 4)


def test_without_a_name_the_file_is_named_after_caption_and_seed(run, service: Service) -> None:
    result = run("generate", "Small bird, red head!", "--seed", "5", "--server", service.address)
    assert result.stdout == "small-bird-red-head-5.png\n"


def test_more_than_a_request_can_hold_are_several_requests(run, service: Service) -> None:
    arguments = ("--count", "40", "--seed", "100", "--out", "many", "--server", service.address)
    result = run("generate", "a bird", *arguments)
    assert [list(request.seeds) for request in service.requests] == [
        list(range(100, 116)), list(range(116, 132)), list(range(132, 140)),
    ]  # fmt: skip
    assert len(list(Path("many").iterdir())) == 40
    assert "000-seed100.png" in result.stdout and "039-seed139.png" in result.stdout


def test_seeds_go_round_after_the_largest(run, service: Service) -> None:
    largest = 2**63 - 1
    arguments = ("--count", "2", "--seed", largest, "--out", "o", "--server", service.address)
    assert run("generate", "a bird", *arguments).exit_code == 0
    assert list(service.requests[0].seeds) == [largest, 0]


def test_options_reach_the_service(run, service: Service) -> None:
    run(
        "generate", "a bird", "--truncation", "0.5", "--conditioning-truncation", "0.25",
        "--model", "squares", "--server", service.address,
    )  # fmt: skip
    request = service.requests[0]
    assert (request.model, request.condition.text.text) == ("squares", "a bird")
    options = request.options
    assert (options.truncation, options.conditioning_truncation) == (0.5, 0.25)
    assert not request.previews


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "   ", "--server", "127.0.0.1:1"),
        ("generate", "b" * 513, "--server", "127.0.0.1:1"),
        ("generate", "bird", "--server", "nowhere"),
        ("generate", "bird", "--server", "127.0.0.1:1", "--out", "bird.txt"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_with_code_2(run, arguments) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert_one_line(result)


def test_a_refused_field_is_wrong_use_too(run, service: Service) -> None:
    service.faults = [Refusal(grpc.StatusCode.INVALID_ARGUMENT, "truncation: too much")]
    result = run("generate", "bird", "--server", service.address)
    assert result.exit_code == 2
    assert_one_line(result)


@pytest.mark.parametrize(
    "arguments",
    [("--count", "0"), ("--seed", "-1"), ("--truncation", "2"), ("--scale", "17"), ("--wings", "2"),
     ("--server", "127.0.0.1:1", "--device", "cpu")],
)  # fmt: skip
def test_a_wrong_option_ends_with_code_2(run, arguments) -> None:
    result = run("generate", "bird", *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr or "--device" in result.stderr


def test_a_service_that_fails_ends_with_code_1(run, service: Service) -> None:
    service.faults = [Refusal(grpc.StatusCode.INTERNAL, "a fault\nof two lines")]
    result = run("generate", "bird", "--server", service.address)
    assert result.exit_code == 1
    assert_one_line(result)


def test_a_folder_that_cannot_be_written_ends_with_code_1(run, service: Service) -> None:
    Path("taken").write_text("")
    arguments = ("--server", service.address, "--out", "taken/inside/b.png")
    result = run("generate", "bird", *arguments)
    assert result.exit_code == 1
    assert_one_line(result)


def test_models_of_a_service_are_listed_for_people_and_for_programs(run, service: Service) -> None:
    people = run("models", "--server", service.address)
    assert people.stdout.startswith("squares  version 1  4→8 px  from text, scene_graph")
    (model,) = json.loads(run("models", "--server", service.address, "--json").stdout)
    assert model["resolutions"] == [4, 8] and model["is_default"]


def test_the_model_that_comes_with_t2i_is_listed(run) -> None:
    people = run("models")
    assert people.exit_code == 0, people.stderr
    assert people.stdout.startswith("birds-128") and "(default)" in people.stdout
    (model,) = json.loads(run("models", "--json").stdout)
    assert model["conditions"] == ["text"] and model["resolutions"][-1] == 128
