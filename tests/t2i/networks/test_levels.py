from __future__ import annotations

import pytest
import torch

from t2i.networks.levels import LevelGenerator, pick


def test_levels_are_picked_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([0.2, 0.5, 0.3]).log().reshape(1, 3, 1, 1, 1)
    uniform = ((torch.arange(1000) + 0.5) / 1000).reshape(1000, 1, 1, 1)
    counts = pick(chances, uniform).flatten().bincount(minlength=3)
    assert counts.tolist() == [200, 500, 300]
    ends = pick(chances, torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1))
    assert ends.flatten().tolist() == [0, 2]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_hold_the_levels_values_alone_and_follow_from_the_noise(channels: int) -> None:
    generator = LevelGenerator(
        resolution=16, channels=channels, levels=3, source_dim=5, width=4
    ).eval()
    assert generator.noise_dim == 5 + channels * 256
    noise = torch.randn(4, generator.noise_dim)
    pictures = generator(torch.zeros(4, 0), noise).pictures[-1]
    assert pictures.shape == (4, channels, 16, 16)
    assert set(pictures.unique().tolist()) == {-1.0, 0.0, 1.0}
    assert torch.equal(generator(torch.zeros(4, 0), noise).pictures[-1], pictures)


def test_every_pixel_is_drawn_by_its_own_chances() -> None:
    generator = LevelGenerator(resolution=16, levels=2, source_dim=3, width=4).eval()
    source = torch.randn(1, 3)
    chances = generator.log_chances(source).exp()
    torch.testing.assert_close(chances.sum(dim=1), torch.ones(1, 1, 16, 16))
    noise = torch.cat([source.expand(4000, -1), torch.randn(4000, 256)], dim=1)
    drawn = generator(torch.zeros(4000, 0), noise).pictures[-1]
    assert ((drawn.mean(dim=0) + 1) / 2 - chances[0, 1]).abs().max() < 0.05


def test_pictures_move_to_the_nearest_level() -> None:
    generator = LevelGenerator(resolution=16, levels=3, width=4)
    pixels = torch.tensor([-1.0, -0.6, -0.4, 0.1, 0.45, 0.55, 1.0])
    assert generator.nearest(pixels).tolist() == [-1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
