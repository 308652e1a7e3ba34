from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from t2i.networks import ProgressiveCritic, ProgressiveGenerator, build
from t2i.networks.equalized import (
    EqualizedConv2d,
    EqualizedLinear,
    batch_deviation,
    pixel_norm,
)
from t2i.networks.progressive import as_grown, channels_at, grown_side


def pair(resolution: int = 16) -> tuple[ProgressiveGenerator, ProgressiveCritic]:
    torch.manual_seed(0)
    return (
        ProgressiveGenerator(resolution=resolution, noise_dim=5, width=8),
        ProgressiveCritic(resolution=resolution, width=8),
    )


def test_equalised_weights_are_unit_normal_and_scaled_as_they_run() -> None:
    layer = EqualizedConv2d(64, 32, 3)
    assert float(layer.weight.detach().std()) == pytest.approx(1.0, rel=0.05)
    assert layer.scale == pytest.approx(math.sqrt(2 / (64 * 9)))
    x = torch.randn(1, 64, 5, 5)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight * layer.scale, padding=1))
    linear = EqualizedLinear(4, 3, gain=1.0)
    row = torch.randn(2, 4)
    torch.testing.assert_close(linear(row), row @ linear.weight.t() / 2)


def test_adam_moves_equalised_layers_of_any_width_by_the_same_share() -> None:
    for inward in (2, 512):
        layer = EqualizedLinear(inward, 4)
        before = layer.weight.detach().clone()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, betas=(0.0, 0.99))
        layer(torch.randn(8, inward)).square().sum().backward()
        optimizer.step()
        torch.testing.assert_close((layer.weight - before).abs().max(), torch.tensor(0.01))


def test_pixel_norm_leaves_features_of_unit_mean_square() -> None:
    x = pixel_norm(torch.randn(2, 6, 3, 3) * 7)
    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(2, 3, 3))


def test_batch_deviation_is_one_number_on_a_plane_of_its_own() -> None:
    x = torch.zeros(2, 1, 1, 2)
    x[1, 0, 0, 0], x[1, 0, 0, 1] = 2.0, 4.0
    # Deviations of (0, 2) and of (0, 4) are 1 and 2.
    told = batch_deviation(x)
    assert told.shape == (2, 2, 1, 2)
    torch.testing.assert_close(told[:, 1], torch.full((2, 1, 2), 1.5))
    alike = torch.ones(3, 1, 2, 2, requires_grad=True)
    batch_deviation(alike)[:, 1].sum().backward()
    assert alike.grad is not None and torch.isfinite(alike.grad).all()


@pytest.mark.parametrize(("level", "side"), [(0.0, 4), (0.1, 8), (1.0, 8), (1.5, 16), (2.0, 16)])
def test_pictures_are_as_fine_as_the_level_and_always_of_the_full_side(
    level: float, side: int
) -> None:
    generator, critic = pair()
    generator.level.fill_(level)
    critic.level.fill_(level)
    picture = generator(torch.zeros(2, 0), torch.randn(2, 5)).pictures[-1]
    assert picture.shape == (2, 3, 16, 16) and grown_side(16, level) == side
    block = 16 // side
    assert torch.equal(
        picture[:, :, ::block, ::block], picture[:, :, block - 1 :: block, block - 1 :: block]
    )
    assert critic(picture).logits.shape == (2,)


@pytest.mark.parametrize("before", [0, 1])
def test_a_fade_begins_with_what_was_and_ends_with_what_is_new(before: int) -> None:
    generator, critic = pair()
    noise = torch.randn(2, 5)

    def at(level: float) -> tuple[torch.Tensor, torch.Tensor]:
        generator.level.fill_(level)
        critic.level.fill_(level)
        drawn = generator(torch.zeros(2, 0), noise).pictures[-1]
        return drawn, critic(as_grown(noise.new_ones(2, 3, 16, 16).cumsum(3), level)).logits

    tiny = 1e-6
    for low, high in ((before, before + tiny), (before + 1 - tiny, before + 1)):
        for one, other in zip(at(low), at(high), strict=True):
            torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-3)
    half, old, new = (at(level)[0] for level in (before + 0.5, before, before + 1))
    torch.testing.assert_close(half, (old + new) / 2)


def test_real_pictures_fade_alike() -> None:
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(as_grown(x, 2.0), x)
    torch.testing.assert_close(as_grown(x, 1.5), (as_grown(x, 1.0) + x) / 2)


def test_what_is_saved_remembers_how_far_it_had_grown() -> None:
    generator, _ = pair()
    generator.level.fill_(1.25)
    again = build("ProgressiveGenerator", generator.config).eval()
    again.load_state_dict(generator.state_dict())
    noise = torch.randn(2, 5)
    first = generator.eval()(torch.zeros(2, 0), noise).pictures[-1]
    assert torch.equal(again(torch.zeros(2, 0), noise).pictures[-1], first)
    assert first.abs().max() <= 1.0


def test_fine_features_have_fewer_channels() -> None:
    assert [channels_at(side, 512) for side in (4, 32, 64, 128, 1024)] == [512, 512, 256, 128, 16]


def test_the_critic_sees_how_much_a_batch_differs() -> None:
    _, critic = pair()
    critic.level.fill_(2.0)
    x = torch.randn(4, 3, 16, 16)
    alone = torch.cat([critic(row[None]).logits for row in x])
    assert not torch.allclose(critic(x).logits, alone, atol=1e-4)
