"""Each kind of condition, asked of the real server by the SDK and the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from t2i import Attributes, Code, Condition, Label, Pipeline
from t2i.cli import main
from t2i.client import AsyncClient, Client, InvalidArgumentError
from t2i.errors import InvalidInput

ASKS: dict[str, tuple[Condition | None, list[str]]] = {
    "codes": (Code((2,), (0.5, 1.0, 0.0)), ["--code", "2,0.5,1,0"]),
    "digits": (Label("two"), ["--label", "2"]),
    "plumage": (
        Attributes({"crown": "red", "crest": True, "size": 0.25}),
        ["--attribute", "crown=red", "--attribute", "crest=true", "--attribute", "size=0.25"],
    ),
    "seeds": (None, []),
}


@pytest.fixture(scope="session")
def pipelines(others: list[Path]) -> dict[str, Pipeline]:
    return {folder.name: Pipeline.from_pretrained(folder) for folder in others}


@pytest.mark.parametrize("name", ASKS)
async def test_all_ways_of_asking_draw_the_same_pictures(
    name: str,
    address: str,
    client: Client,
    pipelines: dict[str, Pipeline],
    others: list[Path],
    tmp_path: Path,
) -> None:
    condition, options = ASKS[name]
    expected = [i.array for i in pipelines[name].generate(condition, seeds=[7, 8]).images]
    served = client.generate_images(condition, seeds=[7, 8], model=name)
    async with AsyncClient(address, timeout=120) as asynchronous:
        again = await asynchronous.generate_images(condition, seeds=[7, 8], model=name)
    for theirs, others_, ours in zip(served, again, expected, strict=True):
        assert np.array_equal(np.asarray(theirs.pil()), ours)
        assert theirs.data == others_.data
    folder = next(folder for folder in others if folder.name == name)
    for where in (["--server", address, "--model", name], ["--model", str(folder)]):
        out = tmp_path / f"{len(where)}"
        result = CliRunner().invoke(
            main, ["generate", *options, "--seed", "7", "--count", "2", *where, "--out", str(out)]
        )
        assert result.exit_code == 0, result.stderr
        for path, ours in zip(sorted(out.iterdir()), expected, strict=True):
            with Image.open(path) as picture:
                assert np.array_equal(np.asarray(picture), ours)


async def test_callers_of_all_models_at_once_get_what_each_would_get_alone(
    address: str, pipelines: dict[str, Pipeline]
) -> None:
    asked = [(name, ASKS[name][0], seed) for seed in range(4) for name in ASKS]
    async with AsyncClient(address, timeout=120) as client:
        results = await asyncio.gather(
            *(
                client.generate_images(condition, seeds=[seed], model=name, format="raw")
                for name, condition, seed in asked
            )
        )
    for (name, condition, seed), result in zip(asked, results, strict=True):
        alone = pipelines[name].generate(condition, seeds=[seed]).images[0]
        assert result.images[0].data == alone.array.tobytes()


def test_a_model_tells_what_it_takes(client: Client, pipelines: dict[str, Pipeline]) -> None:
    for name, pipeline in pipelines.items():
        model, info = client.get_model(name), pipeline.info
        assert model.conditions == info.conditions
        assert model.labels == info.labels
        assert model.code == info.code
        assert model.attributes == info.attributes


@pytest.mark.parametrize(
    ("name", "condition", "field", "words"),
    [
        ("digits", None, "condition", "give label (zero, one, two, 1999)"),
        ("digits", "a two", "condition.text", "give label (zero, one, two, 1999)"),
        ("digits", Label("tow"), "condition.label.name", "did you mean 'two'?"),
        ("codes", Code((3,), (0, 0, 0)), "condition.code.categorical[0]", "give 0 to 2"),
        ("codes", Code((1,), (0, 3, 0)), "condition.code.continuous[1]", "give 0 to 2"),
        ("plumage", Attributes({"crown": "red"}), "condition.attributes", "crest, size is missing"),
        ("seeds", Label("two"), "condition.label", "leave the condition out"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_field(
    client: Client, name: str, condition: Condition | str | None, field: str, words: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.generate_images(condition, model=name)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert words in violation.description


async def test_a_sweep_is_the_same_here_and_there(
    address: str, client: Client, pipelines: dict[str, Pipeline]
) -> None:
    start = Code((1,), (0.5, 0.0, 0.0))
    here = pipelines["codes"].sweep("tilt", start=start, steps=3, seed=7)
    there = client.sweep("tilt", start=start, steps=3, seed=7, model="codes")
    async with AsyncClient(address, timeout=120) as asynchronous:
        again = await asynchronous.sweep("tilt", start=start, steps=3, seed=7, model="codes")
    assert there.codes == again.codes == here.conditions
    assert [code.continuous[0] for code in there.codes] == [-1.0, 0.0, 1.0]
    assert (there.seed, there.model.name) == (7, "codes")
    for ours, theirs, others in zip(here.images, there, again, strict=True):
        assert np.array_equal(np.asarray(theirs.pil()), ours.array)
        assert theirs.data == others.data
    with pytest.raises(InvalidInput, match="no part of the code is named 'wings'; give one of dig"):
        client.sweep("wings", model="codes")


def test_the_command_makes_a_sheet_with_a_row_for_each_seed(
    address: str, others: list[Path], tmp_path: Path
) -> None:
    sheets = []
    for number, where in enumerate((["--model", str(others[0])], ["--server", address])):
        model = ["--model", "codes"] if number else []
        out = tmp_path / f"{number}.png"
        arguments = ["--code-sweep", "digit", "--seed", "3", "--count", "2", "--out", str(out)]
        result = CliRunner().invoke(main, ["generate", *arguments, *where, *model])
        assert result.exit_code == 0, result.stderr
        assert "6 pictures of 32×32 px by codes, seeds 3, 4" in result.stderr
        sheets.append(out.read_bytes())
        with Image.open(out) as sheet:
            assert sheet.size == (3 * 32 + 2 * 2, 2 * 32 + 2)
    assert sheets[0] == sheets[1]


def test_the_list_of_models_says_what_is_drawn_by_seed_alone(address: str) -> None:
    result = CliRunner().invoke(main, ["models", "--server", address])
    line = next(line for line in result.stdout.splitlines() if line.startswith("seeds "))
    assert "from seed alone" in line
