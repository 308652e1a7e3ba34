"""Seeds of pictures: which there are, and how they are chosen. Loads without torch and numpy."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from numbers import Integral

from t2i.errors import InvalidInput, shown

__all__ = [
    "LARGEST_SEED",
    "MAX_BEST_OF",
    "MAX_COUNT",
    "candidate_seeds",
    "check_seed",
    "places",
    "random_seed",
    "read_ends",
    "read_seeds",
]

LARGEST_SEED = 2**63 - 1
MAX_BEST_OF = 16
MAX_COUNT = 1024


def random_seed() -> int:
    """Return a new seed, from the operating system."""
    return secrets.randbelow(LARGEST_SEED + 1)


def check_seed(field: str, seed: object) -> int:
    """Return the seed.

    Raises:
        InvalidInput: if it is not a whole number from 0 to 2**63 - 1.
    """
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise InvalidInput(
            field, seed, f"{shown(seed)} is not a whole number", "give 0 to 2**63 - 1"
        )
    number = int(seed)
    if not 0 <= number <= LARGEST_SEED:
        raise InvalidInput(field, seed, f"{shown(number)} is out of range", "give 0 to 2**63 - 1")
    return number


def read_seeds(count: int, seeds: Sequence[int] | None) -> list[int]:
    """Return the seeds of the pictures of one condition.

    Args:
        count: number of pictures, 1 to `MAX_COUNT`; 1 goes with any number of seeds.
        seeds: one a picture; None draws them.

    Raises:
        InvalidInput: if the number is out of range, is not that of the seeds, or a seed is none.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
        raise InvalidInput(
            "count", count, f"{shown(count)} is out of range", f"give 1 to {MAX_COUNT}"
        )
    if seeds is None:
        return [random_seed() for _ in range(count)]
    if isinstance(seeds, str) or not isinstance(seeds, Sequence):
        raise InvalidInput("seeds", seeds, f"{shown(seeds)} is no list", "give a list of seeds")
    if count not in (1, len(seeds)) or not 1 <= len(seeds) <= MAX_COUNT:
        wanted = f"{count}" if count != 1 else f"1 to {MAX_COUNT}"
        raise InvalidInput("seeds", seeds, f"has {len(seeds)} seeds", f"give {wanted}")
    return [check_seed(f"seeds[{index}]", seed) for index, seed in enumerate(seeds)]


def read_ends(seed: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return the seeds of the first and the last picture of a way.

    Args:
        seed: one for both, or the two; None draws one for both.

    Raises:
        InvalidInput: if it is neither one seed nor two, or a seed is out of range.
    """
    if isinstance(seed, tuple | list):
        if len(seed) != 2:
            raise InvalidInput("seed", seed, f"has {len(seed)} seeds", "give one or two")
        return check_seed("seed[0]", seed[0]), check_seed("seed[1]", seed[1])
    one = random_seed() if seed is None else check_seed("seed", seed)
    return one, one


def places(steps: int) -> list[float]:
    """Return where the pictures of a way are: `steps` places from 0 to 1, both included."""
    return [step / (steps - 1) for step in range(steps)]


def candidate_seeds(seed: int, best_of: int) -> list[int]:
    """Return the seeds of a picture's candidates: its own, then such as follow from it.

    The first 63 bits of a SHA-256, so that neighbouring seeds have no candidate in common. Changing
    it changes which picture is the best of a seed.
    """
    further = (
        int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "big") >> 1
        for number in range(1, best_of)
    )
    return [seed, *further]
