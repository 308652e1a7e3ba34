"""Objectives of two players, on logits whose losses are known by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from training.divergences import DIVERGENCES, Divergence, true_divergence, variational
from training.objectives import (
    Margin,
    Objective,
    Relativistic,
    boundary_seeking,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    smoothed,
    wasserstein,
)

LOG2 = math.log(2.0)
ZERO = torch.zeros(4)
REAL, FAKE = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -0.25])
NAMES = sorted(DIVERGENCES)


def test_against_an_undecided_discriminator_the_first_gan_loses_log_4() -> None:
    # Theorem 1: D = 1/2 everywhere has the value -log 4.
    for objective in (minimax, non_saturating):
        assert objective.discriminator_loss(ZERO, ZERO) == pytest.approx(2 * LOG2)
    assert minimax.generator_loss(ZERO) == pytest.approx(-LOG2)
    assert non_saturating.generator_loss(ZERO) == pytest.approx(LOG2)


def test_minimax_gradients_vanish_against_a_sure_discriminator_and_the_others_do_not() -> None:
    slopes = {}
    for name, objective in (("minimax", minimax), ("other", non_saturating)):
        logits = torch.full((1,), -12.0, requires_grad=True)
        objective.generator_loss(logits).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        slopes[name] = float(logits.grad)
    assert slopes["minimax"] == pytest.approx(-torch.sigmoid(torch.tensor(-12.0)).item())
    assert slopes["other"] == pytest.approx(-1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("codes", "real", "fake", "generator"),
    [
        # Logits: real 3, fake 2. ½ (3-b)², ½ (2-a)², ½ (2-c)².
        ((0.0, 1.0, 1.0), 2.0, 2.0, 0.5),
        ((-1.0, 1.0, 0.0), 2.0, 4.5, 2.0),
    ],
)
def test_least_squares_pulls_towards_its_codes(
    codes: tuple[float, float, float], real: float, fake: float, generator: float
) -> None:
    objective = least_squares(*codes)
    above, below = torch.full((3,), 3.0), torch.full((3,), 2.0)
    assert objective.real(above) == pytest.approx(real)
    assert objective.fake(below) == pytest.approx(fake)
    assert objective.generator_loss(below) == pytest.approx(generator)


def test_wasserstein_is_minus_the_difference_of_means() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0])
    assert wasserstein.discriminator_loss(real, fake) == pytest.approx(-2.5)
    assert wasserstein.generator_loss(fake) == pytest.approx(0.5)


def test_one_sided_smoothing_softens_real_targets_only() -> None:
    objective = smoothed(non_saturating, 0.9)
    logits = torch.tensor([math.log(9.0)])
    logits.requires_grad_(True)
    # The best probability of real examples is now 0.9, that is a logit of log 9.
    objective.real(logits).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(0.0, abs=1e-6)
    assert objective.fake is non_saturating.fake


@pytest.mark.parametrize("average", [False, True])
def test_relativistic_losses_see_differences_only(average: bool) -> None:
    objective = Relativistic(average=average)
    real, fake = torch.tensor([0.3, 1.0]), torch.tensor([-0.5, 0.2])
    first = objective.discriminator_loss(real, fake)
    torch.testing.assert_close(objective.discriminator_loss(real + 7, fake + 7), first)
    torch.testing.assert_close(objective.generator_loss(real, fake), first)
    sides = 2 if average else 1
    assert objective.discriminator_loss(ZERO, ZERO) == pytest.approx(sides * LOG2)
    assert objective.discriminator_loss(ZERO + 30, ZERO) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    "objective",
    [hinge, minimax, non_saturating, wasserstein, least_squares(), least_squares(-1, 1, 0)]
    + [variational(DIVERGENCES[name]) for name in NAMES],
)
def test_players_pull_the_logits_in_opposite_directions(objective: Objective) -> None:
    real, fake = torch.zeros(3, requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    objective.discriminator_loss(real, fake).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None and fake.grad is not None
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    mine = torch.full((3,), -0.5, requires_grad=True)
    objective.generator_loss(mine).backward()  # type: ignore[no-untyped-call]
    assert mine.grad is not None
    assert ((mine.grad < 0) | (objective.generator(torch.zeros(1)) == 0)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_simplified_conjugate_is_the_conjugate_of_the_activation(name: str) -> None:
    divergence = DIVERGENCES[name]
    v = torch.linspace(-3, 3, 25, dtype=torch.float64)
    torch.testing.assert_close(
        divergence.conjugate_of_logit(v), divergence.conjugate(divergence.activation(v))
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_conjugate_is_the_largest_of_its_lines(name: str) -> None:
    divergence = DIVERGENCES[name]
    u = torch.linspace(1e-3, 60, 200_000, dtype=torch.float64)
    for ratio in (0.3, 1.0, 2.5):
        t = divergence.slope(torch.tensor(ratio, dtype=torch.float64))
        expected = (u * t - divergence.f(u)).max()
        assert divergence.conjugate(t) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_threshold_is_the_slope_at_equal_densities(name: str) -> None:
    divergence = DIVERGENCES[name]
    one = torch.ones((), dtype=torch.float64)
    assert divergence.slope(one) == pytest.approx(divergence.threshold)
    assert divergence.f(one) == pytest.approx(-2 * LOG2 if name == "gan" else 0.0)


def logit_of(divergence: Divergence, wanted: torch.Tensor) -> torch.Tensor:
    """Invert the activation by bisection."""
    low = torch.full_like(wanted, -60.0)
    high = torch.full_like(wanted, 60.0)
    for _ in range(80):
        middle = (low + high) / 2
        under = divergence.activation(middle) < wanted
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return (low + high) / 2


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_is_tight_at_the_best_discriminator_and_lower_elsewhere(name: str) -> None:
    divergence = DIVERGENCES[name]
    p = Normal(torch.tensor(0.5, dtype=torch.float64), 1.0)
    q = Normal(torch.tensor(0.0, dtype=torch.float64), 1.0)
    # Quantiles stand for samples: no chance in the test.
    levels = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    x, y = p.icdf(levels), q.icdf(levels)

    def ratio(points: torch.Tensor) -> torch.Tensor:
        return (p.log_prob(points) - q.log_prob(points)).exp()

    real = logit_of(divergence, divergence.slope(ratio(x)))
    fake = logit_of(divergence, divergence.slope(ratio(y)))
    truth = true_divergence(divergence, ratio(y))
    assert divergence.bound(real, fake) == pytest.approx(float(truth), abs=2e-3)
    assert divergence.bound(real + 0.2, fake + 0.2) < truth
    if name == "kl":
        assert truth == pytest.approx(float(kl_divergence(p, q)), abs=1e-3)


def test_the_saturating_generator_minimises_the_bound_itself() -> None:
    objective = variational(DIVERGENCES["kl"], saturating=True)
    logits = torch.tensor([0.5, 1.5])
    assert objective.generator(logits) == pytest.approx(-float((logits - 1).exp().mean()))


def test_a_margin_asks_each_pair_apart_to_lead_by_it_and_no_more() -> None:
    # 0.5 + 1.5 - 1 and -0.25 + 1.5 + 2.
    assert Margin(1.5).discriminator_loss(REAL, FAKE) == pytest.approx((1.0 + 3.25) / 2)
    ahead, level = torch.tensor([5.0, 0.0]), torch.zeros(2)
    assert Margin().discriminator_loss(ahead, level) == pytest.approx((0.0 + 1.0) / 2)
    assert Margin().generator_loss(FAKE, REAL) == pytest.approx(-0.125)


def test_the_boundary_is_sought_where_the_logit_is_zero() -> None:
    assert boundary_seeking.generator_loss(FAKE) == pytest.approx((0.25 + 0.0625) / 4)
    expected = non_saturating.discriminator_loss(REAL, FAKE)
    assert torch.equal(boundary_seeking.discriminator_loss(REAL, FAKE), expected)


def test_relativistic_losses_compare_pairs_or_means_of_the_other_side() -> None:
    pairs = F.softplus(FAKE - REAL).mean()
    assert Relativistic(average=False).discriminator_loss(REAL, FAKE) == pytest.approx(float(pairs))
    means = F.softplus(0.125 - REAL).mean() + F.softplus(FAKE + 0.5).mean()
    assert Relativistic().discriminator_loss(REAL, FAKE) == pytest.approx(float(means))


def test_only_relativistic_generators_look_at_real_logits() -> None:
    assert Relativistic().compares
    assert not hinge.compares and not Margin().compares


def test_what_is_not_said_is_what_the_papers_use() -> None:
    for mine, other in ((least_squares(), least_squares(0.0, 1.0, 1.0)),):
        assert torch.equal(
            mine.discriminator_loss(REAL, FAKE), other.discriminator_loss(REAL, FAKE)
        )
        assert torch.equal(mine.generator_loss(FAKE), other.generator_loss(FAKE))
    softer = smoothed(non_saturating).real(REAL)
    assert torch.equal(softer, smoothed(non_saturating, 0.9).real(REAL))
    usual, saturating = (variational(DIVERGENCES["kl"], saturating=s) for s in (False, True))
    assert torch.equal(variational(DIVERGENCES["kl"]).generator(FAKE), usual.generator(FAKE))
    assert not torch.equal(usual.generator(FAKE), saturating.generator(FAKE))


def test_smoothing_mixes_both_losses_of_real_examples_by_the_target() -> None:
    by_target = F.binary_cross_entropy_with_logits(REAL, torch.full((2,), 0.8))
    assert smoothed(non_saturating, 0.8).real(REAL) == pytest.approx(float(by_target))
    assert smoothed(non_saturating, 0.8).generator is non_saturating.generator


@pytest.mark.parametrize("name", NAMES)
def test_the_game_is_played_on_the_bound(name: str) -> None:
    divergence = DIVERGENCES[name]
    objective = variational(divergence)
    bound = divergence.activation(REAL).mean() - divergence.conjugate_of_logit(FAKE).mean()
    torch.testing.assert_close(divergence.bound(REAL, FAKE), bound)
    torch.testing.assert_close(objective.discriminator_loss(REAL, FAKE), -bound)
    torch.testing.assert_close(objective.generator(FAKE), -divergence.activation(FAKE).mean())


# D_f of p = (1/4, 3/4) from q = (1/2, 1/2), summed by hand, and f' at the ratios 1/2 and 3/2.
BY_HAND = {
    "kl": (0.25 * math.log(0.5) + 0.75 * math.log(1.5), (1 + math.log(0.5), 1 + math.log(1.5))),
    "reverse-kl": (-0.5 * math.log(0.5) - 0.5 * math.log(1.5), (-2.0, -1 / 1.5)),
    "pearson": (0.25, (-1.0, 1.0)),
    "neyman": (0.5 * 0.25 / 0.5 + 0.5 * 0.25 / 1.5, (1 - 4.0, 1 - 1 / 2.25)),
    "hellinger": (
        0.5 * (0.5**0.5 - 1) ** 2 + 0.5 * (1.5**0.5 - 1) ** 2,
        (1 - 2**0.5, 1 - 1.5**-0.5),
    ),
    "js": (
        0.25 * math.log(0.25 / 0.375)
        + 0.5 * math.log(0.5 / 0.375)
        + 0.75 * math.log(0.75 / 0.625)
        + 0.5 * math.log(0.5 / 0.625),
        (math.log(2 * 0.5 / 1.5), math.log(2 * 1.5 / 2.5)),
    ),
}
BY_HAND["gan"] = (
    BY_HAND["js"][0] - 2 * LOG2,
    (math.log(0.5 / 1.5), math.log(1.5 / 2.5)),
)


@pytest.mark.parametrize("name", NAMES)
def test_the_divergence_of_two_coins_and_its_slopes_are_known(name: str) -> None:
    value, slopes = BY_HAND[name]
    ratio = torch.tensor([0.5, 1.5], dtype=torch.float64)
    assert true_divergence(DIVERGENCES[name], ratio) == pytest.approx(value)
    assert DIVERGENCES[name].slope(ratio).tolist() == pytest.approx(slopes)


# f* at two points of its domain, from the paper's table 5 by hand.
CONJUGATES = {
    "kl": ((0.0, 2.0), (math.exp(-1), math.exp(1))),
    "reverse-kl": ((-0.5, -3.0), (-1 - math.log(0.5), -1 - math.log(3.0))),
    "pearson": ((0.0, 2.0), (0.0, 3.0)),
    "neyman": ((0.0, -3.0), (0.0, -2.0)),
    "hellinger": ((0.0, -1.0), (0.0, -0.5)),
    "js": ((0.0, -1.0), (0.0, -math.log(2 - math.exp(-1)))),
    "gan": ((-1.0, -2.0), (-math.log(1 - math.exp(-1)), -math.log(1 - math.exp(-2)))),
}
# g_f at the logits 0 and 1, from table 6.
ACTIVATIONS = {
    "kl": (0.0, 1.0),
    "reverse-kl": (-1.0, -math.exp(-1)),
    "pearson": (0.0, 1.0),
    "neyman": (0.0, 1 - math.exp(-1)),
    "hellinger": (0.0, 1 - math.exp(-1)),
    "js": (0.0, LOG2 - math.log(1 + math.exp(-1))),
    "gan": (-LOG2, -math.log(1 + math.exp(-1))),
}


@pytest.mark.parametrize("name", NAMES)
def test_conjugates_and_activations_have_the_values_of_the_tables(name: str) -> None:
    points, values = CONJUGATES[name]
    at = torch.tensor(points, dtype=torch.float64)
    assert DIVERGENCES[name].conjugate(at).tolist() == pytest.approx(values)
    logits = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert DIVERGENCES[name].activation(logits).tolist() == pytest.approx(ACTIVATIONS[name])
