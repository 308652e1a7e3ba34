"""Runs of recipes that learn from captions, from data to a bundle that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from t2i.networks import StageDiscriminator
from t2i.networks.picture_reader import PictureNetwork
from t2i.pipeline import Pipeline
from tests.training.conftest import squares
from training.errors import TrainingError
from training.eyes import Eyes, PretrainedNetwork
from training.matcher import Matcher
from training.prepare import CAPTION_NETWORK, MATCHER, WORDS, Options
from training.registry import find_recipe
from training.run import Finished, conduct
from training.spent import Spent
from training.tokens import PackedCaptions, TokenStates

SMALL = {"width": 4, "noise_dim": 5, "batch_size": 8}


def finished(
    key: str,
    out: Path,
    steps: int | None,
    *,
    side: int = 16,
    eyes: Eyes = "learned",
    start_from: Path | None = None,
    **knobs: object,
) -> Finished:
    options = Options(
        data="squares",
        out=out,
        kimg=0.016,
        caption_steps=steps,
        matcher_steps=1,
        eyes=eyes,
        start_from=start_from,
        precision="no",
        captions=("a red square",),
    )
    data = squares(resolution=side)
    return conduct(find_recipe(key), options, {**SMALL, **knobs}, data=data, shown=False)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))


def test_steps_left_open_in_a_run_that_goes_on_are_what_they_were(tmp_path: Path) -> None:
    learned, plain = tmp_path / "learned", tmp_path / "plain"
    small = {"code_dim": 4, "generator_width": 4}
    finished("gan-cls", learned, 1, **small)
    again = finished("gan-cls", learned, None, **small)
    assert again.trainer.kimg == 0.016
    assert again.ready.recipe.networks["generator"].condition_dim == 256
    finished("gan-cls", plain, 0, **small)
    finished("gan-cls", plain, None, **small)
    assert not (plain / CAPTION_NETWORK).exists()
    with pytest.raises(TrainingError, match="caption_steps was 0, now 1"):
        finished("gan-cls", plain, 1, **small)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_recipe_that_needs_no_matcher_learns_none(tmp_path: Path, steps: int) -> None:
    done = finished("gan-cls", tmp_path / "run", steps, code_dim=4, generator_width=4)
    assert not (tmp_path / "run" / MATCHER).exists()
    assert set(done.trainer.networks) == {"generator", "discriminator"}
    assert list((tmp_path / "run" / "grids").glob("*.png"))
    pipeline = Pipeline.from_pretrained(done.left, "cpu")
    assert pipeline.info.embedding_size == (256 if steps else 384)
    assert pipeline.generate("red", seeds=[1]).images[0].array.shape == (16, 16, 3)


def test_eyes_that_have_seen_photographs_teach_captions_and_lend_themselves_to_critics(
    tmp_path: Path,
) -> None:
    knobs: dict[str, object] = {"max_channels": 8, "discriminator_width": 4, "conditioning_dim": 4}
    knobs |= {"stages": (16, 64), "stage_start": (0.0, 0.0)}
    done = finished("t2i", tmp_path / "run", 1, side=64, eyes="lite1", **knobs)
    matcher, critic = (done.trainer.networks[name] for name in ("matcher", "discriminator"))
    assert isinstance(matcher, Matcher) and type(matcher.pictures) is PretrainedNetwork
    assert isinstance(critic, StageDiscriminator)
    channels = [each.get_submodule("from_rgb").in_channels for each in critic.critics]
    assert channels == [3, 3, 24, 40, 112]
    # Another run may go on from it with eyes of its own; the same run cannot change them.
    own = finished("t2i", tmp_path / "next", 1, side=64, start_from=tmp_path / "run", **knobs)
    learned = own.trainer.networks["matcher"]
    assert isinstance(learned, Matcher) and type(learned.pictures) is PictureNetwork
    (tmp_path / "run" / MATCHER).replace(tmp_path / "next" / MATCHER)
    with pytest.raises(TrainingError, match="other eyes"):
        finished("t2i", tmp_path / "next", 1, side=64, start_from=tmp_path / "run", **knobs)


def test_a_run_goes_on_from_another_with_a_further_stage(tmp_path: Path) -> None:
    knobs: dict[str, object] = {"max_channels": 8, "discriminator_width": 4, "conditioning_dim": 4}
    small = {"stages": (16, 32), "stage_start": (0.0, 0.0), "width": 4}
    first = finished("t2i", tmp_path / "run", 1, side=32, **knobs, **small)
    large = {"stages": (16, 32, 64), "stage_start": (0.0, 0.0, 0.0), "width": 2}
    knobs["discriminator_width"] = 2
    start = tmp_path / "run"
    done = finished("t2i", tmp_path / "next", 1, side=64, start_from=start, **knobs, **large)
    captions = [tmp_path / run / CAPTION_NETWORK for run in ("run", "next")]
    assert captions[0].read_bytes() == captions[1].read_bytes()
    # A matcher sees one size; the larger pictures have a matcher of their own.
    seen = [each.trainer.networks["matcher"].state_dict() for each in (first, done)]
    assert any(not torch.equal(value, seen[1][key]) for key, value in seen[0].items())
    picture = Pipeline.from_pretrained(done.left, "cpu").generate("red", seeds=[1]).images[0]
    assert picture.array.shape == (64, 64, 3)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_recipe_that_needs_words_is_trained_and_served_with_them(
    tmp_path: Path, steps: int
) -> None:
    knobs = {"scales": 2, "conditioning_dim": 4, "damsm_kimg": 0.008, "generator_width": 4}
    done = finished("attngan", tmp_path / "run", steps, **knobs)
    pipeline = Pipeline.from_pretrained(done.left, "cpu")
    sentence = 256 if steps else 384
    assert pipeline.info.embedding_size == sentence + WORDS * 385
    (batch,) = done.ready.stream.batches(0, 4, 1, torch.device("cpu"))
    assert batch.right.shape == batch.wrong.shape == (4, sentence + WORDS * 385)
    # What was trained on and what is served agree up to the rounding of stored states.
    texts = squares().flat_captions
    asked = pipeline.encode(list(dict.fromkeys(texts)))
    apart = (asked[:, None] - batch.right[None]).abs().amax(dim=2).amin(dim=0)
    assert float(apart.max()) < 0.1
    way = pipeline.interpolate("red", "blue on dark ground", steps=2, seed=1).images
    assert (way[0].array == pipeline.generate("red", seeds=[1]).images[0].array).all()
    pipeline.warm_up()


def test_captions_are_packed_as_they_are_asked_for() -> None:
    states = np.arange(15, dtype=np.float16).reshape(5, 3)
    tokens = TokenStates(states, np.array([0, 2, 5]), np.array([0, 1, 0]))
    rows = PackedCaptions(np.array([[1.0], [2.0], [3.0]], np.float32), tokens, 2)
    found = rows[np.array([2, 1])]
    assert rows.token_dim == 3 and found.dtype == np.float32
    assert found.tolist() == [[3, *range(6), 1, 1], [2, *range(6, 12), 1, 1]]


def test_what_was_spent_on_half_learned_networks_counts_in_the_next_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.matching.KEPT_EVERY", 1)
    out = tmp_path / "run"
    learned = Spent.keep

    def killed(spent: Spent) -> None:
        learned(spent)
        raise KeyboardInterrupt

    clock = [100.0]
    monkeypatch.setattr("time.process_time", lambda: clock[0])
    for seconds in (100.0, 20.0):
        clock[0] = seconds
        monkeypatch.setattr(Spent, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            finished("t2i", out, 3, side=32, stages=(16, 32), stage_start=(0.0, 0.0))
        assert not (out / CAPTION_NETWORK).exists()
    monkeypatch.setattr(Spent, "keep", learned)
    clock[0] = 7.0
    done = finished("t2i", out, 3, side=32, stages=(16, 32), stage_start=(0.0, 0.0))
    assert done.trainer.core_seconds == 127.0
