from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from t2i.networks import (
    Autoencoder,
    BeganAutoencoder,
    BeganGenerator,
    DcganAutoencoder,
    MlpAutoencoder,
)
from t2i.networks.autoencoder import Exponent


class Halve(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


@pytest.mark.parametrize(("exponent", "energy"), [(1, (1.0 + 2.0) / 2), (2, (1.0 + 4.0) / 2)])
def test_the_logit_is_minus_the_mean_error_of_each_sample(
    exponent: Exponent, energy: float
) -> None:
    scores = Autoencoder(Halve(), nn.Identity(), exponent)(torch.tensor([[2.0, -4.0], [0.0, 0.0]]))
    assert scores.logits.tolist() == [-energy, 0.0]
    assert scores.features.tolist() == [[1.0, -2.0], [0.0, 0.0]]


@pytest.mark.parametrize("resolution", [16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", [DcganAutoencoder, BeganAutoencoder])
def test_pictures_of_every_side_are_rebuilt_in_their_shape(
    network: type[DcganAutoencoder], channels: int, resolution: int
) -> None:
    critic = network(resolution=resolution, channels=channels, width=2)
    pictures = torch.rand(2, channels, resolution, resolution)
    rebuilt, codes = critic.rebuild(pictures)
    assert rebuilt.shape == pictures.shape
    assert codes.dim() == 2
    assert critic(pictures).logits.shape == (2,)
    with pytest.raises(ValueError, match="resolution: 30 is not 5 to 8 doubled"):
        network(resolution=30)


def test_points_are_rebuilt_through_a_code() -> None:
    rebuilt, codes = MlpAutoencoder(width=4, code_dim=3).rebuild(torch.zeros(5, 2))
    assert (rebuilt.shape, codes.shape) == ((5, 2), (5, 3))


def test_began_grows_its_channels_by_the_width_at_every_halving() -> None:
    critic = BeganAutoencoder(resolution=32, width=4, code_dim=6)
    wide = [m.out_channels for m in critic.encoder if isinstance(m, nn.Conv2d)]
    assert wide == [4, 4, 8, 8, 12, 12, 12]
    back = [m.out_channels for m in critic.decoder if isinstance(m, nn.Conv2d)]
    assert back == [4] * 6 + [3]


def test_began_generator_draws_pictures_in_range() -> None:
    (pictures,) = BeganGenerator(resolution=28, channels=1, noise_dim=3, width=2)(
        torch.zeros(2, 0), 100 * torch.randn(2, 3)
    ).pictures
    assert pictures.shape == (2, 1, 28, 28)
    assert pictures.abs().max() <= 1.0
