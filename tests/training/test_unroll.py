from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from t2i.networks import DcganCritic
from training.optimizers import Adam
from training.unroll import UnrolledAdam, Weights, gradient_descent, scored_with, unroll


class Number(nn.Module):
    """One weight."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start))


def test_steps_of_gradient_descent_on_a_parabola_are_known() -> None:
    # loss = ½ (w - a)²: each step takes the same share of the way to a.
    a = torch.tensor(4.0, requires_grad=True)
    number = Number(1.0)
    weights = unroll(number, lambda w: 0.5 * (w["w"] - a).square(), 3, gradient_descent(0.5))
    assert weights["w"].item() == pytest.approx(4.0 - 3.0 * 0.5**3)
    # dw/da = 1 - (1 - rate)³: through every step.
    (slope,) = torch.autograd.grad(weights["w"], a)
    assert slope.item() == pytest.approx(1.0 - 0.5**3)
    assert number.w.item() == 1.0 and number.w.grad is None


def test_no_steps_give_the_weights_of_this_moment_and_no_way_back() -> None:
    a = torch.tensor(4.0, requires_grad=True)
    weights = unroll(Number(1.0), lambda w: w["w"] * a, 0, gradient_descent(0.5))
    assert weights["w"].item() == 1.0
    assert torch.autograd.grad(weights["w"], a, allow_unused=True)[0] is None


@pytest.mark.parametrize("taken", [0, 4])
def test_unrolled_adam_takes_the_steps_that_adam_would(taken: int) -> None:
    def loss(weights: Weights) -> Tensor:
        return (weights["weight"] @ torch.tensor([1.0, -2.0])).square().sum() + (
            weights["bias"] - 3.0
        ).square().sum()

    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    described = UnrolledAdam(0.2, betas=(0.7, 0.9))
    optimizer = described.build(network.parameters())
    optimizer.param_groups[0]["lr"] = 0.05  # as a schedule would

    def step() -> None:
        optimizer.zero_grad()
        loss(dict(network.named_parameters())).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for _ in range(taken):
        step()
    foreseen = unroll(network, loss, 3, described.rule(network))
    for _ in range(3):
        step()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(foreseen[name], weight, rtol=1e-5, atol=1e-6)


def test_units_that_are_off_leave_finite_gradients_in_unrolled_adam() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    rule = UnrolledAdam(0.05).rule(number := Number(1.0))
    weights = unroll(number, lambda w: 0.0 * a * w["w"], 2, rule)
    (slope,) = torch.autograd.grad(weights["w"], a)
    assert slope.isfinite() and weights["w"].item() == 1.0


def test_unrolled_adam_describes_itself_like_adam() -> None:
    described = UnrolledAdam(0.1, betas=(0.5, 0.9))
    described.build([nn.Parameter(torch.zeros(1))])
    assert described == UnrolledAdam(0.1, betas=(0.5, 0.9))
    assert isinstance(described, Adam)


def test_scoring_with_other_weights_leaves_the_critics_statistics() -> None:
    critic = DcganCritic(resolution=8, channels=1, width=2)
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    doubled = {name: 2.0 * w.detach() for name, w in critic.named_parameters()}
    pictures = torch.randn(4, 1, 8, 8)
    other = scored_with(critic, doubled, pictures).logits
    assert all(torch.equal(before[name], value) for name, value in critic.state_dict().items())
    assert not torch.equal(other, critic(pictures).logits)


def test_where_slopes_are_tiny_unrolled_adams_epsilon_is_adams() -> None:
    # A slope as large as epsilon: Adam's first step is rate · g / (|g| + ε), half of the rate.
    # Foreseen with a root that has a slope at zero, √(g² + ε²), it is a little more.
    number = Number(1.0)
    described = UnrolledAdam(0.2, betas=(0.5, 0.9))
    described.build(number.parameters())
    weights = unroll(number, lambda w: 1e-8 * w["w"], 1, described.rule(number))
    assert weights["w"].item() == pytest.approx(1.0 - 0.2 / 2**0.5, rel=1e-5)


def test_unrolled_weights_lead_back_to_what_the_loss_saw_and_not_to_the_network() -> None:
    number, a = Number(1.0), torch.tensor(4.0, requires_grad=True)
    weights = unroll(number, lambda w: w["w"] * a, 1, gradient_descent(0.5))
    weights["w"].backward()
    assert number.w.grad is None
    assert a.grad is not None and a.grad.item() == -0.5


def test_a_weight_that_the_loss_does_not_use_stays_as_it_is() -> None:
    network = nn.Linear(1, 1)
    weights = unroll(network, lambda w: w["weight"].sum(), 2, gradient_descent(0.5))
    assert torch.equal(weights["bias"], network.bias)
    assert weights["weight"].item() == pytest.approx(network.weight.item() - 1.0)
