from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.zoo.moves import batch_of
from tests.training.zoo.samples import ring, spec_of, trainer_of
from training.errors import TrainingError
from training.historical import History
from training.zoo.bilinear_game import PLAYERS, bilinear_game


def places(out: Path, rounds: int, **knobs: object) -> list[tuple[float, float]]:
    """Where x and y are after each round of the real trainer."""
    data = ring()
    run = trainer_of(bilinear_game(spec_of(data), **knobs), data, out)  # type: ignore[arg-type]
    found = []
    for _ in range(rounds):
        run.play_round()
        x, y = (run.networks[n].get_parameter("point").detach() for n in PLAYERS)
        found.append((float(x[0]), float(y[0])))
    return found


def test_playing_at_the_same_time_moves_away_by_a_known_factor(tmp_path: Path) -> None:
    found = places(tmp_path, 20, rate=0.2)
    assert found[0] == pytest.approx((0.8, 1.2))
    for step, (x, y) in enumerate(found, start=1):
        assert x * x + y * y == pytest.approx(2.0 * (1.0 + 0.2**2) ** step, rel=1e-4)


def test_playing_in_turn_goes_round_and_keeps_what_it_must(tmp_path: Path) -> None:
    found = places(tmp_path, 60, rate=0.2, alternating=True)
    assert found[0] == pytest.approx((0.8, 1.16))
    for x, y in found:
        assert x * x + y * y - 0.2 * x * y == pytest.approx(2.0 - 0.2, rel=1e-4)
    angles = [math.atan2(y, x) for x, y in found]
    assert min(angles) < -2.0 and max(angles) > 2.0


def test_historical_averaging_ends_in_the_equilibrium(tmp_path: Path) -> None:
    found = places(tmp_path, 200, rate=0.2, history=0.2)
    assert math.hypot(*found[-1]) < 0.05


def test_the_players_gradients_are_those_of_the_game_and_of_their_own_history() -> None:
    recipe = bilinear_game(spec_of(ring()), history=0.5)
    x, y = (recipe.networks[n].get_parameter("point") for n in PLAYERS)
    with torch.no_grad():
        x.copy_(torch.tensor([3.0, 1.0]))
        y.copy_(torch.tensor([-2.0, 4.0]))
    (phase,) = recipe.phases
    losses = phase.loss(recipe.networks, batch_of(torch.zeros(1, 2)))
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and y.grad is not None
    # df/dx = y, and twice λ times the way from the start, which is 1.
    torch.testing.assert_close(x.grad, torch.tensor([-2.0 + 2.0, 4.0]))
    torch.testing.assert_close(y.grad, torch.tensor([-3.0 - 3.0, -1.0 + 3.0]))
    assert not any(part.requires_grad for part in losses.parts.values())
    assert losses.parts["x"] == 2.0 and losses.parts["y"] == 1.0
    assert losses.parts["G/distance"].item() == pytest.approx(math.sqrt(9 + 1 + 4 + 16))


def test_without_history_the_players_losses_cancel() -> None:
    recipe = bilinear_game(spec_of(ring()))
    (phase,) = recipe.phases
    losses = phase.loss(recipe.networks, batch_of(torch.zeros(1, 2)))
    assert losses.total.item() == 0.0


def test_players_have_the_shape_of_a_sample() -> None:
    recipe = bilinear_game(replace(spec_of(ring()), sample_shape=(3,)))
    assert [recipe.networks[n].get_parameter("point").shape for n in PLAYERS] == [(3,), (3,)]


def test_in_turn_there_are_two_players_and_a_history_each() -> None:
    recipe = bilinear_game(spec_of(ring()), alternating=True, history=1.0)
    assert [phase.players for phase in recipe.phases] == [("generator",), ("discriminator",)]
    assert sum(isinstance(n, History) for n in recipe.networks.values()) == 2
    assert not any(isinstance(n, History) for n in bilinear_game(spec_of(ring())).networks.values())


def test_a_negative_history_is_refused() -> None:
    with pytest.raises(TrainingError, match="history: is -1"):
        bilinear_game(spec_of(ring()), history=-1.0)
