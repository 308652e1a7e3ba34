from __future__ import annotations

import pytest

from training.growth import level_at


def test_the_level_stays_then_fades_then_stays() -> None:
    levels = [level_at(kimg, 10.0, 2) for kimg in (0, 9, 10, 15, 20, 29, 30, 35, 40, 900)]
    assert levels == pytest.approx([0, 0, 0, 0.5, 1, 1, 1, 1.5, 2, 2])
