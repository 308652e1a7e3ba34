"""The best of several candidates: chosen by the bundle's scorer, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2i.bundle import Bundle
from t2i.errors import BundleError, InvalidInput
from t2i.pipeline import Draw, Pipeline, Towards
from t2i.seeds import candidate_seeds
from tests.t2i.small_bundle import save_scored, save_small, small_config

CAPTION = "a red bird"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = save_scored(tmp_path_factory.mktemp("scored") / "b")
    return Pipeline.from_pretrained(folder, device="cpu")


def test_the_best_candidate_is_kept_with_its_own_seed_and_score(pipeline: Pipeline) -> None:
    candidates = candidate_seeds(7, 4)
    (embedding,) = pipeline.encode([CAPTION])
    drawn = pipeline.generate(CAPTION, seeds=candidates)
    scores = pipeline.score([image.array for image in drawn.images], [embedding] * 4)
    assert len(set(scores)) == 4 and drawn.scores == (None,) * 4
    (best,) = pipeline.generate(CAPTION, seeds=[7], best_of=4, stages="all").images
    place = int(np.argmax(scores))
    assert (best.seed, best.score) == (candidates[place], scores[place])
    assert np.array_equal(best.array, drawn.images[place].array)


def test_one_candidate_is_what_is_drawn_without_the_option(pipeline: Pipeline) -> None:
    off = pipeline.generate(CAPTION, seeds=[7]).images[0]
    one = pipeline.generate(CAPTION, seeds=[7], best_of=1).images[0]
    assert (one.seed, one.score) == (7, None)
    assert np.array_equal(off.array, one.array)


def test_the_choice_does_not_depend_on_what_else_is_drawn(pipeline: Pipeline) -> None:
    seeds = list(range(20))
    together = pipeline.generate(CAPTION, seeds=seeds, best_of=5)
    for seed, image in zip(seeds[::7], together.images[::7], strict=True):
        (alone,) = pipeline.generate(CAPTION, seeds=[seed], best_of=5).images
        assert (alone.seed, alone.score) == (image.seed, image.score)
        assert np.array_equal(alone.array, image.array)
    assert any(image.seed != seed for seed, image in zip(seeds, together.images, strict=True))


def test_candidates_of_neighbouring_seeds_differ() -> None:
    assert candidate_seeds(7, 1) == [7]
    assert candidate_seeds(7, 3) == candidate_seeds(7, 16)[:3]
    many = [seed for first in range(50) for seed in candidate_seeds(first, 16)]
    assert len(set(many)) == 800 and all(0 <= seed < 2**63 for seed in many)
    # Another way to draw them would change the best picture of every seed.
    assert candidate_seeds(7, 2)[1] == int.from_bytes(bytes.fromhex("d3d2f5798ea0625e"), "big") >> 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"best_of": 0}, "best_of: 0 is out of range; give 1 to 16"),
        ({"best_of": 17}, "17 is out of range"),
        ({"best_of": True}, "True is out of range"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    pipeline: Pipeline, options: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        pipeline.generate(CAPTION, **options)  # type: ignore[arg-type]


def test_a_bundle_without_a_scorer_says_so(small_bundle: Path) -> None:
    pipeline = Pipeline.from_pretrained(small_bundle, device="cpu")
    assert not pipeline.info.has_scorer
    with pytest.raises(InvalidInput, match="small has no scorer to choose with"):
        pipeline.generate(CAPTION, best_of=2)
    (embedding,) = pipeline.encode([CAPTION])
    with pytest.raises(InvalidInput, match="no scorer"):
        pipeline.draw_best([Draw(embedding, 1)], 2)


def test_the_best_of_two_conditions_cannot_be_told(pipeline: Pipeline) -> None:
    one, other = pipeline.encode([CAPTION, "a blue bird"])
    with pytest.raises(InvalidInput, match="chooses by one condition"):
        pipeline.draw_best([Draw(one, 1, towards=Towards(other, 1, 0.5))], 2)


def test_a_scorer_without_weights_is_never_left_behind(tmp_path: Path) -> None:
    arguments = {"embedding_dim": 384, "resolution": 16, "width": 4, "places": 2, "code_dim": 8}
    config = small_config(scorer={"class": "Scorer", "arguments": arguments})
    with pytest.raises(BundleError, match=r"no scorer\.safetensors"):
        save_small(tmp_path / "b", config)
    with pytest.raises(BundleError, match="no network class 'Judge' is known"):
        save_small(tmp_path / "b", small_config(scorer={"class": "Judge", "arguments": {}}))
    assert not (tmp_path / "b").exists()


def test_the_scorer_survives_the_way_to_disk_and_back(pipeline: Pipeline) -> None:
    again = Bundle.load(pipeline.bundle.folder)
    assert again.config.scorer == pipeline.bundle.config.scorer
    assert again.config.scorer is not None and again.config.scorer.class_name == "Scorer"
