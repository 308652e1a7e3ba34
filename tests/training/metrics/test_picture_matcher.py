import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import squares
from training.metrics.errors import MetricsError
from training.metrics.picture_matcher import PictureMatcher, phrases, vocabulary_of
from training.metrics.train_matcher import MatcherTraining, train_matcher

QUICK = MatcherTraining(kimg=0.8, batch=32, seed=1)


@pytest.fixture(scope="module")
def matcher() -> PictureMatcher:
    return train_matcher(squares(42), QUICK, test_count=10)


def test_it_finds_the_captions_of_pictures_that_it_did_not_learn_from(
    matcher: PictureMatcher,
) -> None:
    tested = matcher.tested
    # Two texts a colour, three colours: four at most are wrong for a picture.
    assert 2 < tested.choices <= 5 and tested.captions == 10
    assert tested.r_precision > 0.9 > 0.6 > tested.shuffled
    learned = matcher.learned
    assert (learned.data, learned.of, learned.pictures) == ("squares", 42, 32)
    fresh = squares(9)
    near = matcher.see(fresh.pictures) @ matcher.read(["a red square", "a blue square"]).t()
    assert fresh.labels is not None
    red, blue = near[fresh.labels == 0], near[fresh.labels == 2]
    assert (red[:, 0] > red[:, 1]).all() and (blue[:, 1] > blue[:, 0]).all()


def test_saved_and_read_again_it_judges_the_same_under_the_same_name(
    matcher: PictureMatcher, tmp_path: Path
) -> None:
    matcher.save(tmp_path / "judge")
    again = PictureMatcher.load(tmp_path / "judge")
    pictures = squares(3).pictures
    assert torch.equal(again.see(pictures), matcher.see(pictures))
    captions = ["red on dark ground", "a square"]
    assert torch.equal(again.read(captions), matcher.read(captions))
    assert again.name == matcher.name and again.name.startswith("matcher of squares (")
    assert (again.learned, again.tested) == (matcher.learned, matcher.tested)


def test_damaged_weights_and_an_empty_folder_are_refused_with_the_remedy(
    matcher: PictureMatcher, tmp_path: Path
) -> None:
    with pytest.raises(MetricsError, match="t2i-train matcher"):
        PictureMatcher.load(tmp_path)
    matcher.save(tmp_path)
    weights = bytearray((tmp_path / "matcher.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "matcher.safetensors").write_bytes(weights)
    with pytest.raises(MetricsError, match="SHA-256"):
        PictureMatcher.load(tmp_path)


def test_words_that_it_never_read_say_nothing(matcher: PictureMatcher) -> None:
    first, second = matcher.read(["zygomorphic inflorescence", "perianth"])
    assert torch.equal(first, second)


def test_it_knows_which_data_it_may_not_judge(matcher: PictureMatcher) -> None:
    assert matcher.may_have_learned_from(squares(42))
    assert matcher.may_have_learned_from(squares(6, resolution=32))


def test_training_repeats_with_its_seed_and_leaves_the_global_state_alone() -> None:
    quick = MatcherTraining(kimg=0.08, batch=8)
    state = torch.get_rng_state()
    first = train_matcher(squares(20), quick, count=8, test_count=6)
    assert torch.equal(torch.get_rng_state(), state)
    assert train_matcher(squares(20), quick, count=8, test_count=6).sha256 == first.sha256


def test_phrases_bind_a_colour_to_its_part() -> None:
    assert phrases("Red-crested head") == [
        "red", "crested", "head", "red crested", "crested head", "red _ head",
    ]  # fmt: skip
    assert vocabulary_of(["red head", "red wing", "red"]) == ("red",)
    assert vocabulary_of(["b a", "b", "a"], most=1) == ("a",)


def test_it_learns_from_no_more_pictures_than_memory_is_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.metrics.train_matcher.MOST", 8)
    quick = MatcherTraining(kimg=0.08, batch=8)
    assert train_matcher(squares(20), quick, test_count=6).learned.pictures == 8


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(MetricsError, match="do not fit the 6 pictures"):
        train_matcher(squares(6), QUICK, count=5, test_count=3)
    with pytest.raises(MetricsError, match="kimg"):
        MatcherTraining(kimg=0.01)


def test_its_configuration_is_text_that_tells_what_it_learned_from(
    matcher: PictureMatcher, tmp_path: Path
) -> None:
    matcher.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["learned"]["fingerprint"] == "f" * 64
    assert config["learned"]["seed"] == 1
    assert config["tested"]["r_precision"] == pytest.approx(matcher.tested.r_precision)
    assert "red" in config["vocabulary"]
    order = np.random.default_rng(1).permutation(42)
    assert len(set(order[:10]) & set(order[10:][:32])) == 0
