from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from t2i.networks import Critic, MlpCritic, MlpGenerator, VirtualNormGenerator
from t2i.networks.minibatch import MinibatchCritic, MinibatchDiscrimination
from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.compose import compose
from training.errors import TrainingError
from training.historical import History
from training.objectives import wasserstein
from training.recipe import Batch, LabelledRows, Losses, Recipe
from training.regularizers import GradientPenalty
from training.zoo.improved_gan import improved_gan

SAMPLES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
LABELLED = LabelledRows(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))


def small(**knobs: object) -> Recipe:
    torch.manual_seed(0)
    return improved_gan(spec_of(ring()), **{"width": 8, "noise_dim": 3, **knobs})  # type: ignore[arg-type]


def batch() -> Batch:
    return replace(batch_of(SAMPLES), labelled=LABELLED)


def found(recipe: Recipe) -> tuple[dict[str, Losses], torch.Tensor, torch.Tensor]:
    """Losses, and the samples that the discriminator and the generator were scored on."""
    kept: list[torch.Tensor] = []
    handle = recipe.networks["generator"].register_forward_hook(
        lambda module, inputs, output: kept.append(output.pictures[-1].detach())
    )
    losses = losses_of(recipe, batch())
    handle.remove()
    return losses, kept[0], kept[1]


def test_the_discriminator_minimises_the_loss_of_k_plus_one_classes() -> None:
    recipe = small()
    losses, fake, _ = found(recipe)
    critic = cast(Critic, recipe.networks["discriminator"])

    def of_all(samples: torch.Tensor) -> torch.Tensor:
        logits = critic(samples).class_logits
        return torch.cat([logits, torch.zeros(len(samples), 1)], dim=1).softmax(dim=1)

    labelled = of_all(LABELLED.pictures)
    # p(y | x, y < K + 1): the generated class is left out and the rest made to sum to 1.
    among = labelled[:, :4] / labelled[:, :4].sum(dim=1, keepdim=True)
    supervised = -among[torch.arange(2), LABELLED.labels].log().mean()
    real = -(1.0 - of_all(SAMPLES)[:, 4]).log().mean()
    fakes = -of_all(fake)[:, 4].log().mean()
    torch.testing.assert_close(losses["discriminator"].total, supervised + real + fakes)


def test_with_feature_matching_the_generator_minimises_that_alone() -> None:
    recipe = small(semi_supervised=False)
    losses, _, mine = found(recipe)
    critic = cast(Critic, recipe.networks["discriminator"])
    apart = critic(SAMPLES).features.mean(dim=0) - critic(mine).features.mean(dim=0)
    torch.testing.assert_close(losses["generator"].total, apart.square().sum())


def test_without_it_the_generators_loss_does_not_saturate() -> None:
    recipe = small(semi_supervised=False, feature_matching=False)
    losses, _, mine = found(recipe)
    logits = cast(Critic, recipe.networks["discriminator"])(mine).logits
    torch.testing.assert_close(losses["generator"].total, F.softplus(-logits).mean())


def test_smoothing_moves_the_target_of_real_samples_only() -> None:
    recipe = small(semi_supervised=False, smooth=0.9)
    losses, fake, _ = found(recipe)
    critic = cast(Critic, recipe.networks["discriminator"])
    logits = torch.cat([critic(SAMPLES).logits, critic(fake).logits])
    targets = torch.tensor([0.9] * 4 + [0.0] * 4)
    expected = 2.0 * F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(losses["discriminator"].total, expected)


@pytest.mark.parametrize("technique", ["minibatch", "history", "virtual_norm"])
def test_each_technique_is_a_switch_of_its_own(technique: str) -> None:
    def has(recipe: Recipe) -> tuple[bool, ...]:
        networks = recipe.networks
        inside = list(networks["discriminator"].modules())
        return (
            any(isinstance(module, MinibatchDiscrimination) for module in inside),
            any(isinstance(network, History) for network in networks.values()),
            isinstance(networks["generator"], VirtualNormGenerator),
        )

    order = ("minibatch", "history", "virtual_norm")
    assert has(small()) == (False, False, False)
    recipe = small(**{technique: 1.0 if technique == "history" else True}, batch_size=4)
    assert has(recipe) == tuple(name == technique for name in order)
    losses_of(recipe, batch())


def test_digits_are_told_apart_by_linear_layers_or_by_convolutions() -> None:
    spec = spec_of(squares())
    linear = improved_gan(spec, width=8, noise_dim=3).networks
    convolutional = improved_gan(
        spec, width=4, noise_dim=3, convolutional=True, semi_supervised=False
    ).networks
    assert type(linear["generator"]).__name__ == "MlpGenerator"
    assert type(convolutional["generator"]).__name__ == "DcganGenerator"
    assert convolutional["generator"].config["noise_dim"] == 3  # type: ignore[index,union-attr]
    assert convolutional["generator"].config["width"] == 4  # type: ignore[index,union-attr]
    convolutions = [m for m in convolutional["discriminator"].modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].out_channels == 4


def test_linear_layers_have_the_shares_of_the_papers_widths() -> None:
    # 1000, 500, 250, 250, 250 units tell digits apart, 500 and 500 with BatchNorm draw them.
    knobs = {"noise_dim": 3, "semi_supervised": False}
    found = improved_gan(spec_of(squares()), width=64, **knobs).networks  # type: ignore[arg-type]
    told = found["discriminator"].get_submodule("body")
    widths = [layer.out_features for layer in told.modules() if isinstance(layer, nn.Linear)]
    assert widths == [64, 32, 16, 16, 16]
    least = improved_gan(spec_of(squares()), width=4, **knobs).networks  # type: ignore[arg-type]
    told = least["discriminator"].get_submodule("body")
    assert {m.out_features for m in told.modules() if isinstance(m, nn.Linear)} == {8}
    drawn = [m for m in found["generator"].modules() if isinstance(m, nn.Linear | nn.BatchNorm1d)]
    sizes = [m.out_features if isinstance(m, nn.Linear) else m.num_features for m in drawn]
    assert sizes == [32, 32, 32, 32, 3 * 16 * 16]


def test_most_samples_may_have_no_label() -> None:
    assert improved_gan(replace(spec_of(ring()), labelled=1), width=8).phases


def test_minibatch_discrimination_serves_any_recipe_but_one_with_a_gradient_penalty() -> None:
    with pytest.raises(TrainingError, match="minibatch discrimination ties the samples"):
        compose(
            generator=MlpGenerator(width=4),
            discriminator=MinibatchCritic(MlpCritic(width=4)),
            objective=wasserstein,
            regularizers=[GradientPenalty(10.0)],
        )


def test_data_without_labels_is_refused_where_labels_are_asked_for() -> None:
    spec = replace(spec_of(ring()), label_names=(), labelled=0)
    with pytest.raises(TrainingError, match="labels"):
        improved_gan(spec, width=8)
    assert improved_gan(spec, width=8, semi_supervised=False).phases
