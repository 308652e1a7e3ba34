import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from training.objectives import (
    colour_consistency,
    conditioning_kl,
    hinge,
    matching_loss,
    mode_seeking_loss,
    non_saturating,
)

LOGITS = torch.tensor([-2.0, 0.0, 0.5, 3.0])


def test_hinge_is_zero_beyond_the_margin_and_linear_within() -> None:
    assert hinge.real(LOGITS).item() == pytest.approx((3.0 + 1.0 + 0.5 + 0.0) / 4)
    assert hinge.fake(LOGITS).item() == pytest.approx((0.0 + 1.0 + 1.5 + 4.0) / 4)
    assert hinge.generator(LOGITS).item() == pytest.approx(-1.5 / 4)


def test_non_saturating_is_binary_cross_entropy_on_logits() -> None:
    ones, zeros = torch.ones(4), torch.zeros(4)
    expected_real = F.binary_cross_entropy(torch.sigmoid(LOGITS), ones)
    expected_fake = F.binary_cross_entropy(torch.sigmoid(LOGITS), zeros)
    torch.testing.assert_close(non_saturating.real(LOGITS), expected_real)
    torch.testing.assert_close(non_saturating.fake(LOGITS), expected_fake)
    torch.testing.assert_close(non_saturating.generator(LOGITS), expected_real)


def test_an_undecided_discriminator_costs_log_four() -> None:
    undecided = torch.zeros(7)
    total = non_saturating.real(undecided) + non_saturating.fake(undecided)
    assert total.item() == pytest.approx(math.log(4.0))


def test_matching_of_orthogonal_codes_is_known() -> None:
    codes = torch.eye(4)
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    # Own cosine 1, the other three 0.
    expected = math.log(1.0 + 3.0 * math.exp(-1.0 / 0.5))
    assert matching_loss(codes, codes, nothing, 0.5).item() == pytest.approx(expected)


def test_matching_at_chance_is_log_n() -> None:
    same = F.normalize(torch.ones(5, 3), dim=1)
    nothing = torch.zeros(5, 5, dtype=torch.bool)
    assert matching_loss(same, same, nothing, 0.1).item() == pytest.approx(math.log(5))


def test_matching_leaves_out_other_true_captions() -> None:
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    true = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    # The twins no longer compete: rows 0 and 1 face one stranger, row 2 faces two.
    two, three = math.log(1 + math.exp(-1.0)), math.log(1 + 2 * math.exp(-1.0))
    expected = (2 * two + three) / 3
    assert matching_loss(codes, codes, true, 1.0).item() == pytest.approx(expected)


def test_matching_sees_which_caption_belongs_to_which_picture() -> None:
    codes = torch.eye(4)
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    right = matching_loss(codes, codes, nothing, 0.2)
    wrong = matching_loss(codes, codes.roll(1, 0), nothing, 0.2)
    assert wrong > right + 4.0


def test_conditioning_kl_agrees_with_torch_distributions() -> None:
    torch.manual_seed(1)
    mu, log_sigma = torch.randn(6, 3), torch.randn(6, 3)
    expected = kl_divergence(Normal(mu, log_sigma.exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(conditioning_kl(mu, log_sigma), expected)


def test_mode_seeking_is_the_ratio_of_distances_pair_by_pair() -> None:
    noise, other = torch.full((2, 4), 0.75), torch.tensor([[0.25], [-0.25]]).expand(2, 4)
    first = torch.full((2, 3, 2, 2), -0.5)
    second = torch.stack([torch.full((3, 2, 2), -0.26), torch.full((3, 2, 2), 0.49)])
    expected = (0.5 / 0.25 + 1.0 / 1.0) / 2
    assert mode_seeking_loss(first, second, noise, other).item() == pytest.approx(expected)


def test_mode_seeking_pushes_equal_pictures_apart() -> None:
    first = torch.zeros(1, 3, 2, 2)
    second = torch.full((1, 3, 2, 2), 0.01, requires_grad=True)
    mode_seeking_loss(first, second, torch.zeros(1, 4), torch.ones(1, 4)).backward()
    assert second.grad is not None
    assert bool((second.grad < 0).all()), "descent must move the second picture further away"


def test_pairs_weigh_what_is_right_as_much_as_both_wrongs_together() -> None:
    right, wrong, fake = (torch.tensor([value]) for value in (0.5, 0.25, -0.5))
    # Hinges of 1 - 0.5, of 1 + 0.25 and of 1 - 0.5.
    expected = 0.5 + 0.5 * (1.25 + 0.5)
    assert hinge.matching_aware_loss(right, wrong, fake).item() == pytest.approx(expected)


def test_colours_of_two_scales_agree_by_their_means_and_covariances() -> None:
    # The channels are 0 and 2, and 0 and 4: means of 1 and 2, variances of 1 and 4, covariance 2.
    # The coarse picture is one colour, (3, 0): it is 4 + 4 away, and 1 + 16 + 2 * 4 in those.
    fine = torch.tensor([[[[0.0, 2.0]], [[0.0, 4.0]]]], requires_grad=True)
    coarse = torch.tensor([[[[3.0]], [[0.0]]]], requires_grad=True)
    loss = colour_consistency(fine, coarse)
    assert loss.item() == pytest.approx(8.0 + 5.0 * 25.0)
    assert colour_consistency(fine, coarse, 2.0).item() == pytest.approx(8.0 + 2.0 * 25.0)
    # The coarse picture is taken as it is.
    loss.backward()
    assert fine.grad is not None and coarse.grad is None
    # A second pair that agrees halves the mean; an even picture agrees at any size.
    with torch.no_grad():
        other = torch.cat([fine, coarse.repeat(1, 1, 1, 2)])
        both = colour_consistency(torch.cat([fine, fine]), other)
    assert both.item() == pytest.approx(66.5)
