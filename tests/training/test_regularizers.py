"""Answers known by hand: a linear critic D(x) = w·x has the gradient w everywhere."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from t2i.networks.base import Critic
from training.augment import DiffAugment
from training.recipe import Batch, RowNoise, Scores, Update
from training.regularizers import (
    Anchors,
    Consistency,
    Drift,
    FeatureMatching,
    GradientPenalty,
    LeCam,
    MatchingAwarePenalty,
    Orthogonal,
    Play,
    PullingAway,
    clip_weights,
    dragan,
    interpolates,
    orthogonality,
    perturbed_reals,
    pulling_away,
    r1,
    r2,
    reals,
    squared_gradients,
)

CPU = torch.device("cpu")


class Linear(Critic):
    """D(x) = w·x + b, features x."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        super().__init__(feature_dim=len(weight))
        with torch.no_grad():
            self.score.weight.copy_(weight[None])
            self.score.bias.fill_(bias)

    def look(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)


class Squared(Critic):
    """D(x) = ‖x‖² / 2, whose gradient at x is x."""

    def __init__(self) -> None:
        super().__init__(feature_dim=1)
        with torch.no_grad():
            self.score.weight.fill_(1.0)
            self.score.bias.zero_()

    def look(self, pictures: Tensor) -> Tensor:
        return 0.5 * pictures.flatten(1).square().sum(dim=1, keepdim=True)


def play_of(
    critic: nn.Module,
    real: Tensor,
    fake: Tensor | None = None,
    *,
    generator: nn.Module | None = None,
    **others: nn.Module,
) -> Play:
    n = len(real)
    batch = Batch(real, RowNoise(0, 0, n, slice(0, n), CPU), 0.0)
    networks = {"discriminator": critic, "generator": generator or nn.Linear(1, 1), **others}
    drawn = torch.zeros_like(real) if fake is None else fake
    return Play(networks, batch, drawn, torch.zeros(n, 0), torch.zeros(n, 1))


@pytest.mark.parametrize("at", [interpolates, reals, perturbed_reals])
def test_gradient_penalty_is_zero_for_a_unit_linear_critic(at) -> None:  # type: ignore[no-untyped-def]
    play = play_of(Linear(torch.tensor([0.6, 0.8])), torch.randn(5, 2), torch.randn(5, 2))
    assert GradientPenalty(10.0, at=at).loss(play).item() == pytest.approx(0.0, abs=1e-10)


def test_gradient_penalty_of_a_linear_critic_is_the_squared_excess_of_its_norm() -> None:
    play = play_of(Linear(torch.tensor([3.0, 4.0])), torch.randn(6, 2))
    assert GradientPenalty(10.0).loss(play).item() == pytest.approx(16.0, rel=1e-5)
    assert GradientPenalty(10.0, target=2.0).loss(play).item() == pytest.approx(9.0, rel=1e-5)
    assert r1().loss(play).item() == pytest.approx(25.0, rel=1e-5)


def test_one_sided_penalty_leaves_small_gradients_alone() -> None:
    small = play_of(Linear(torch.tensor([0.3, 0.4])), torch.randn(6, 2))
    assert GradientPenalty(10.0, one_sided=True).loss(small).item() == 0.0
    assert GradientPenalty(10.0).loss(small).item() == pytest.approx(0.25, rel=1e-5)


def test_the_norm_is_taken_sample_by_sample() -> None:
    # Gradients (3, 4) and (0, 0): norms 5 and 0. Over the whole batch it would be one norm of 5.
    play = play_of(Squared(), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    squared = squared_gradients(play, play.real)
    assert squared.detach().tolist() == pytest.approx([25.0, 0.0])
    expected = ((5 - 1) ** 2 + 1) / 2
    assert GradientPenalty(1.0, at=reals).loss(play).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("penalty", [GradientPenalty(10.0, at=reals), r1(), r2(), PullingAway(1.0)])
def test_penalties_do_not_depend_on_the_batch_size(penalty: GradientPenalty) -> None:
    if isinstance(penalty, PullingAway):
        rows = torch.eye(3)
        assert penalty.loss(play_of(Linear(torch.ones(3)), rows, rows)).item() == 0.0
        return
    one = torch.randn(4, 3)
    twice = one.repeat(2, 1)
    small, large = play_of(Squared(), one, one), play_of(Squared(), twice, twice)
    torch.testing.assert_close(penalty.loss(small), penalty.loss(large))


def test_r1_looks_at_real_samples_and_r2_at_fakes() -> None:
    play = play_of(Squared(), torch.full((4, 1), 3.0), torch.full((4, 1), 2.0))
    assert r1().loss(play).item() == pytest.approx(9.0)
    assert r2().loss(play).item() == pytest.approx(4.0)
    assert r1(10.0).weight == 5.0


def test_interpolates_lie_between_real_and_fake_with_one_share_a_sample() -> None:
    real, fake = torch.zeros(64, 3, 2, 2), torch.ones(64, 3, 2, 2)
    points = interpolates(play_of(Squared(), real, fake))
    shares = points.flatten(1)
    assert torch.equal(shares.amin(dim=1), shares.amax(dim=1))
    assert 0.0 <= shares.min() < 0.2 and 0.8 < shares.max() <= 1.0


def test_dragan_moves_real_samples_up_to_half_a_deviation() -> None:
    real = torch.randn(64, 4)
    moved = perturbed_reals(play_of(Squared(), real)) - real
    assert moved.min() >= 0.0
    assert moved.max() <= 0.5 * real.std() + 1e-6
    assert dragan().name == "dragan"


def test_the_penalty_reaches_the_critic_and_not_the_generator() -> None:
    generator = nn.Linear(2, 2)
    critic = Linear(torch.tensor([3.0, 4.0]))
    fake = generator(torch.randn(5, 2))
    GradientPenalty(10.0).loss(play_of(critic, torch.randn(5, 2), fake)).backward()
    assert generator.weight.grad is None
    # d/dw (‖w‖ - 1)² = 2 (‖w‖ - 1) w / ‖w‖ = 8 (0.6, 0.8).
    assert critic.score.weight.grad is not None
    assert critic.score.weight.grad[0].tolist() == pytest.approx([4.8, 6.4], rel=1e-4)


def test_penalties_are_computed_in_float32_under_bfloat16() -> None:
    play = play_of(Linear(torch.tensor([3.01, 4.03])), torch.randn(6, 2))
    exact = GradientPenalty(10.0).loss(play)
    with torch.autocast("cpu", torch.bfloat16):
        half = GradientPenalty(10.0).loss(play)
    assert half.dtype == torch.float32
    assert torch.equal(exact, half)


def test_consistency_is_zero_where_the_augmentation_changes_nothing() -> None:
    flat = torch.ones(4, 1, 8, 8)
    critic = Linear(torch.zeros(64))
    assert Consistency(10.0).loss(play_of(critic, flat)).item() == 0.0


def test_consistency_sees_a_mirrored_picture() -> None:
    real = torch.zeros(16, 1, 4, 4)
    real[:, :, :, 0] = 1.0
    weight = torch.zeros(4, 4)
    weight[:, 0] = 0.25
    # D is 1 on the left edge and 0 once mirrored; a reach of a half pixel shifts nothing.
    value = Consistency(1.0).loss(play_of(Linear(weight.flatten()), real))
    assert 0.1 < value < 0.9


def test_lecam_measures_from_the_other_sides_average() -> None:
    anchors = Anchors()
    anchors.real.fill_(2.0)
    anchors.fake.fill_(-1.0)
    real, fake = torch.full((3, 1), 1.0), torch.full((3, 1), 0.75)
    play = play_of(Linear(torch.ones(1)), real, fake, lecam=anchors)
    assert LeCam(0.1).loss(play).item() == pytest.approx((1.0 + 1.0) ** 2 + (0.75 - 2.0) ** 2)


def test_lecams_averages_move_towards_the_mean_logits() -> None:
    term = LeCam(0.1, decay=0.9)
    anchors = term.state()
    parts = {"D/real": torch.tensor(10.0), "D/fake": torch.tensor(-20.0)}
    term.after(anchors, Update(0.0, 0, parts))
    assert isinstance(anchors, Anchors)
    assert anchors.real == pytest.approx(1.0)
    assert anchors.fake == pytest.approx(-2.0)


def test_orthogonality_is_zero_for_orthogonal_filters_of_any_length() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0]]))
    assert orthogonality(layer).item() == 0.0
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [3.0, 1.0, 0.0]]))
    assert orthogonality(layer).item() == pytest.approx(2 * 9.0)


def test_orthogonal_belongs_to_the_generator() -> None:
    assert Orthogonal(1e-4).player == "generator"


def test_pulling_away_is_zero_on_orthogonal_and_one_on_equal_codes() -> None:
    assert pulling_away(torch.eye(4) * 3.0) == 0.0
    assert pulling_away(torch.ones(4, 2)) == pytest.approx(1.0)
    # One pair at 60 degrees: cosine ½, squared ¼.
    pair = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])
    assert pulling_away(pair) == pytest.approx(0.25)


def test_feature_matching_is_the_squared_distance_of_means() -> None:
    real = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    fake = torch.tensor([[0.0, 1.0], [0.0, 1.0]], requires_grad=True)
    loss = FeatureMatching(1.0).loss(play_of(Linear(torch.ones(2)), real, fake))
    assert loss.item() == pytest.approx(2.0**2 + 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert fake.grad is not None and fake.grad.abs().sum() > 0


def test_clipping_bounds_the_critics_weights_alone() -> None:
    critic, generator = nn.Linear(2, 2), nn.Linear(2, 2)
    for network in (critic, generator):
        nn.init.constant_(network.weight, -3.0)
    with torch.no_grad():
        clip_weights(0.01)({"discriminator": critic, "generator": generator}, Update(0.0, 0, {}))
    assert torch.equal(critic.weight, torch.full((2, 2), -0.01))
    assert torch.equal(generator.weight, torch.full((2, 2), -3.0))


REAL = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]])
FAKE = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])


def test_interpolates_and_perturbed_samples_follow_the_noise_of_the_batch() -> None:
    play = play_of(Squared(), REAL, FAKE)
    share = play.batch.noise.uniform("interpolates", 1)
    torch.testing.assert_close(interpolates(play), (1 - share) * REAL + share * FAKE)
    step = play.batch.noise.uniform("perturbed", 2)
    torch.testing.assert_close(perturbed_reals(play), REAL + 0.5 * REAL.std() * step)


def test_what_is_not_said_of_a_penalty_is_what_its_paper_uses() -> None:
    play = play_of(Squared(), REAL, FAKE)
    gp = GradientPenalty(10.0)
    assert (gp.at, gp.target, gp.one_sided, gp.every) == (interpolates, 1.0, False, 1)
    assert torch.equal(gp.loss(play), GradientPenalty(10.0, at=interpolates, target=1.0).loss(play))
    assert (r1(), r2()) == (r1(10.0, 1), r2(10.0, 1))
    assert (r1(4.0, 3).weight, r1(4.0, 3).every) == (2.0, 3)
    assert (r2(4.0, 3).weight, r2(4.0, 3).every) == (2.0, 3)
    assert dragan().weight == 10.0 and dragan(3.0).weight == 3.0
    assert torch.equal(dragan().loss(play), GradientPenalty(1.0, at=perturbed_reals).loss(play))
    assert LeCam(0.1).decay == 0.99


def test_only_penalties_differentiate_twice_and_need_each_sample_alone() -> None:
    for term, penal in ((r1(), True), (Drift(1.0), False), (LeCam(1.0), False)):
        assert (term.per_sample, term.differentiates_twice) == (penal, penal)
        assert not term.reads_classes


def test_drift_is_the_mean_squared_logit_of_real_samples() -> None:
    play = play_of(Linear(torch.tensor([1.0, 1.0]), bias=0.5), REAL, FAKE)
    assert Drift(1e-3).loss(play).item() == pytest.approx((0.5**2 + 4.0**2 + 0.25**2) / 3)


@pytest.mark.parametrize("also_fakes", [False, True])
def test_consistency_is_the_mean_squared_move_of_the_logit(also_fakes: bool) -> None:
    real, fake = torch.rand(8, 1, 8, 8), torch.rand(8, 1, 8, 8)
    critic = Linear(torch.linspace(-1, 1, 64))
    play = play_of(critic, real, fake)
    mirror = DiffAugment(colour=False, translation=True, cutout=False, flip=True)
    expected = torch.zeros(())
    for samples, name in ((real, "real"), (fake, "fake"))[: 1 + also_fakes]:
        moved = mirror(samples, play.batch.noise, f"consistency-{name}")
        expected = expected + (critic(samples).logits - critic(moved).logits).square().mean()
    torch.testing.assert_close(Consistency(1.0, also_fakes=also_fakes).loss(play), expected)
    assert Consistency(1.0) == Consistency(1.0, also_fakes=False)


def test_the_critic_is_shown_both_sides_augmented_apart_and_under_the_condition() -> None:
    real, fake = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    critic, colour = Linear(torch.linspace(-1, 1, 64)), DiffAugment()
    plain = play_of(critic, real, fake)
    play = Play(plain.networks, plain.batch, fake, plain.condition, plain.noise, colour)
    for scores, samples, name in (
        (play.real_scores, real, "augment-real"),
        (play.fake_scores, fake, "augment-fake"),
    ):
        seen = colour(samples, plain.batch.noise, name)
        torch.testing.assert_close(scores.logits, critic(seen).logits)
    torch.testing.assert_close(plain.real_scores.logits, critic(real).logits)
    torch.testing.assert_close(plain.fake_scores.logits, critic(fake).logits)


def test_orthogonality_sums_over_filters_of_all_kinds_of_layers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3)
    )
    expected = 0.0
    for layer in (network[0], network[1], network[3]):
        weight = layer.weight.detach()
        filters = weight.unbind(1 if isinstance(layer, nn.ConvTranspose2d) else 0)
        for i, one in enumerate(filters):
            for j, other in enumerate(filters):
                expected += float((one * other).sum() ** 2) if i != j else 0.0
    found = orthogonality(network)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    play = play_of(Linear(torch.ones(2)), REAL, generator=network)
    assert torch.equal(Orthogonal(1e-4).loss(play), found)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(orthogonality(network), found)


def test_orthogonality_looks_at_weights_before_they_are_normalised() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 0.0], [6.0, 2.0]]))
    assert orthogonality(spectral_norm(layer)).item() == pytest.approx(2 * 12.0**2)


def test_pulling_away_looks_at_the_features_of_fakes_and_belongs_to_the_generator() -> None:
    pair = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])
    play = play_of(Linear(torch.ones(2)), torch.eye(2), 2.0 * pair)
    assert PullingAway(0.1).loss(play).item() == pytest.approx(0.25)
    assert PullingAway(0.1).player == FeatureMatching(1.0).player == "generator"
    with torch.autocast("cpu", torch.bfloat16):
        assert pulling_away(pair).dtype == torch.float32


def test_feature_matching_asks_nothing_of_the_real_samples() -> None:
    real = REAL.clone().requires_grad_(True)
    FeatureMatching(1.0).loss(play_of(Linear(torch.ones(2)), real, FAKE)).detach()
    loss = FeatureMatching(1.0).loss(play_of(Linear(torch.ones(2)), real, FAKE.requires_grad_()))
    loss.backward()
    assert real.grad is None


def test_weights_are_clipped_on_both_sides_at_a_hundredth_unless_said() -> None:
    for limit, hook in ((0.01, clip_weights()), (0.5, clip_weights(0.5))):
        critic = nn.Linear(2, 1)
        with torch.no_grad():
            critic.weight.copy_(torch.tensor([[-3.0, 3.0]]))
            hook({"discriminator": critic}, Update(0.0, 0, {}))
        assert critic.weight.tolist() == [[pytest.approx(-limit), pytest.approx(limit)]]


class Pairs(nn.Module):
    """D(x, e) = ‖x‖² / 2 + x·e, with e twice the caption: gradients x + e by x, and x by e."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def read(self, embedding: Tensor) -> Tensor:
        return 2.0 * embedding

    def look(self, pictures: Tensor) -> Tensor:
        return self.gain * pictures.flatten(1)

    def pair(self, seen: Tensor, captions: Tensor) -> Scores:
        logits = 0.5 * seen.square().sum(dim=1) + (seen * captions).sum(dim=1)
        return Scores(logits, seen)


def pairs_of(real: Tensor, captions: Tensor) -> Play:
    n = len(real)
    batch = Batch(real, RowNoise(0, 0, n, slice(0, n), CPU), 0.0)
    # Generated samples lie where the penalty would be another one.
    fakes = torch.full_like(real, 7.0)
    return Play({"discriminator": Pairs()}, batch, fakes, captions, torch.zeros(n, 1))


@pytest.mark.parametrize("autocast", [False, True])
def test_the_matching_aware_penalty_is_a_power_of_both_gradients_as_one_vector(
    autocast: bool,
) -> None:
    # At x = (1, 0), e = (0, 2): gradients (1, 2) and (1, 0), together of squared length 6. At the
    # origin there is none: the mean halves it.
    real = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 0.0]]]])
    captions = torch.tensor([[0.0, 1.0], [0.0, 0.0]], requires_grad=True)
    play = pairs_of(real, captions)
    # A third has no place in half precision.
    third = pairs_of(real / 3.0, captions / 3.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = MatchingAwarePenalty(2.0).loss(play)
        square = MatchingAwarePenalty(2.0, power=2.0).loss(play)
        exact = MatchingAwarePenalty(2.0, power=2.0).loss(third)
    assert loss.item() == pytest.approx(6.0**3 / 2)
    assert square.item() == pytest.approx(3.0)
    assert exact.item() == pytest.approx(3.0 / 9.0, rel=1e-6)
    # It is a loss of the critic, and of nothing that came before it.
    loss.backward()
    assert play.networks["discriminator"].gain.grad.item() != 0.0
    assert captions.grad is None


def test_the_matching_aware_penalty_does_not_depend_on_the_batch_size() -> None:
    real, captions = torch.randn(3, 1, 1, 2), torch.randn(3, 2)
    once = MatchingAwarePenalty(2.0).loss(pairs_of(real, captions))
    twice = MatchingAwarePenalty(2.0).loss(pairs_of(real.repeat(2, 1, 1, 1), captions.repeat(2, 1)))
    torch.testing.assert_close(once, twice)


class Sums(nn.Module):
    """Scores a sample under each of its captions, the right ones first: sum of x plus sum of e."""

    def forward(self, samples: Tensor, captions: Tensor) -> Scores:
        times = len(captions) // len(samples)
        seen = samples.flatten(1).repeat(times, 1)
        return Scores(seen.sum(dim=1) + captions.sum(dim=1), torch.cat([seen, captions], dim=1))


def test_real_samples_are_scored_under_right_and_wrong_captions_in_one_pass() -> None:
    real, right = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
    batch = Batch(real, RowNoise(0, 0, 2, slice(0, 2), CPU), 0.0)
    wrong = torch.tensor([[100.0], [200.0]])
    play = Play({"discriminator": Sums()}, batch, real, right, torch.zeros(2, 1), wrong=wrong)
    assert play.real_scores.logits.tolist() == [11.0, 22.0]
    assert play.wrong_scores.logits.tolist() == [101.0, 202.0]
    assert play.real_scores.features.tolist() == [[1.0, 10.0], [2.0, 20.0]]
    assert play.wrong_scores.features.tolist() == [[1.0, 100.0], [2.0, 200.0]]


def test_pairs_are_seen_through_the_augmentation_of_the_real_samples() -> None:
    real, right, wrong = torch.rand(2, 3, 8, 8), torch.zeros(2, 1), torch.ones(2, 1)
    batch = Batch(real, RowNoise(0, 0, 2, slice(0, 2), CPU), 0.0)
    augment = DiffAugment("color")
    play = Play(
        {"discriminator": Sums()}, batch, torch.zeros_like(real), right, torch.zeros(2, 1),
        augment=augment, wrong=wrong,
    )  # fmt: skip
    changed = augment(real, batch.noise, "augment-real").flatten(1).sum(dim=1)
    torch.testing.assert_close(play.real_scores.logits, changed)
    torch.testing.assert_close(play.wrong_scores.logits, changed + 1.0)
    assert not torch.allclose(changed, real.flatten(1).sum(dim=1))


def test_penalties_end_at_the_samples_where_they_are_taken() -> None:
    source = torch.ones(4, 2, requires_grad=True)
    play = play_of(Squared(), 2.0 * source, 3.0 * source)
    squared_gradients(play, play.fake).sum().backward()
    assert source.grad is None


def test_the_anchors_of_lecam_move_to_their_own_side() -> None:
    term = LeCam(0.1, decay=0.75)
    anchors = term.state()
    parts = {"D/real": torch.tensor(4.0), "D/fake": torch.tensor(-8.0)}
    term.after(anchors, Update(0.0, 0, parts))
    assert isinstance(anchors, Anchors)
    assert (anchors.real.item(), anchors.fake.item()) == (1.0, -2.0)


def test_penalties_are_computed_in_full_precision() -> None:
    third = torch.full((4, 1), 1.0 / 3.0)
    play = play_of(Squared(), third, third)
    with torch.autocast("cpu", torch.bfloat16):
        assert r1().loss(play).item() == pytest.approx(1.0 / 9.0, rel=1e-6)
        layer = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            layer.weight.fill_(1.0 / 3.0)
        # Two filters of two thirds each: the product 2/9 twice.
        assert orthogonality(layer).item() == pytest.approx(2 * (2 / 9) ** 2, rel=1e-6)
        codes = torch.tensor([[1.0, 0.0], [1.0, 3.0]])
        assert pulling_away(codes).item() == pytest.approx(0.1, rel=1e-6)


def test_features_that_agree_in_size_but_not_in_sign_are_apart() -> None:
    real, fake = torch.tensor([[3.0, 1.0]]), torch.tensor([[-3.0, 1.0]])
    loss = FeatureMatching(1.0).loss(play_of(Linear(torch.ones(2)), real, fake))
    assert loss.item() == pytest.approx(36.0)


def test_a_flat_critic_is_punished_without_a_break() -> None:
    critic = Linear(torch.zeros(2))
    weights = list(critic.parameters())
    loss = GradientPenalty(10.0).loss(play_of(critic, torch.randn(3, 2), torch.randn(3, 2)))
    slopes = torch.autograd.grad(loss, weights, allow_unused=True)
    assert loss.item() == pytest.approx(1.0, rel=1e-4)
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes if slope is not None)


class Multiplied(Pairs):
    """The same D by a product of matrices, which autocast takes in half precision."""

    def look(self, pictures: Tensor) -> Tensor:
        return self.gain * F.linear(pictures.flatten(1), torch.eye(pictures[0].numel()))


def test_the_matching_aware_penalty_leaves_the_batch_as_it_is_and_counts_in_float32() -> None:
    torch.manual_seed(0)
    play = pairs_of(torch.randn(2, 1, 1, 4), torch.randn(2, 4))
    exact = MatchingAwarePenalty(2.0).loss(play)
    assert not play.real.requires_grad
    networks = {"discriminator": Multiplied()}
    multiplied = dataclasses.replace(play, networks=networks)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(MatchingAwarePenalty(2.0).loss(multiplied), exact)
    assert MatchingAwarePenalty.per_sample and MatchingAwarePenalty.differentiates_twice
