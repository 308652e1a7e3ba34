"""A whole run on data without captions: from a folder of classes, or points, to what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2i.bundle import Bundle
from tests.training.conftest import squares
from tests.training.zoo.samples import Points, ring
from training.data.pictures import PictureData
from training.errors import TrainingError
from training.export_samples import load_generator
from training.prepare import Options, sheet_of, spec_of
from training.registry import find_recipe
from training.run import run
from training.sheets import ScatterSheet, TokenSheet

SMALL = {"width": 4, "noise_dim": 5, "batch_size": 8}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> list[PictureData | Points]:
    """What the run loads instead of files; the rest of the run is as ever."""
    held: list[PictureData | Points] = [squares()]
    monkeypatch.setattr("training.prepare._load", lambda options, shown: held[0])
    return held


def test_a_labelled_run_leaves_a_bundle_that_draws_by_label(
    tmp_path: Path, data: list[PictureData | Points]
) -> None:
    options = Options("squares", tmp_path, kimg=0.064, resolution=16, grid_kimg=0.032)
    folder = run(find_recipe("cgan"), options, SMALL, shown=False)
    config = Bundle.load(folder).config
    assert config.conditions == ("label",)
    assert config.labels == ("red", "green", "blue")
    assert config.resolutions == (16,)
    sheets = sorted((tmp_path / "grids").glob("*.png"))
    assert sheets
    with Image.open(sheets[-1]) as sheet:
        # A row a class, eight columns, and white between them.
        assert sheet.width > 8 * 16 and sheet.height > 3 * 16
    assert (tmp_path / "grids" / "rows.txt").read_text().split() == ["red", "green", "blue"]
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert "D/adversarial" in json.loads(lines[-1])
    assert list(tmp_path.rglob("events.out.tfevents*"))
    longer = Options("squares", tmp_path, kimg=0.096, resolution=16, grid_kimg=0.032)
    assert run(find_recipe("cgan"), longer, SMALL, shown=False) == folder


def test_a_run_on_points_leaves_a_generator_and_plots(
    tmp_path: Path, data: list[PictureData | Points]
) -> None:
    data[0] = ring()
    options = Options("ring", tmp_path, kimg=0.064)
    folder = run(find_recipe("wgan-gp"), options, SMALL, shown=False)
    generator = load_generator(folder)
    drawn = generator(torch.zeros(3, 0), torch.zeros(3, 5)).pictures[-1]
    assert drawn.shape == (3, 2)
    assert list((tmp_path / "grids").glob("*.png"))


def test_a_run_goes_on_only_as_it_was_started(
    tmp_path: Path, data: list[PictureData | Points]
) -> None:
    data[0] = ring()
    recipe, options = find_recipe("wgan-gp"), Options("ring", tmp_path, kimg=0.032)
    run(recipe, options, SMALL, shown=False)
    with pytest.raises(TrainingError, match=r"seed was 0, now 1; noise_dim was 5, now 6"):
        other = Options("ring", tmp_path, kimg=0.032, seed=1)
        run(recipe, other, {**SMALL, "noise_dim": 6}, shown=False)
    # A version that did not know an option yet left it out: it was as it is by default.
    started = tmp_path / "run.json"
    kept = json.loads(started.read_text())
    started.write_text(json.dumps({n: v for n, v in kept.items() if n not in ("eyes", "flip")}))
    with pytest.raises(TrainingError, match=r"\(flip was True, now False\)"):
        run(recipe, Options("ring", tmp_path, kimg=0.064, flip=False), SMALL, shown=False)
    run(recipe, Options("ring", tmp_path, kimg=0.064), SMALL, shown=False)


def test_a_captioned_recipe_refuses_points(
    tmp_path: Path, data: list[PictureData | Points]
) -> None:
    data[0] = ring()
    with pytest.raises(TrainingError, match="has no captions; recipe t2i learns from captions"):
        run(find_recipe("t2i"), Options("ring", tmp_path), {}, shown=False)


def test_the_spec_says_what_the_data_gives() -> None:
    pictures = spec_of(squares(), 6)
    assert pictures.sample_shape == (3, 16, 16)
    assert (pictures.n_classes, pictures.condition_dim, pictures.size) == (3, 6, 24)
    points = spec_of(ring())
    assert (points.kind, points.sample_shape, points.labelled) == ("points", (2,), 64)
    tokens = Points("words", "b" * 64, np.arange(12).reshape(4, 3), None, ())
    found = spec_of(tokens)
    assert (found.kind, found.vocabulary, found.sample_shape) == ("tokens", 12, (3,))


class Fixed(torch.nn.Module):
    """A generator that says the same whatever it is asked."""

    noise_dim = 2
    condition_dim = 0

    def __init__(self, sample: torch.Tensor) -> None:
        super().__init__()
        self.sample = torch.nn.Parameter(sample.float())

    def forward(self, embedding: torch.Tensor, noise: torch.Tensor):  # type: ignore[no-untyped-def]
        from t2i.networks import Drawn

        return Drawn((self.sample.expand(len(noise), *self.sample.shape),))


def test_tokens_are_written_as_lines(tmp_path: Path) -> None:
    scores = torch.nn.functional.one_hot(torch.tensor([1, 0, 2]), 3)
    TokenSheet(("a", "b", "c"), torch.zeros(1, 0)).save(Fixed(scores), tmp_path / "x.png")
    lines = (tmp_path / "x.txt").read_text().splitlines()
    assert set(lines) == {"bac"} and len(lines) == 32


def test_points_far_off_and_no_numbers_are_drawn_at_the_edge(tmp_path: Path) -> None:
    sheet = ScatterSheet(ring().samples, torch.zeros(1, 0))
    for point in (torch.tensor([1e9, 0.0]), torch.tensor([float("nan"), 0.0])):
        sheet.save(Fixed(point), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as plot:
            assert plot.size == (480, 480)
            colours = {colour for _, colour in plot.getcolors() or []}
    assert {(255, 255, 255), (190, 190, 190), (30, 80, 220)} <= colours


def test_an_unlabelled_sheet_has_a_seed_of_its_own_in_every_place(tmp_path: Path) -> None:
    from training.zoo.dcgan import dcgan

    data = squares()
    recipe = dcgan(spec_of(data), width=4, generator_width=4)
    sheet_of(recipe, data).save(recipe.networks["generator"].eval(), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.height > 8 * 16
