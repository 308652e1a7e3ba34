"""What must hold of every paper; new papers join through the registry."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from t2i.bundle import Bundle
from t2i.encoders import (
    CaptionEncoder,
    TextEncoder,
    WordsEncoder,
    caption_statistics,
    load_text_encoder,
)
from t2i.networks import NETWORKS, CaptionNetwork, build
from t2i.networks.base import PictureGenerator
from t2i.pipeline import Pipeline
from tests.training.conftest import squares
from tests.training.test_trainer import assert_same, weights
from tests.training.zoo.samples import CAPTION, WORDS, Sample, build_recipe, sample_for, trainer_of
from training.data.pictures import PictureData
from training.export_captions import export_bundle
from training.export_samples import export_pictures, load_generator, save_generator
from training.prepare import sheet_of
from training.registry import Entry, recipes
from training.trainer import Trainer

PAPERS = {key: entry for key, entry in recipes().items() if entry.section}


@pytest.fixture(params=list(PAPERS))
def entry(request: pytest.FixtureRequest) -> Entry:
    return PAPERS[request.param]


@pytest.fixture
def data(entry: Entry) -> Sample:
    return sample_for(entry)


def trainer(entry: Entry, data: Sample, out: Path, **changes: object) -> Trainer:
    return trainer_of(build_recipe(entry, data), data, out, **changes)  # type: ignore[arg-type]


def pictures_of(generator: torch.nn.Module) -> torch.Tensor:
    rng = torch.Generator().manual_seed(4)
    assert isinstance(generator.condition_dim, int) and isinstance(generator.noise_dim, int)
    embedding = torch.zeros(3, generator.condition_dim)
    embedding[:, :1] = 1.0
    noise = torch.randn(3, generator.noise_dim, generator=rng)
    with torch.inference_mode():
        drawn: torch.Tensor = generator(embedding, noise).pictures[-1]
    return drawn


def exported(
    entry: Entry,
    run: Trainer,
    average: PictureGenerator,
    data: PictureData,
    folder: Path,
    notes: Mapping[str, object],
) -> Bundle:
    torch.manual_seed(0)
    words = load_text_encoder()
    network = CaptionNetwork(width=8, heads=2, queries=2, code_dim=CAPTION)
    encoder: TextEncoder = CaptionEncoder(words, network)
    if "words" in entry.needs:
        encoder = WordsEncoder(encoder, WORDS)
    return export_bundle(
        folder,
        name="small",
        recipe=entry.key,
        generator=average,
        encoder=encoder,
        statistics=caption_statistics(words.encode(sorted(set(data.flat_captions)))),
        data=data,
        kimg=run.kimg,
        settings=notes,
    )


def test_it_trains_on_its_kind_of_data(entry: Entry, data: Sample, tmp_path: Path) -> None:
    run = trainer(entry, data, tmp_path, precision="bf16", kimg=0.048)
    before = weights(run)
    losses = [report.losses for report in run.train()]
    assert all(torch.isfinite(torch.tensor(list(each.values()))).all() for each in losses)
    after = weights(run)
    learning = {player for phase in run.recipe.phases for player in phase.players}
    for player in learning:
        keys = [f"{player}.{key}" for key, _ in run.networks[player].named_parameters()]
        assert any(not torch.equal(before[key], after[key]) for key in keys), player
    assert set(run.recipe.watched) <= set(losses[-1])
    assert run.recipe.key == entry.key


def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(
    entry: Entry, data: Sample, tmp_path: Path
) -> None:
    unbroken = trainer(entry, data, tmp_path / "a", kimg=0.064)
    list(unbroken.train())
    list(trainer(entry, data, tmp_path / "b", kimg=0.032).train())
    second = trainer(entry, data, tmp_path / "b", kimg=0.064)
    assert second.resume() and 0 < second.kimg < 0.064
    list(second.train())
    assert_same(weights(unbroken), weights(second))


def test_what_is_saved_draws_the_same_after_loading(
    entry: Entry, data: Sample, tmp_path: Path
) -> None:
    run = trainer(entry, data, tmp_path / "run", kimg=0.032)
    list(run.train())
    average = run.average
    assert isinstance(average, PictureGenerator)
    assert type(average).__name__ in NETWORKS
    sheet_of(run.recipe, data).save(average, tmp_path / "sheet.png")
    assert list(tmp_path.glob("sheet.*"))
    again = build(type(average).__name__, average.config).eval()
    again.load_state_dict(average.state_dict())
    assert torch.equal(pictures_of(again), pictures_of(average))
    if not isinstance(data, PictureData):
        save_generator(tmp_path / "generator", average, {"recipe": entry.key})
        loaded = load_generator(tmp_path / "generator")
        assert torch.equal(pictures_of(loaded), pictures_of(average))
        return
    notes = {"seed": 0, "data": "squares", "kimg": 1}
    if entry.learns == "captions":
        bundle = exported(entry, run, average, data, tmp_path / "bundle", notes)
        pipeline = Pipeline.from_pretrained(bundle.folder, "cpu")
        first, again = (pipeline.generate("red", seeds=[1]).images[0].array for _ in range(2))
        assert first.shape == (16, 16, 3) and (first == again).all()
    else:
        bundle = export_pictures(
            tmp_path / "bundle",
            name="small",
            recipe=entry.key,
            generator=average,
            data=data,
            kimg=run.kimg,
            settings=notes,
            asked_with=run.recipe.asked_with,
        )
    served = Bundle.load(bundle.folder).generator()
    # Large weights are stored in half precision.
    torch.testing.assert_close(pictures_of(served), pictures_of(average), atol=5e-3, rtol=0)
    assert torch.equal(pictures_of(served), pictures_of(Bundle.load(bundle.folder).generator()))


@pytest.mark.parametrize("key", [key for key, each in PAPERS.items() if each.learns == "captions"])
def test_caption_and_noise_each_change_what_is_drawn(key: str, tmp_path: Path) -> None:
    run = trainer(PAPERS[key], squares(), tmp_path)
    # At first a condition may have no weight.
    run.play_round()
    run.play_round()
    generator = run.networks["generator"].eval()
    assert isinstance(generator, PictureGenerator)
    torch.manual_seed(1)
    captions, noise = torch.randn(2, 3, generator.condition_dim), torch.randn(2, 3, 5)
    with torch.inference_mode():
        drawn = generator(captions[0], noise[0]).pictures[-1]
        assert not torch.equal(drawn, generator(captions[1], noise[0]).pictures[-1])
        assert not torch.equal(drawn, generator(captions[0], noise[1]).pictures[-1])


def test_its_file_is_short_and_names_its_source(entry: Entry) -> None:
    file = Path(inspect.getfile(inspect.unwrap(entry.build)))
    assert file.stem == entry.key.replace("-", "_")
    lines = file.read_text().splitlines()
    assert len(lines) <= 120, f"{file.name} has {len(lines)} lines"
    assert ast.get_docstring(ast.parse(file.read_text()))
    assert "arXiv:" in entry.text
    assert "Deviations:" in entry.text
    assert entry.section


def test_the_files_of_the_zoo_average_under_eighty_lines() -> None:
    files = {Path(inspect.getfile(inspect.unwrap(each.build))) for each in PAPERS.values()}
    lengths = [len(file.read_text().splitlines()) for file in files]
    assert sum(lengths) / len(lengths) < 80
