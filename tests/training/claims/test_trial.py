"""A trial trains with the real trainer, whatever the generator draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.zoo.samples import ring
from training import registry
from training.claims.claim import Claim, Measured, Trial, claim, claims, find_claim
from training.claims.stand_in import stand_in
from training.claims.trial import draw
from training.data.pictures import PictureData
from training.errors import TrainingError
from training.optimizers import SGD
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register

SMALL = {"width": 4, "noise_dim": 5, "batch_size": 8}


class Point(nn.Module):
    """A generator that nobody can ask: one learned point."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.ones(2))


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> str:
    """A paper whose generator is none of pictures, registered for one test."""
    registry.recipes()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))

    @register(section="A", data="ring8")
    def lonely_point(spec: Spec, *, rate: float = 0.5) -> Recipe:
        """A point that walks to the mean.

        Somebody, 2020, arXiv:2001.00001.

        Args:
            spec: What the data is.
            rate: Of the walk.
        """

        def loss(networks: Networks, batch: Batch) -> Losses:
            place: Tensor = networks["generator"].place  # type: ignore[assignment]
            away = (batch.pictures - place).square().sum(dim=1).mean()
            return Losses(away, {"G/away": away.detach()})

        phase = Phase("generator", SGD(rate), loss)
        return Recipe("", {"generator": Point()}, (phase,), batch_size=64, ema=None)

    return "lonely-point"


def test_a_generator_that_cannot_be_asked_is_trained_all_the_same(
    no_pictures: str, tmp_path: Path
) -> None:
    trained = Trial(seed=0, out=tmp_path).train(no_pictures, ring(), kimg=0.64)
    assert trained.bundle is None
    place = trained.average.place
    assert isinstance(place, Tensor)
    torch.testing.assert_close(place, torch.zeros(2), atol=0.05, rtol=0)
    with pytest.raises(TrainingError, match="cannot be drawn from"):
        trained.draw(3)


def test_a_paper_says_who_wrote_it_and_when(no_pictures: str) -> None:
    source = registry.find_recipe(no_pictures).source
    assert (source.authors, source.year, source.arxiv) == ("Somebody", 2020, ("2001.00001",))
    assert registry.find_recipe("t2i").source.year is None
    both = registry.find_recipe("sngan").source
    assert both.authors == "Miyato, Kataoka, Koyama and Yoshida"
    assert (both.year, both.arxiv) == (2018, ("1802.05957", "1802.05637"))


def test_every_paper_says_who_wrote_it_and_when() -> None:
    for entry in registry.recipes().values():
        if entry.section:
            assert entry.source.authors and entry.source.year and entry.source.arxiv, entry.key


def test_points_are_trained_on_watched_and_drawn(tmp_path: Path) -> None:
    seen: list[nn.Module] = []

    def watch(generator: nn.Module) -> dict[str, float]:
        seen.append(generator)
        return {"calls": float(len(seen)), "left": -float(draw(generator, 4).mean())}

    trial = Trial(seed=3, out=tmp_path)
    trained = trial.train("lsgan", ring(), kimg=0.32, watch=watch, watch_kimg=0.1, **SMALL)
    assert [moment.kimg for moment in trained.moments] == pytest.approx([0.16, 0.32])
    assert trained.best("calls") == trained.moments[-1].figures
    assert trained.best("calls", higher=False) == trained.moments[0].figures
    assert trained.draw(5, batch=2).shape == (5, 2)
    assert torch.equal(trained.draw(5), trained.draw(5, batch=3))
    assert [row["round"] for row in trained.log] == [10, 20, 30, 40]
    assert not any(w.requires_grad for net in trained.networks.values() for w in net.parameters())
    with pytest.raises(TrainingError, match="'modes': was not watched"):
        trained.best("modes")


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def watch(generator: nn.Module) -> dict[str, float]:
        calls.append(1)
        return {"mean": float(draw(generator, 4).mean())}

    def trained() -> tuple[Tensor, object]:
        trial = Trial(seed=0, out=tmp_path)
        run = trial.train("lsgan", ring(), kimg=0.16, watch=watch, **SMALL)
        return run.draw(3), run.moments

    first, moments = trained()
    again, same = trained()
    assert torch.equal(first, again) and moments == same and len(calls) == 1


def test_other_knobs_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    trial = Trial(seed=0, out=tmp_path)
    trial.train("lsgan", ring(), kimg=0.016, **SMALL)
    with pytest.raises(TrainingError, match="width was 4, now 8"):
        trial.train("lsgan", ring(), kimg=0.016, **{**SMALL, "width": 8})
    trial.train("lsgan", ring(), kimg=0.016, name="wider", **{**SMALL, "width": 8})


def test_an_unknown_knob_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="'widht': recipe lsgan has none of that name"):
        Trial(seed=0, out=tmp_path).train("lsgan", ring(), kimg=0.016, widht=4)


def test_pictures_leave_a_bundle(tmp_path: Path) -> None:
    trial = Trial(seed=0, out=tmp_path, quick=True)
    trained = trial.train("cgan", trial.data("mnist", resolution=16), kimg=5000)
    assert trained.bundle is not None and (trained.bundle / "manifest.json").is_file()
    assert json.loads((trained.folder / "run.json").read_text())["kimg"] == 0.032
    assert trial.used.keys() == {"mnist (a stand-in)"}
    asked = torch.eye(10)[:2]
    assert trained.draw(2, embedding=asked).shape == (2, 1, 16, 16)


@pytest.mark.parametrize("name", ["mnist", "stacked-mnist", "cifar10", "svhn"])
def test_a_stand_in_has_the_kind_and_labels_of_the_set(name: str) -> None:
    data = stand_in(name, split="test")
    assert isinstance(data, PictureData)
    assert data.pictures.shape[3] == (1 if name == "mnist" else 3)
    assert len(data.label_names) == (1000 if name == "stacked-mnist" else 10)
    few = stand_in(name, labels=10) if name != "stacked-mnist" else None
    assert few is None or (few.labels is not None and (few.labels >= 0).sum() == 10)


@pytest.mark.parametrize("name", ["ring8", "grid25:5000", "mixture1d", "gaussians", "characters"])
def test_points_and_text_are_the_sets_own_and_few(name: str) -> None:
    data = stand_in(name)
    assert not isinstance(data, PictureData)
    assert 0 < len(data.samples) <= 64


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="measured nothing"):
        Measured({}, holds=True).check("x")
    with pytest.raises(TrainingError, match="figure error is nan"):
        Measured({"error": float("nan")}, holds=True).check("x")
    Measured({"error": float("nan")}, holds=True).check("x", finite=False)
    with pytest.raises(TrainingError, match="best names 'modes'"):
        Measured({"error": 1.0}, holds=True, best={"modes": 1.0}).check("x")
    with pytest.raises(TrainingError, match="picture plot is no PNG"):
        Measured({"error": 1.0}, holds=True, pictures={"plot": tmp_path / "x.png"}).check("x")


def test_a_claim_without_a_docstring_is_refused() -> None:
    with pytest.raises(TypeError, match="claim silent: has no docstring"):

        @claim(paper="none", shows="nothing")
        def silent(trial: Trial) -> Measured:
            return Measured({"one": 1.0}, holds=True)


def test_an_unknown_claim_names_those_there_are() -> None:
    with pytest.raises(TrainingError, match=r"claim 'nobody' is not known; there are ac-gan, "):
        find_claim("nobody")
    assert isinstance(claims()["gan"], Claim)
