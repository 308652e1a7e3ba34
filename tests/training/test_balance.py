from __future__ import annotations

import pytest
import torch

from training.balance import Balance


def test_the_measure_is_the_real_error_and_how_far_the_ratio_is_off() -> None:
    balance = Balance(gamma=0.5, rate=0.1)
    balance.real.fill_(2.0)
    assert float(balance.measure(torch.tensor(0.4))) == pytest.approx(2.0 + 0.6)


def test_the_weight_rises_while_fakes_are_too_good_and_never_leaves_its_range() -> None:
    balance = Balance(gamma=0.5, rate=0.1)
    balance.real.fill_(2.0)
    balance.move(torch.tensor(0.4))
    assert float(balance.k) == pytest.approx(0.06)
    balance.move(torch.tensor(100.0))
    assert balance.k == 0.0


def test_the_weight_moves_from_where_it_is_and_stays_below_one() -> None:
    balance = Balance(gamma=0.25, rate=0.1)
    balance.real.fill_(2.0)
    for expected in (0.01, 0.02):
        balance.move(torch.tensor(0.4))
        assert float(balance.k) == pytest.approx(expected)
    balance.move(torch.tensor(-100.0))
    assert balance.k == 1.0
    assert float(balance.measure(torch.tensor(1.5))) == pytest.approx(2.0 + 1.0)


def test_it_begins_at_nothing_with_the_papers_step() -> None:
    balance = Balance()
    assert (balance.gamma, balance.rate) == (0.5, 1e-3)
    assert balance.k == 0.0 and balance.real == 0.0
