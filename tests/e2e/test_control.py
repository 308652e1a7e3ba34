"""Ways between pictures, and coarse and fine captions: the same bytes wherever they are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from t2i import Label, Pipeline
from t2i.cli import main
from t2i.client import AsyncClient, Client, Completed, InvalidArgumentError, Preview
from tests.t2i.small_bundle import save_conditioned

RED, BLUE = "a red bird", "a blue bird flying"


@pytest.fixture(scope="module")
def pipeline(bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(bundle)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def test_a_way_is_the_same_from_the_service_and_in_this_process(
    client: Client, pipeline: Pipeline
) -> None:
    way = client.interpolate(RED, BLUE, steps=5, seed=(7, 8))
    here = pipeline.interpolate(RED, BLUE, steps=5, seed=(7, 8))
    assert (way.seeds, way.places) == ((7, 8), (0, 0.25, 0.5, 0.75, 1))
    for theirs, ours in zip(way, here.images, strict=True):
        assert np.array_equal(np.asarray(theirs.pil()), ours.array)
    noise = client.interpolate(RED, steps=3, seed=(7, 8))
    assert noise[0].data == client.generate_images(RED, seeds=[7])[0].data
    assert noise[2].data == client.generate_images(RED, seeds=[8])[0].data


async def test_a_long_way_is_cut_into_requests_without_a_seam(address: str) -> None:
    async with AsyncClient(address) as client:
        long = await client.interpolate(RED, BLUE, steps=17, seed=7, format="raw")
        short = await client.interpolate(RED, BLUE, steps=9, seed=7, format="raw")
    assert [image.data for image in long][::2] == [image.data for image in short]
    assert {image.seed for image in long} == {7}


def test_a_way_between_labels_and_one_by_seeds_alone(client: Client) -> None:
    labels = client.interpolate(Label("one"), Label("two"), steps=3, seed=7, model="digits")
    ends = [client.generate_images(Label(n), seeds=[7], model="digits")[0] for n in ("one", "two")]
    assert [labels[0].data, labels[2].data] == [end.data for end in ends]
    seeds = client.interpolate(steps=3, seed=(1, 2), model="seeds")
    assert seeds[2].data == client.generate_images(seeds=[2], model="seeds")[0].data


def test_the_end_of_a_way_is_checked_like_its_beginning(client: Client) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        client.interpolate(RED, Label("one"), steps=3, seed=7)
    assert [v.field for v in caught.value.violations] == ["interpolation.condition.label"]


def test_coarse_and_fine_are_the_same_from_the_service_and_in_this_process(
    client: Client, others: list[Path]
) -> None:
    assert client.get_model("staged").takes_fine and not client.get_model("untrained").takes_fine
    asked = {"seeds": [7], "fine": BLUE, "fine_from": 32}
    theirs = client.generate_images(RED, **asked, model="staged")[0]
    ours = Pipeline.from_pretrained(others[-2]).generate(RED, **asked).images[0]
    assert np.array_equal(np.asarray(theirs.pil()), ours.array)
    streamed = list(client.generate(RED, **asked, model="staged"))[-2]
    assert streamed.image.data == theirs.data  # type: ignore[union-attr]
    with pytest.raises(InvalidArgumentError, match="8 is no later stage of staged"):
        client.generate_images(RED, fine=BLUE, fine_from=8, model="staged")
    with pytest.raises(InvalidArgumentError, match="all stages of untrained follow one condition"):
        client.generate_images(RED, fine=BLUE)


def test_the_command_draws_the_same_strip_here_and_there(run, address: str, bundle: Path) -> None:
    asked = ("interpolate", RED, BLUE, "--steps", "4", "--seed", "7")
    here = run(*asked, "--model", bundle, "--out", "here.png")
    assert here.exit_code == 0, here.stderr
    assert "4 pictures of 32×32 px by untrained, seed 7" in here.stderr
    there = run(*asked, "--server", address, "--out", "there.png")
    assert there.exit_code == 0, there.stderr
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()
    with Image.open("here.png") as strip:
        assert strip.size == (4 * 32 + 3 * 2, 32)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_film_holds_every_picture_of_the_way_and_back(run, bundle: Path, suffix: str) -> None:
    asked = ("interpolate", RED, "--to-seed", "8", "--seed", "7", "--steps", "4", "--and-back")
    for name in ("one", "two"):
        done = run(*asked, "--scale", "2", "--model", bundle, "--out", name + suffix)
        assert done.exit_code == 0, done.stderr
        assert "seeds 7, 8" in done.stderr
    with Image.open("one" + suffix) as film:
        assert (film.n_frames, film.size) == (6, (64, 64))
    assert Path("one" + suffix).read_bytes() == Path("two" + suffix).read_bytes()


def test_the_command_reads_the_words_of_any_model(run, tmp_path: Path) -> None:
    digits = save_conditioned(tmp_path, "digits")
    done = run("interpolate", "one", "two", "--steps", "2", "--model", digits, "--out", "frames")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.split()) == 2
    wrong = run("interpolate", "one", "eleven", "--model", digits)
    assert wrong.exit_code == 2 and "eleven" in wrong.stderr


def test_a_way_without_a_change_is_wrong_use(run) -> None:
    done = run("interpolate", RED, "--seed", "7")
    assert done.exit_code == 2 and "give TO, or --to-seed" in done.stderr
    back = run("interpolate", RED, BLUE, "--and-back", "--out", "way.png")
    assert back.exit_code == 2 and "--and-back is for a film" in back.stderr


def test_generate_takes_a_fine_caption_here_and_there(
    run, address: str, others: list[Path]
) -> None:
    asked = ("generate", RED, "--fine", BLUE, "--fine-from", "32", "--seed", "7")
    assert run(*asked, "--model", others[-2], "--out", "here.png").exit_code == 0
    there = run(*asked, "--server", address, "--model", "staged", "--out", "there.png")
    assert there.exit_code == 0, there.stderr
    off = run(*asked[:2], "--seed", "7", "--model", others[-2], "--out", "off.png")
    assert off.exit_code == 0, off.stderr
    here, there, off = (Path(f"{n}.png").read_bytes() for n in ("here", "there", "off"))
    assert here == there != off
    wrong = run("generate", RED, "--fine-from", "32")
    assert wrong.exit_code == 2 and "--fine-from is for --fine" in wrong.stderr


def test_the_best_of_several_is_the_same_from_the_service_and_in_this_process(
    client: Client, pipeline: Pipeline
) -> None:
    assert client.get_model("untrained").has_scorer
    theirs = client.generate_images(RED, seeds=[7, 8, 9], best_of=5)
    ours = pipeline.generate(RED, seeds=[7, 8, 9], best_of=5)
    assert [image.seed for image in theirs] == list(ours.seeds)
    assert [image.score for image in theirs] == list(ours.scores)
    for one, other in zip(theirs, ours.images, strict=True):
        assert np.array_equal(np.asarray(one.pil()), other.array)
    events = list(client.generate(RED, seeds=[7, 8, 9], best_of=5))
    last = {e.image.index: e.image for e in events if isinstance(e, Completed)}
    assert [last[n].data for n in range(3)] == [image.data for image in theirs]
    assert sum(isinstance(event, Preview) for event in events) == 6
    assert client.generate_images(RED, seeds=[7])[0].score is None


def test_the_command_tells_the_scores_here_and_there(run, address: str, bundle: Path) -> None:
    asked = ("generate", RED, "--best-of", "8", "--count", "10", "--seed", "7")
    here = run(*asked, "--model", bundle, "--out", "here.png")
    assert here.exit_code == 0, here.stderr
    there = run(*asked, "--server", address, "--out", "there.png")
    assert there.exit_code == 0, there.stderr
    assert here.stderr == there.stderr and ", scores " in here.stderr
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()
    wrong = run("generate", RED, "--best-of", "2", "--fine", BLUE)
    assert wrong.exit_code == 2 and "leave out --fine" in wrong.stderr


def test_the_maps_of_words_are_the_same_from_the_service_and_in_this_process(
    client: Client, others: list[Path]
) -> None:
    assert client.get_model("attentive").attention_words == 6
    here = Pipeline.from_pretrained(others[-1])
    ours = here.generate("red bird", seeds=[7], attention=True).images[0].attention
    answer = client.generate_images("red bird", seeds=[7], model="attentive", attention=True)
    theirs = answer[0].attention
    assert [map.word for map in theirs] == [map.word for map in ours] == ["red", "bird"]
    for one, other in zip(theirs, ours, strict=True):
        got = np.asarray(one.pil()) / 255 * one.largest
        assert got.shape == (16, 16)
        assert float(np.abs(got - other.weights).max()) <= one.largest / 500
    with pytest.raises(InvalidArgumentError, match="does not attend to words"):
        client.generate_images(RED, attention=True)


def test_the_command_shows_the_maps_here_and_there(run, address: str, others: list[Path]) -> None:
    asked = ("generate", "red bird", "--attention", "--count", "2", "--seed", "7", "--scale", "2")
    here = run(*asked, "--model", others[-1], "--out", "here.png")
    assert here.exit_code == 0, here.stderr
    there = run(*asked, "--server", address, "--model", "attentive", "--out", "there.png")
    assert there.exit_code == 0, there.stderr
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()
    with Image.open("here.png") as sheet:
        assert sheet.size == (3 * 64 + 2 * 4, 2 * 76 + 4)
    folder = run(*asked, "--model", others[-1], "--out", "folder")
    assert folder.stdout.split()[-1] == "folder/attention.png"
