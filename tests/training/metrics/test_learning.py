from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from training.metrics.errors import MetricsError
from training.metrics.learning import Average, Learning


@dataclass(frozen=True)
class Knobs:
    steps: int = 50
    learning_rate: float = 0.1
    weight_decay: float = 0.0


@pytest.mark.parametrize(("rise", "peak"), [(0.2, 10), (0.6, 30)])
def test_steps_grow_until_the_rise_ends_and_shrink_to_nothing(rise: float, peak: int) -> None:
    line = nn.Linear(1, 1, bias=False)
    learning = Learning(line, Knobs(), rise=rise)
    lengths = []
    for _ in range(Knobs.steps):
        before = line.weight.item()
        # Down a slope that stays the same, Adam's steps are as long as the rate.
        learning.step(line.weight.sum())
        lengths.append(before - line.weight.item())
    # Its momentum is in a cycle of its own, so that the longest step comes a little later.
    assert peak - 1 <= lengths.index(max(lengths)) <= peak + 4
    assert max(lengths) == pytest.approx(Knobs.learning_rate, rel=0.15)
    assert lengths[0] < 0.05 * max(lengths) and lengths[-1] < 0.001 * max(lengths)


def test_weights_decay_beside_the_slope() -> None:
    line = nn.Linear(1, 1, bias=False)
    nn.init.ones_(line.weight)
    learning = Learning(line, Knobs(weight_decay=0.5))
    learning.step(0.0 * line.weight.sum())
    assert line.weight.item() == pytest.approx(1.0 - 0.5 * 0.1 / 25)


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_names_the_rate_and_the_step(lost: float) -> None:
    line = nn.Linear(1, 1)
    learning = Learning(line, Knobs())
    learning.step(line.weight.sum())
    before = line.weight.clone()
    with pytest.raises(MetricsError, match=r"^learning_rate: lost the numbers at step 1; lower it"):
        learning.step(lost * line.weight.sum())
    assert torch.equal(line.weight, before)


@pytest.mark.parametrize(("steps", "kept"), [(10, 0.5), (40, 0.5), (200, 0.9)])
def test_an_average_reaches_back_over_twenty_steps_and_in_short_runs_over_two(
    steps: int, kept: float
) -> None:
    norm = nn.BatchNorm1d(2)
    average = Average(norm, steps)
    with torch.no_grad():
        norm.weight.fill_(3.0)
    norm.running_mean = torch.full((2,), 4.0)
    norm.num_batches_tracked = torch.tensor(7)
    average.follow(norm)
    mean = average.network
    torch.testing.assert_close(mean.weight, torch.full((2,), 1.0 + 2.0 * (1.0 - kept)))
    torch.testing.assert_close(mean.running_mean, torch.full((2,), 4.0 * (1.0 - kept)))
    assert mean.num_batches_tracked == 7
    assert torch.equal(norm.weight, torch.full((2,), 3.0))
