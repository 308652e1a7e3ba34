from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i.networks import MlpCritic, MlpGenerator
from tests.training.zoo.moves import batch_of
from training.compose import compose
from training.historical import CriticsHistoricalAverage, HistoricalAverage, History
from training.objectives import non_saturating
from training.recipe import Recipe, Update

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def moved(layer: nn.Linear, to: float) -> None:
    with torch.no_grad():
        layer.weight.fill_(to)


def test_the_mean_is_that_of_all_values_and_the_distance_its_squared_length() -> None:
    layer = nn.Linear(2, 1, bias=False)
    moved(layer, 0.0)
    history = History(layer)
    for value in (1.0, 5.0):
        moved(layer, value)
        history.remember(layer)
    # The mean of 0, 1 and 5 is 2; two weights are 3 away from it.
    distance = history.distance(layer)
    assert distance.item() == pytest.approx(18.0)
    distance.backward()  # type: ignore[no-untyped-call]
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, torch.full((1, 2), 6.0))


def recipe() -> Recipe:
    torch.manual_seed(0)
    generator = MlpGenerator(noise_dim=3, width=4)
    critic = MlpCritic(width=4)
    return compose(
        generator=generator,
        discriminator=critic,
        objective=non_saturating,
        regularizers=[
            HistoricalAverage(2.0, of=generator),
            CriticsHistoricalAverage(3.0, of=critic),
        ],
    )


def test_each_player_of_any_recipe_pays_for_its_own_distance() -> None:
    made = recipe()
    with torch.no_grad():
        for weight in made.networks["generator"].parameters():
            weight.add_(0.5)
    numbers = sum(w.numel() for w in made.networks["generator"].parameters())
    critic, generator = (phase.loss(made.networks, batch_of(SAMPLES)) for phase in made.phases)
    assert critic.parts["D/discriminator_history"] == 0.0
    assert generator.parts["G/generator_history"].item() == pytest.approx(0.25 * numbers)
    expected = generator.parts["G/adversarial"] + 2.0 * 0.25 * numbers
    torch.testing.assert_close(generator.total.detach(), expected)


def test_the_histories_move_after_the_steps_of_their_own_player() -> None:
    made = recipe()
    critic, generator = made.phases
    assert critic.after is not None and generator.after is not None

    def counts() -> list[float]:
        both = (made.networks[f"{name}_history"] for name in ("generator", "discriminator"))
        return [float(history.get_buffer("count")) for history in both]

    assert counts() == [1.0, 1.0]
    critic.after(made.networks, Update(0.0, 0, {}))
    assert counts() == [1.0, 2.0]
    generator.after(made.networks, Update(0.0, 0, {}))
    assert counts() == [2.0, 2.0]
