from pathlib import Path

import numpy as np
import pytest

from training.data.birds import ATTRIBUTE_NAMES, SETTINGS_OF_POSE, Split
from training.metrics.errors import MetricsError
from training.metrics.reference import Reference, bird_of_claims, load_reference, named, real_groups


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    cache = tmp_path_factory.mktemp("birds")
    return load_reference("unseen", 12, size=64, seed=1, cache_dir=cache, progress=False)


def test_captions_claim_only_what_their_pictures_show(unseen: Reference) -> None:
    stated = unseen.claims >= 0
    assert stated.any(axis=1).all()
    assert (unseen.claims[stated] == unseen.attributes[stated]).all()
    assert len(unseen.captions) == 12


def test_the_floor_holds_other_pictures(unseen: Reference) -> None:
    assert unseen.floor.shape == unseen.pictures.shape
    for picture in unseen.floor:
        assert not (unseen.pictures == picture).all(axis=(1, 2, 3)).any()


def test_the_same_seed_chooses_the_same_captions_and_another_seed_others(
    unseen: Reference, tmp_path: Path
) -> None:
    again = load_reference("unseen", 12, size=64, seed=1, cache_dir=tmp_path, progress=False)
    other = load_reference("unseen", 12, size=64, seed=2, cache_dir=tmp_path, progress=False)
    assert again.captions == unseen.captions
    assert set(other.captions).isdisjoint(unseen.captions)


@pytest.mark.parametrize("split", ["val", "unseen"])
def test_a_bird_of_claims_shows_them_belongs_to_the_split_and_sits_where_birds_sit(
    split: Split,
) -> None:
    rng = np.random.default_rng(0)
    claims = {"crown": "red", "setting": "desert", "wing_bars": "yes"}
    for _ in range(30):
        bird = bird_of_claims(rng, split, claims)
        assert {name: bird.values[name] for name in claims} == claims
        assert bool(bird.held_out()) == (split == "unseen")
        assert bird.values["setting"] in SETTINGS_OF_POSE[bird.values["pose"]]


def test_birds_of_claims_differ_in_what_is_left_open() -> None:
    rng = np.random.default_rng(0)
    colours = {bird_of_claims(rng, "val", {"crown": "red"}).values["wing"] for _ in range(30)}
    assert len(colours) > 4


def test_claims_that_no_bird_of_the_split_meets_are_refused() -> None:
    with pytest.raises(MetricsError, match="claims"):
        bird_of_claims(np.random.default_rng(0), "val", {"crown": "red", "belly": "white"})


def test_codes_are_named_and_open_ones_left_out() -> None:
    codes = np.full(len(ATTRIBUTE_NAMES), -1, np.int8)
    codes[ATTRIBUTE_NAMES.index("crest")] = 1
    assert dict(named(codes)) == {"crest": "yes"}


def test_groups_hold_different_pictures_of_one_caption(unseen: Reference) -> None:
    groups = real_groups(unseen, np.array([0, 3]), each=3, seed=0)
    assert groups.shape == (2, 3, 64, 64, 3)
    assert not (groups[0, 0] == groups[0, 1]).all()
    again = real_groups(unseen, np.array([3]), each=3, seed=0)
    assert (again[0] == groups[1]).all()


def test_a_single_picture_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="count"):
        load_reference("val", 1, size=64, seed=0, cache_dir=tmp_path, progress=False)
