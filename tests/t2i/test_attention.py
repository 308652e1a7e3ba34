"""Where a picture looked at each word of its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from t2i.attention import maps_of_words
from t2i.errors import InvalidInput
from t2i.networks import AttentionGenerator
from t2i.pipeline import Pipeline
from tests.t2i.small_bundle import save_attentive

CAPTION = "red bird"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.from_pretrained(save_attentive(tmp_path_factory.mktemp("b") / "a"), "cpu")


def test_every_word_has_a_map_and_with_the_marks_they_sum_to_one(pipeline: Pipeline) -> None:
    assert pipeline.info.attention_words == 6
    (image,) = pipeline.generate(CAPTION, seeds=[7], attention=True).images
    assert [map.word for map in image.attention] == ["red", "bird"]
    assert all(map.weights.shape == (16, 16) for map in image.attention)
    total = sum(map.weights for map in image.attention)
    assert bool((total > 0).all()) and bool((total < 1).all())
    generator = pipeline._generator
    assert isinstance(generator, AttentionGenerator)
    maps = generator.attention_maps(pipeline.encode([CAPTION]), torch.randn(1, 5))[-1][0]
    torch.testing.assert_close(maps.sum(dim=0), torch.ones(16, 16))


def test_the_maps_are_those_of_the_very_picture(pipeline: Pipeline) -> None:
    plain = pipeline.generate(CAPTION, seeds=[7, 8])
    told = pipeline.generate(CAPTION, seeds=[7, 8], attention=True)
    for before, after in zip(plain.images, told.images, strict=True):
        assert np.array_equal(before.array, after.array) and before.attention == ()
    (alone,) = pipeline.generate(CAPTION, seeds=[8], attention=True).images
    one, other = told.images
    for mine, its, others in zip(alone.attention, other.attention, one.attention, strict=True):
        assert np.array_equal(mine.weights, its.weights)
        assert not np.array_equal(mine.weights, others.weights)
    # Both noises have a part in the picture, so they have one in its maps.
    without = pipeline.generate(CAPTION, seeds=[8], attention=True, conditioning_truncation=0.0)
    assert not np.array_equal(without.images[0].attention[0].weights, alone.attention[0].weights)


def test_pieces_of_a_word_are_one_word_and_marks_are_none() -> None:
    maps = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 2), np.float32)
    words = maps_of_words(["[CLS]", "king", "##fish", "##er", "red", "[SEP]"], maps)
    assert [(word.word, float(word.weights[0, 0])) for word in words] == [
        ("kingfisher", 6.0), ("red", 4.0),
    ]  # fmt: skip
    bytes_ = maps_of_words(["<s>", "a", "\u0120bird", "</s>"], maps)
    assert [word.word for word in bytes_] == ["a", "bird"]
    # Words beyond those that there is room for have no map.
    assert len(maps_of_words([f"word{n}" for n in range(9)], maps)) == 6


def test_what_has_no_maps_says_so(pipeline: Pipeline, small_bundle: Path) -> None:
    with pytest.raises(InvalidInput, match="small does not attend to words"):
        Pipeline.from_pretrained(small_bundle, "cpu").generate(CAPTION, attention=True)
    with pytest.raises(InvalidInput, match="pictures of one condition"):
        pipeline.generate(CAPTION, fine="blue bird", attention=True)
