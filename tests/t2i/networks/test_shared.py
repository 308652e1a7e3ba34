from __future__ import annotations

import pytest
import torch
from torch import nn

from t2i.networks import (
    Critic,
    DcganCritic,
    DcganGenerator,
    MlpCritic,
    MlpGenerator,
    PictureGenerator,
    ResidualCritic,
    ResidualGenerator,
    build,
)
from t2i.networks.conditional_norm import ConditionalBatchNorm2d
from t2i.networks.mlp import Maxout


@pytest.mark.parametrize("resolution", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("condition_dim", [0, 3])
@pytest.mark.parametrize(
    ("draws", "judges"), [(DcganGenerator, DcganCritic), (ResidualGenerator, ResidualCritic)]
)
def test_pictures_of_every_side_are_drawn_and_judged(
    draws: type[DcganGenerator],
    judges: type[DcganCritic],
    resolution: int,
    channels: int,
    condition_dim: int,
) -> None:
    shape = {"resolution": resolution, "channels": channels, "condition_dim": condition_dim}
    generator = draws(**shape, noise_dim=5, width=4)
    critic = judges(**shape, outputs=2, width=4)
    embedding = torch.eye(3)[[0, 2]] if condition_dim else torch.zeros(2, 0)
    (pictures,) = generator(embedding, torch.randn(2, 5)).pictures
    assert pictures.shape == (2, channels, resolution, resolution)
    assert pictures.abs().max() <= 1.0
    scores = critic(pictures, embedding)
    assert scores.logits.shape == (2,)
    assert scores.class_logits.shape == (2, 2)
    assert len(scores.features) == 2
    assert generator.resolutions == (resolution,)


@pytest.mark.parametrize(
    "generator",
    [
        MlpGenerator(sample_shape=(1, 4, 4), condition_dim=2, noise_dim=3, width=8, norm=True),
        DcganGenerator(resolution=16, width=4, norm=False),
        ResidualGenerator(resolution=16, width=4, condition_dim=3),
    ],
)
def test_a_generator_is_built_again_from_its_config(generator: PictureGenerator) -> None:
    again = build(type(generator).__name__, generator.config)
    again.load_state_dict(generator.state_dict())
    assert isinstance(again, PictureGenerator)
    embedding, noise = torch.rand(2, generator.condition_dim), torch.randn(2, generator.noise_dim)
    first = generator.eval()(embedding, noise).pictures[-1]
    assert torch.equal(again.eval()(embedding, noise).pictures[-1], first)


@pytest.mark.parametrize("joining", ["concat", "projection"])
@pytest.mark.parametrize("network", [MlpCritic, DcganCritic, ResidualCritic])
def test_the_condition_changes_the_score_either_way(network, joining: str) -> None:  # type: ignore[no-untyped-def]
    critic = network(
        **({"sample_shape": (3, 16, 16)} if network is MlpCritic else {"resolution": 16}),
        condition_dim=2,
        joining=joining,
        width=4,
    ).eval()
    pictures = torch.rand(2, 3, 16, 16)
    first = critic(pictures, torch.eye(2)).logits
    second = critic(pictures, torch.eye(2).flip(0)).logits
    assert (first != second).all()


def test_projection_adds_the_inner_product_of_condition_and_features() -> None:
    critic = MlpCritic(sample_shape=(2,), condition_dim=2, joining="projection", width=3)
    assert critic.project is not None
    points, embedding = torch.randn(4, 2), torch.rand(4, 2)
    scores = critic(points, embedding)
    plain = critic.score(scores.features).squeeze(1)
    expected = plain + ((embedding @ critic.project.weight.t()) * scores.features).sum(dim=1)
    torch.testing.assert_close(scores.logits, expected)


def test_a_critic_asks_for_the_condition_that_it_needs() -> None:
    with pytest.raises(ValueError, match=r"embedding: is missing; give \(n, 3\)"):
        MlpCritic(condition_dim=3)(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="no second head"):
        _ = MlpCritic()(torch.zeros(1, 2)).class_logits


def test_conditional_norm_starts_as_plain_norm_and_mixes_labels_in_between() -> None:
    norm = ConditionalBatchNorm2d(3, condition_dim=2)
    x = torch.randn(8, 3, 4, 4)
    first = norm(x, torch.eye(2)[[0] * 8])
    torch.testing.assert_close(first.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert norm.gain is not None and norm.bias is not None
    nn.init.normal_(norm.gain.weight)
    nn.init.normal_(norm.bias.weight)
    norm.eval()
    ends = [norm(x, torch.eye(2)[[k] * 8]) for k in (0, 1)]
    torch.testing.assert_close(norm(x, torch.full((8, 2), 0.5)), (ends[0] + ends[1]) / 2)


@pytest.mark.parametrize(
    "critic",
    [
        MlpCritic(width=8, spectral=True),
        DcganCritic(resolution=16, width=8, norm=False, spectral=True),
        ResidualCritic(resolution=16, width=8, norm="spectral"),
    ],
)
def test_spectral_normalisation_leaves_no_singular_value_above_one(critic: Critic) -> None:
    for _ in range(40):
        critic(torch.randn(2, 2) if isinstance(critic, MlpCritic) else torch.randn(2, 3, 16, 16))
    for module in critic.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            largest = torch.linalg.svdvals(module.weight.detach().flatten(1))[0]
            assert largest == pytest.approx(1.0, abs=0.05)


def test_layer_norm_scores_each_sample_alone() -> None:
    critic = ResidualCritic(resolution=16, width=4, norm="layer")
    pictures = torch.randn(4, 3, 16, 16)
    alone = torch.cat([critic(picture[None]).logits for picture in pictures])
    torch.testing.assert_close(critic(pictures).logits, alone)


def test_maxout_is_the_largest_of_its_pieces() -> None:
    layer = Maxout(2, 3, pieces=4)
    x = torch.randn(5, 2)
    pieces = layer.linear(x).reshape(5, 3, 4)
    assert torch.equal(layer(x), pieces.max(dim=2).values)


@pytest.mark.parametrize("resolution", [7, 30, 36])
def test_a_side_that_cannot_be_doubled_to_is_refused(resolution: int) -> None:
    if resolution == 36:
        with pytest.raises(ValueError, match="is not 4 to 7 doubled"):
            DcganGenerator(resolution=resolution)
        return
    with pytest.raises(ValueError, match="resolution"):
        DcganCritic(resolution=resolution)


def test_dcgan_has_batchnorm_but_not_at_the_generators_output_and_the_critics_input() -> None:
    generator, critic = DcganGenerator(resolution=64), DcganCritic(resolution=64)
    drawn = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.out_channels for m in drawn] == [256, 128, 64, 3]
    assert [m.num_features for m in norms] == [512, 256, 128, 64]
    looked = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in looked] == [64, 128, 256, 512]
    assert [m.num_features for m in critic.modules() if isinstance(m, nn.BatchNorm2d)] == [
        128,
        256,
        512,
    ]
