from __future__ import annotations

import pytest

from t2i.errors import InvalidInput
from t2i.seeds import MAX_COUNT, check_seed, places, random_seed, read_ends, read_seeds


def test_random_seeds_are_valid_and_differ() -> None:
    seeds = [random_seed() for _ in range(100)]
    assert len(set(seeds)) == 100
    assert [check_seed("seed", seed) for seed in seeds] == seeds


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", None, True])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(InvalidInput, match=r"^seed: .*; give 0 to 2\*\*63 - 1$"):
        check_seed("seed", seed)


def test_a_seed_of_numpy_is_a_seed() -> None:
    import numpy as np

    assert check_seed("seed", np.int64(7)) == 7


def test_pictures_have_the_seeds_that_are_given_or_as_many_new_ones() -> None:
    assert read_seeds(1, (7, 8)) == read_seeds(2, [7, 8]) == [7, 8]
    assert len(set(read_seeds(3, None))) == 3
    with pytest.raises(InvalidInput, match=r"^seeds: has 2 seeds; give 3$"):
        read_seeds(3, [7, 8])
    with pytest.raises(InvalidInput, match=r"^seeds: has 0 seeds; give 1 to 1024$"):
        read_seeds(1, [])
    with pytest.raises(InvalidInput, match=r"^count: 1025 is out of range; give 1 to 1024$"):
        read_seeds(MAX_COUNT + 1, None)


def test_a_way_has_one_seed_or_two() -> None:
    assert read_ends(7) == (7, 7)
    assert read_ends((7, 8)) == (7, 8)
    one, other = read_ends(None)
    assert one == other
    with pytest.raises(InvalidInput, match="has 3 seeds; give one or two"):
        read_ends((1, 2, 3))  # type: ignore[arg-type]


def test_places_are_even_and_hold_both_ends() -> None:
    assert places(5) == [0, 0.25, 0.5, 0.75, 1]
