from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from t2i.networks.base import Critic, PictureGenerator
from t2i.networks.dcgan import Gated
from training.architectures import ARCHITECTURES, players_of
from training.errors import TrainingError
from training.registry import Spec


def players(name: str, resolution: int = 32, width: int = 4) -> tuple[PictureGenerator, Critic]:
    torch.manual_seed(0)
    return players_of(name, Spec(resolution, channels=3), noise_dim=5, width=width)


def kinds(network: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in network.modules()}


def layers(network: nn.Module) -> int:
    """Convolutions and linear layers on the way through, shortcuts left out."""
    counted = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    named = network.named_modules()
    return sum(isinstance(each, counted) for name, each in named if "shortcut" not in name)


def drawn(generator: PictureGenerator, count: int = 4) -> Tensor:
    found: Tensor = generator(torch.zeros(count, 0), torch.randn(count, 5)).pictures[-1]
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_draws_and_judges_each_sample_by_itself(name: str) -> None:
    generator, critic = players(name)
    pictures = drawn(generator.eval())
    assert pictures.shape == (4, 3, 32, 32) and pictures.abs().max() <= 1
    together = critic(pictures).logits
    alone = torch.cat([critic(each).logits for each in torch.split(pictures, 1)])
    torch.testing.assert_close(together, alone)
    assert not any(isinstance(module, _BatchNorm) for module in critic.modules())


def test_the_deep_players_have_101_layers_at_64_pixels() -> None:
    generator, critic = players("deep", 64, width=2)
    assert layers(generator) == layers(critic) == 101


def test_each_departure_from_dcgan_is_what_it_says() -> None:
    generator, critic = players("dcgan")
    assert nn.BatchNorm2d in kinds(generator) and nn.GroupNorm in kinds(critic)
    generator, critic = players("constant")
    convolutions = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.in_channels for m in convolutions] == [4, 4, 4]
    assert nn.BatchNorm2d not in kinds(generator) and nn.GroupNorm in kinds(critic)
    generator, critic = players("mlp")
    linear = [m for m in generator.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [32, 32, 32, 32, 3 * 32 * 32]
    for network in players("bare"):
        assert not kinds(network) & {nn.BatchNorm2d, nn.GroupNorm}
    for network in players("gated"):
        assert Gated in kinds(network) and not kinds(network) & {nn.ReLU, nn.LeakyReLU}
    for network in players("tanh"):
        assert nn.Tanh in kinds(network) and not kinds(network) & {nn.ReLU, nn.LeakyReLU}


def test_a_gated_unit_is_a_sigmoid_times_a_tanh() -> None:
    x = torch.tensor([[[0.3]], [[-0.7]]]).transpose(0, 1)
    expected = torch.tensor(0.3).sigmoid() * torch.tensor(-0.7).tanh()
    torch.testing.assert_close(Gated()(x).squeeze(), expected)


def test_constant_width_neither_fades_nor_bursts() -> None:
    generator, _ = players("constant", 64, width=64)
    assert 0.02 < drawn(generator).std() < 0.9


def test_points_and_texts_have_players_of_their_own() -> None:
    points = Spec(0, kind="points", sample_shape=(2,))
    generator, critic = players_of("deep", points, noise_dim=5, width=4)
    assert critic(drawn(generator)).logits.shape == (4,)
    texts = Spec(0, kind="tokens", sample_shape=(6,), vocabulary=3)
    generator, critic = players_of("deep", texts, noise_dim=5, width=4)
    assert drawn(generator).shape == (4, 6, 3)
    assert critic(drawn(generator)).logits.shape == (4,)


def test_a_side_that_no_doubling_reaches_is_refused() -> None:
    with pytest.raises(TrainingError, match="resolution: 30"):
        players_of("deep", Spec(30))
