from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i import Pipeline, Text
from t2i.client import (
    Accepted,
    AsyncClient,
    Client,
    Completed,
    Finished,
    InvalidArgumentError,
    NotFoundError,
    Preview,
)
from t2i.conditions import Label

CAPTION = "small bird with red head"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def pipeline(bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(bundle)


def command(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=3000, cwd=folder, env=environment,
    )  # fmt: skip


def test_a_caption_becomes_previews_and_pictures(client: Client, bundle: Path) -> None:
    events = list(client.generate(CAPTION, seeds=[7, 8]))
    first, *middle, last = events
    assert isinstance(first, Accepted) and first.seeds == (7, 8)
    assert first.model.name == "untrained" and first.resolutions == (8, 16, 32)
    assert isinstance(last, Finished) and last.count == 2
    shown = [(event.image.index, event.image.resolution) for event in middle]
    for index in (0, 1):
        assert [resolution for i, resolution in shown if i == index] == [8, 16, 32]
    for event in middle:
        assert isinstance(event, Completed if event.image.resolution == 32 else Preview)
        assert event.image.pil().size == (event.image.resolution,) * 2


def test_server_and_pipeline_draw_the_same_bytes(client: Client, pipeline: Pipeline) -> None:
    seeds = [1, 2, 3]
    served = client.generate_images(CAPTION, seeds=seeds)
    here = pipeline.generate(Text(CAPTION), count=3, seeds=seeds)
    for theirs, ours in zip(served.images, here.images, strict=True):
        assert theirs.seed == ours.seed
        assert np.array_equal(np.asarray(theirs.pil()), ours.array)


async def test_many_callers_at_once_get_what_each_would_get_alone(
    address: str, pipeline: Pipeline
) -> None:
    captions = [CAPTION, "large blue bird in flight", "a bird", "yellow bird on the ground"]
    asked = [(captions[n % 4], n, n % 3 + 1) for n in range(16)]
    async with AsyncClient(address, timeout=120) as client:
        results = await asyncio.gather(
            *(
                client.generate_images(caption, seeds=range(seed, seed + count), format="raw")
                for caption, seed, count in asked
            )
        )
    for (caption, seed, count), result in zip(asked, results, strict=True):
        alone = pipeline.generate(caption, count=count, seeds=list(range(seed, seed + count)))
        assert [i.data for i in result.images] == [i.array.tobytes() for i in alone.images]


def test_without_seeds_the_service_tells_those_that_draw_the_same_again(client: Client) -> None:
    first = client.generate_images(CAPTION, count=2)
    again = client.generate_images(CAPTION, seeds=[image.seed for image in first])
    assert [image.data for image in first] == [image.data for image in again]
    assert len({image.data for image in first}) == 2


def test_the_service_names_the_field_that_it_cannot_use(client: Client) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.generate_images(CAPTION, count=17)
    assert [violation.field for violation in caught.value.violations] == ["count"]
    assert caught.value.request_id
    with pytest.raises(InvalidArgumentError) as caught:
        list(client.generate(Label(name="robin")))
    assert "condition" in caught.value.violations[0].field
    with pytest.raises(NotFoundError, match="untrained"):
        client.generate_images(CAPTION, model="flowers")


def test_models_are_described_as_their_bundle_does(client: Client, pipeline: Pipeline) -> None:
    model = client.list_models()[0]
    assert model == client.get_model("untrained") == client.get_model()
    assert (model.name, model.checksum) == (pipeline.info.name, pipeline.info.checksum)
    assert model.resolutions == (8, 16, 32) and model.conditions == ("text",)


def test_the_command_draws_the_same_here_and_there(
    address: str, bundle: Path, tmp_path: Path
) -> None:
    draw = ("-m", "t2i.cli", "generate", CAPTION, "--seed", "7", "--count", "2", "--previews")
    here = command(*draw, "--model", bundle, "--out", "here.png", folder=tmp_path)
    assert here.returncode == 0, here.stderr
    assert here.stdout == "here.png\n"
    there = command(*draw, "--server", address, "--out", "there.png", folder=tmp_path)
    assert there.returncode == 0, there.stderr
    assert (tmp_path / "here.png").read_bytes() == (tmp_path / "there.png").read_bytes()
    with Image.open(tmp_path / "here.png") as sheet:
        assert sheet.size == (3 * 32 + 2 * 2, 2 * 32 + 2)


def test_the_demonstration_leaves_pictures_and_no_server(bundle: Path, tmp_path: Path) -> None:
    script = ROOT / "examples" / "demo.py"
    arguments = ("--model", bundle, "--out", "demo", "--patience", "1000")
    done = command(script, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in ("Ready on 127.0.0.1:", "first preview", "final picture", "Server stopped."):
        assert said in done.stdout
    files = {path.name for path in (tmp_path / "demo").iterdir()}
    stem = "small-bird-with-red-head"
    assert files == {
        f"{stem}-8px.png", f"{stem}-16px.png", f"{stem}.png",
        f"{stem}-large.png", f"{stem}-stages.png",
    }  # fmt: skip
    address = done.stdout.split("Ready on ")[1].split()[0]
    with Client(address, max_retries=0) as client, pytest.raises(Exception, match="cannot reach"):
        client.get_model()


def test_a_file_of_captions_becomes_one_sheet(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a red bird\n\n a blue bird \na green bird\n")
    script = ROOT / "examples" / "captions.py"
    arguments = ("captions.txt", "--model", bundle, "--count", "3", "--out", "sheet.png")
    done = command(script, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sheet.png\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        strip = 3 * 32 + 2 * 2
        assert sheet.width == 2 * strip + 8
        first = Pipeline.from_pretrained(bundle).generate("a blue bird", seeds=[0]).images[0]
        there = sheet.crop((strip + 8, 0, strip + 8 + 32, 32))
        assert there.tobytes() == first.pil().tobytes()
    (tmp_path / "none.txt").write_text("\n")
    failed = command(script, "none.txt", "--model", bundle, folder=tmp_path)
    assert failed.returncode == 2 and "captions: none.txt holds no caption" in failed.stderr


def test_a_bundle_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = command("-m", "t2i.cli", "generate", "a bird", "--model", "nowhere", folder=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
