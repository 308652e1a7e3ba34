import pytest
import torch

from t2i.networks.picture_reader import PictureNetwork
from training.eyes import BothEyes, Eyes, PretrainedNetwork, make_eyes
from training.lite import load_lite


@pytest.fixture(scope="module")
def eyes() -> PretrainedNetwork:
    torch.manual_seed(0)
    return PretrainedNetwork(code_dim=5, places=2, width=4).eval()


def pictures(side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, side, side, generator=generator) * 2 - 1


def test_maps_are_those_of_the_published_network_at_three_depths(eyes: PretrainedNetwork) -> None:
    network = load_lite(1, 64, "eyes")
    seen = ((pictures() + 1) * 127.5 - 127) / 128
    x = network._swish(network._bn0(network._conv_stem(seen)))
    expected = []
    for number, block in enumerate(network._blocks):
        x = block(x)
        if number in (3, 6, 14):
            expected.append(x)
    maps, _ = eyes.maps(pictures())
    # Its own norms have seen nothing yet: mean 0, variance 1, and a little beside it.
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted / (1 + 1e-5) ** 0.5, rtol=1e-3, atol=1e-3)


def test_the_trunk_does_not_learn_and_all_else_does(eyes: PretrainedNetwork) -> None:
    learning = PretrainedNetwork(code_dim=5, places=2, width=4).train()
    before = {name: value.clone() for name, value in learning.state_dict().items()}
    x = pictures().requires_grad_()
    optimizer = torch.optim.AdamW(learning.parameters(), lr=0.1)
    learning(x).square().sum().backward()
    assert x.grad is not None and bool(x.grad.abs().max() > 0)
    optimizer.step()
    changed = {n for n, v in learning.state_dict().items() if not torch.equal(v, before[n])}
    assert all(not name.startswith("trunk.") for name in changed)
    assert {
        name for name, _ in learning.named_parameters() if not name.startswith("trunk.")
    } < changed


def test_eyes_come_by_name() -> None:
    assert type(make_eyes("learned", 5)) is PictureNetwork
    assert type(make_eyes("lite1", 5)) is PretrainedNetwork
    assert type(make_eyes("both", 5)) is BothEyes


@pytest.mark.parametrize("side", [64, 128])
def test_both_eyes_show_what_the_frozen_ones_see_and_tell_what_the_others_do(side: int) -> None:
    torch.manual_seed(0)
    both = BothEyes(code_dim=5).eval()
    x = pictures(side)
    maps, code = both.maps(x)
    frozen = both.frozen.features(x)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(maps, frozen, strict=True))
    # Four pixels of 128 are one of 64.
    smaller = x if side == 64 else x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    torch.testing.assert_close(code, both.learned(smaller))
    assert torch.equal(both(x), code)
    assert both.map_shapes(side) == both.frozen.map_shapes(side)


def test_both_eyes_learn_norms_of_the_frozen_ones_while_they_learn_to_read() -> None:
    torch.manual_seed(0)
    both = BothEyes(code_dim=5).train()
    x = pictures().requires_grad_()
    for _ in range(60):
        both(x)
    both.eval()
    for each in both.features(x.detach()):
        means, deviations = each.mean(dim=(0, 2, 3)), each.std(dim=(0, 2, 3))
        assert bool((means.abs() < 0.05).all()) and bool((deviations < 1.1).all())
        assert float(deviations.median()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("name", ["learned", "lite1", "both"])
def test_eyes_of_every_kind_read_pictures_alike(name: Eyes, side: int) -> None:
    torch.manual_seed(0)
    network = make_eyes(name, 5).eval()
    maps, code = network.maps(pictures(side))
    assert tuple((m.shape[1], m.shape[2]) for m in maps) == network.map_shapes(side)
    assert code.shape == (2, 5)
    assert torch.equal(network(pictures(side)), code)
    for mine, alone in zip(maps, network.features(pictures(side)), strict=True):
        assert torch.equal(mine, alone)
