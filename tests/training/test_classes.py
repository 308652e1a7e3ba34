from __future__ import annotations

import math

import pytest
import torch

from training.classes import entropies


def test_entropies_of_sure_unsure_and_lopsided_sorting_are_known() -> None:
    sure = 200.0 * torch.eye(4)
    unsure = torch.zeros(4, 4)
    lopsided = 200.0 * torch.eye(4)[[0, 0, 0, 0]]
    for logits, use, doubt in (
        (sure, math.log(4), 0.0),
        (unsure, math.log(4), math.log(4)),
        (lopsided, 0.0, 0.0),
    ):
        found = entropies(logits)
        assert (float(found[0]), float(found[1])) == pytest.approx((use, doubt), abs=1e-5)
