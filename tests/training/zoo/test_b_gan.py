from __future__ import annotations

import math

import pytest
import torch

from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.divergences import DIVERGENCES, bregman, ratio_of
from training.errors import TrainingError
from training.zoo.b_gan import b_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


@pytest.mark.parametrize("name", ["pearson", "kl"])
def test_losses_are_the_bregman_divergence_and_f_of_the_ratio(name: str) -> None:
    recipe = b_gan(spec_of(ring()), divergence=name, width=4, noise_dim=3)
    scored = Scored(recipe)
    losses = losses_of(recipe, batch_of(SAMPLES))
    real, fake, mine = (torch.nn.functional.softplus(logits) for logits in scored.logits)
    if name == "pearson":  # f(r) = (r - 1)²
        estimate = (fake**2 - 1).mean() - 2 * (real - 1).mean()
        apart = (mine - 1).square().mean()
    else:  # f(r) = r log r; with -(r - 1) its least value is at 1
        estimate = fake.mean() - (1 + real.log()).mean()
        apart = (mine * mine.log() - mine + 1).mean()
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(losses["discriminator"].total.detach(), estimate, **close)
    torch.testing.assert_close(losses["generator"].total.detach(), apart, **close)


@pytest.mark.parametrize("relative", [0.0, 0.25])
@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_estimate_is_least_at_the_true_ratio(name: str, relative: float) -> None:
    """Two places: p is 1/4 and 3/4 of the time in them, q half and half."""
    real_places, fake_places = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
    p, q = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).double()
    truth = p / (relative * p + (1 - relative) * q)
    objective = bregman(DIVERGENCES[name], relative)
    low, high = torch.full((2,), -20.0).double(), torch.full((2,), 20.0).double()
    for _ in range(60):
        logits = (low + high) / 2
        below = ratio_of(logits, relative) < truth
        low, high = torch.where(below, logits, low), torch.where(below, high, logits)

    def loss(at: torch.Tensor) -> torch.Tensor:
        return objective.discriminator_loss(at[real_places], at[fake_places])

    best = low.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(best), best)
    assert slope.abs().max() < 1e-9
    for step in ([0.1, 0.0], [0.0, 0.1], [-0.1, 0.0], [0.0, -0.1]):
        assert loss(low + torch.tensor(step).double()) > loss(low)


@pytest.mark.parametrize("name", list(DIVERGENCES))
def test_the_generator_is_at_rest_where_the_ratio_is_one(name: str) -> None:
    generator = bregman(DIVERGENCES[name]).generator
    one = torch.expm1(torch.ones(1).double() - 1e-6).log()
    at = one.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(generator(at), at)
    assert slope.abs().max() < 1e-9
    assert generator(one) < generator(one + 0.1)
    assert generator(one) < generator(one - 0.1)


def test_a_share_of_the_real_density_takes_as_much_off_the_generators_loss() -> None:
    divergence, logits = DIVERGENCES["kl"], torch.randn(6)
    ratio = ratio_of(logits, 0.25)
    even = divergence.f(ratio) - divergence.threshold * (ratio - 1.0)
    loss = bregman(divergence, 0.25).generator(logits)
    torch.testing.assert_close(loss, 0.75 * even.mean())


def test_a_ratio_is_that_of_both_densities_unless_another_is_asked_for_and_never_zero() -> None:
    logits = torch.tensor([-200.0, 0.0, 2.0])
    assert torch.equal(ratio_of(logits), ratio_of(logits, 0.0))
    assert ratio_of(logits)[1].item() == pytest.approx(math.log(2.0), rel=1e-5)
    for share in (0.0, 0.5):
        assert ratio_of(logits, share)[0].item() > 0.0


def test_a_relative_ratio_stays_below_one_over_its_share() -> None:
    far = torch.tensor([-100.0, 100.0])
    assert ratio_of(far, 0.25).tolist() == pytest.approx([0.0, 4.0], abs=1e-5)
    with pytest.raises(TrainingError, match=r"relative: is 1.0; give 0 or more, and less than 1"):
        b_gan(spec_of(ring()), relative=1.0)
