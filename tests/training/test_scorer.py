"""The scorer of a bundle: it learns to tell which caption a picture shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from t2i.bundle import Bundle
from t2i.networks import Scorer
from t2i.pipeline import Pipeline
from tests.t2i.small_bundle import save_conditioned, save_small, small_config
from tests.training.conftest import embeddings_of, squares
from training.cli import main
from training.data.wrong_captions import WrongCaptions
from training.export import rewrite_bundle
from training.scorer import fit_scorer


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))


def test_a_scorer_learns_which_caption_a_picture_shows() -> None:
    data = squares()
    embeddings = embeddings_of(data)
    scorer = fit_scorer(
        data, embeddings, WrongCaptions(data, embeddings, seed=0),
        steps=25, batch_size=8, learning_rate=5e-3, width=16, places=2, code_dim=8, progress=False,
    )  # fmt: skip
    pictures = torch.from_numpy(np.array(data.pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    assert data.labels is not None
    first = [int(np.flatnonzero(data.labels == label)[0]) for label in range(3)]
    asked = torch.from_numpy(embeddings[data.caption_starts[first]])
    with torch.inference_mode():
        scores = torch.stack(
            [scorer(pictures, row.expand(len(pictures), -1)) for row in asked], dim=1
        )
    assert float((scores.argmax(dim=1).numpy() == data.labels).mean()) > 0.9
    assert bool((scores.abs() <= 1 + 1e-6).all())


def test_a_scorer_reads_the_first_numbers_of_an_embedding_and_pictures_of_any_side() -> None:
    torch.manual_seed(0)
    scorer = Scorer(embedding_dim=6, resolution=16, width=4, places=2, code_dim=8).eval()
    pictures, embeddings = torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 9)
    scores = scorer(pictures, embeddings)
    assert torch.equal(scores, scorer(pictures, embeddings[:, :6]))
    assert not torch.allclose(scores, scorer(pictures, embeddings.roll(1, dims=0)))
    larger = pictures.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(scorer(larger, embeddings), scores, atol=0.1, rtol=0)
    grey = pictures[:, :1]
    assert torch.equal(scorer(grey, embeddings), scorer(grey.repeat(1, 3, 1, 1), embeddings))
    with pytest.raises(ValueError, match="resolution: 4"):
        Scorer(resolution=4)


def _folder(root: Path) -> Path:
    root.mkdir()
    for number in range(20):
        colour = [(200, 30, 30), (30, 30, 200)][number % 2]
        Image.new("RGB", (32, 32), colour).save(root / f"{number}.png")
        (root / f"{number}.txt").write_text(["a red square", "a blue square"][number % 2])
    return root


def test_the_command_adds_a_scorer_and_changes_nothing_else(tmp_path: Path) -> None:
    before = save_small(tmp_path / "before")
    asked = ["scorer", str(before), "--data", str(_folder(tmp_path / "data")), "--split", "all"]
    asked += ["--steps", "1", "--batch-size", "4", "--quiet", "--out", str(tmp_path / "after")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    old, new = Bundle.load(before), Bundle.load(tmp_path / "after")
    assert new.config.scorer is not None and old.config.scorer is None
    weights = old.state("generator")
    assert all(torch.equal(weights[name], value) for name, value in new.state("generator").items())
    assert "## Scorer" in new.card() and "--split all" in new.card()
    one, two = (Pipeline(bundle, device="cpu") for bundle in (old, new))
    plain = [each.generate("a bird", seeds=[1]).images[0].array for each in (one, two)]
    assert np.array_equal(*plain)
    assert two.generate("a bird", seeds=[1], best_of=3).scores[0] is not None


def test_pictures_of_the_generators_training_are_refused(tmp_path: Path) -> None:
    data = _folder(tmp_path / "data")
    notes = {"data": data.name, "settings": {"data": str(data)}}
    bundle = save_small(tmp_path / "b", small_config(training=notes))
    asked = ["scorer", str(bundle), "--data", str(data), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1 and "was trained on these pictures" in done.output
    digits = save_conditioned(tmp_path, "digits")
    asked = ["scorer", str(digits), "--data", str(data), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1 and "takes no captions" in done.output


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_rewritten_bundle_keeps_every_weight(tmp_path: Path, precision: str) -> None:
    folder = save_small(tmp_path / "b", precision=precision)
    old = Bundle.load(folder)
    before = {name: value.clone() for name, value in old.state("generator").items()}
    new = rewrite_bundle(old, folder, card="# Another card\n")
    assert new.card() == "# Another card\n" and new.config == old.config
    for name, value in new.state("generator").items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name])
