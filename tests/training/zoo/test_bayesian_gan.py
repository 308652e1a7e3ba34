from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from t2i.networks import MlpGenerator
from t2i.networks.bayesian import BayesianGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.recipe import Recipe
from training.zoo.bayesian_gan import bayesian_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return bayesian_gan(spec_of(ring()), **{"width": 4, "noise_dim": 3, "samples": 2, **knobs})  # type: ignore[arg-type]


def generator_of(recipe: Recipe) -> BayesianGenerator:
    return cast(BayesianGenerator, recipe.networks["generator"])


def test_both_players_losses_are_those_of_the_bound_and_of_the_ratio() -> None:
    recipe = small(prior=0.5)
    batch = batch_of(SAMPLES)
    torch.manual_seed(7)
    found = losses_of(recipe, batch)
    torch.manual_seed(7)
    generator, critic = generator_of(recipe), recipe.networks["discriminator"]

    def minus_r(name: str) -> torch.Tensor:
        noise = batch.noise.normal(name, 4)
        halves = [(generator.weights(), noise[:2]), (generator.weights(), noise[2:])]
        parts = [generator.with_weights(w, torch.zeros(2, 0), z) for w, z in halves]
        logits: torch.Tensor = critic(torch.cat(parts)).logits
        return logits

    fake, real = minus_r("discriminator"), critic(SAMPLES).logits
    # r is high for samples of the model.
    score = -F.logsigmoid(-fake).mean() - torch.log(1 - torch.sigmoid(-real)).mean()
    torch.testing.assert_close(found["discriminator"].total, score)
    ratios = minus_r("generator").exp().reshape(2, 2).mean(dim=1)
    expected = generator.divergence(0.5) / 64 - ratios.log().mean()
    torch.testing.assert_close(found["generator"].total, expected)


def test_weights_are_drawn_of_networks_without_batchnorm() -> None:
    recipe = bayesian_gan(spec_of(squares()), width=4, noise_dim=3)
    normed = {
        name
        for name, network in recipe.networks.items()
        if any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    }
    assert normed == {"discriminator"}


def test_the_divergence_from_the_prior_is_that_of_normal_distributions() -> None:
    torch.manual_seed(0)
    generator = BayesianGenerator.like(MlpGenerator(noise_dim=2, width=3))
    with torch.no_grad():
        for scale in generator.log_scales:
            scale.normal_()
    expected = sum(
        kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 0.7)).sum()
        for mean, log_scale in zip(generator.means.parameters(), generator.log_scales, strict=True)
    )
    torch.testing.assert_close(generator.divergence(0.7), expected)


def test_means_and_deviations_of_all_weights_learn() -> None:
    recipe = small()
    losses_of(recipe, batch_of(SAMPLES))
    recipe.networks["generator"].requires_grad_(True)
    losses = recipe.phases[1].loss(recipe.networks, batch_of(SAMPLES))
    losses.total.backward()  # type: ignore[no-untyped-call]
    generator = generator_of(recipe)
    for weights in (generator.means.parameters(), generator.log_scales):
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in weights)


def test_the_gradient_of_the_likelihood_is_that_of_the_divergence_of_two_normals() -> None:
    # Data N(1, 1), model N(m, 1) at m = 0, and the right -r = x - 1/2. KL(data ‖ model) is
    # (1 - m)² / 2, whose slope by m is -1; so that of log E exp(-r) must be 1.
    m = torch.zeros((), requires_grad=True)
    noise = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    torch.logsumexp((m + noise) - 0.5, dim=0).backward()  # type: ignore[no-untyped-call]
    assert m.grad is not None and m.grad.item() == pytest.approx(1.0, abs=1e-3)


def test_the_noise_chooses_among_fixed_weights() -> None:
    torch.manual_seed(0)
    generator = BayesianGenerator.like(MlpGenerator(noise_dim=2, width=3), draws=2)
    with torch.no_grad():
        for scale in generator.log_scales:
            scale.fill_(0.0)
    noise = torch.tensor([[1.0, 2.0, 1.0], [1.0, 2.0, -1.0], [1.0, 2.0, 0.5]])
    drawn = generator(torch.zeros(3, 0), noise).pictures[-1]
    torch.testing.assert_close(drawn[0], drawn[2])
    assert not torch.allclose(drawn[0], drawn[1])
    expected = generator.with_weights(generator.weights(1), torch.zeros(1, 0), noise[:1])
    torch.testing.assert_close(drawn[:1], expected)


def test_with_probes_the_ratio_takes_the_weights_and_is_asked_at_real_samples() -> None:
    recipe = small(prior=0.5, probes=3)
    batch = batch_of(SAMPLES)
    torch.manual_seed(7)
    found = losses_of(recipe, batch)
    torch.manual_seed(7)
    generator, critic = generator_of(recipe), recipe.networks["discriminator"]
    fixed = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))

    def minus_r(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of real samples and of fakes, both under what the weights draw of probes."""
        noise = batch.noise.normal(name, 4)
        real, fake = [], []
        for rows in (slice(0, 2), slice(2, 4)):
            weights = generator.weights()
            code = generator.with_weights(weights, torch.zeros(3, 0), fixed).reshape(1, 6)
            drawn = generator.with_weights(weights, torch.zeros(2, 0), noise[rows])
            real.append(critic(SAMPLES[rows], code.expand(2, 6)).logits)
            fake.append(critic(drawn, code.expand(2, 6)).logits)
        return torch.cat(real), torch.cat(fake)

    real, fake = minus_r("discriminator")
    score = -F.logsigmoid(-fake).mean() - F.logsigmoid(real).mean()
    torch.testing.assert_close(found["discriminator"].total, score)
    real, _ = minus_r("generator")
    # The bound's second term is the mean of r over the data.
    expected = generator.divergence(0.5) / 64 + real.mean()
    torch.testing.assert_close(found["generator"].total, expected)


def test_probes_of_pictures_are_refused() -> None:
    with pytest.raises(TrainingError, match="pictures"):
        bayesian_gan(spec_of(squares()), probes=2)
    with pytest.raises(TrainingError, match="probes"):
        small(probes=-1)


def test_less_than_one_draw_of_weights_or_no_prior_is_refused() -> None:
    small(samples=1, draws=1)
    for wrong in ({"samples": 0}, {"draws": 0}, {"prior": 0.0}):
        with pytest.raises(
            TrainingError, match=r"samples, prior, probes: are .*; give|draws: is 0; give"
        ):
            small(**wrong)
