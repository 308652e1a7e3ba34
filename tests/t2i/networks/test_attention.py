from __future__ import annotations

import pytest
import torch

from t2i.networks import LadderCritic, LadderGenerator, build
from t2i.networks.attention import SelfAttention2d
from t2i.networks.ladder import ladder_widths


def test_attention_starts_as_the_identity() -> None:
    x = torch.randn(2, 16, 3, 3)
    assert torch.equal(SelfAttention2d(16)(x), x)


def test_attention_is_equations_1_to_3_place_by_place() -> None:
    layer = SelfAttention2d(16)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    x = torch.randn(1, 16, 2, 2)
    key, query, value = (part(x)[0].flatten(1) for part in (layer.key, layer.query, layer.value))
    expected = torch.empty(16, 4)
    for j in range(4):
        beta = torch.stack([key[:, i] @ query[:, j] for i in range(4)]).softmax(0)
        gathered = sum(beta[i] * value[:, i] for i in range(4))
        assert isinstance(gathered, torch.Tensor)
        out = layer.out(gathered[None, :, None, None]).flatten()
        expected[:, j] = 0.7 * out + x[0].flatten(1)[:, j]
    torch.testing.assert_close(layer(x)[0].flatten(1), expected)
    torch.testing.assert_close(layer.weights(x).sum(dim=2), torch.ones(1, 4))


def test_a_far_place_is_seen_only_through_attention() -> None:
    layer = SelfAttention2d(8)
    x = torch.randn(1, 8, 4, 4)
    moved = x.clone()
    moved[:, :, 3, 3] += 5.0
    assert torch.equal(layer(moved)[:, :, 0, 0], layer(x)[:, :, 0, 0])
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    assert not torch.equal(layer(moved)[:, :, 0, 0], layer(x)[:, :, 0, 0])


@pytest.mark.parametrize(
    ("resolution", "rungs"), [(128, [16, 16, 8, 4, 2, 1]), (28, [2, 2, 1]), (32, [4, 4, 2, 1])]
)
def test_channels_halve_as_the_side_doubles(resolution: int, rungs: list[int]) -> None:
    assert ladder_widths(resolution, 3) == [3 * rung for rung in rungs]


@pytest.mark.parametrize("resolution", [28, 32])
@pytest.mark.parametrize("big", [False, True])
def test_ladders_draw_and_judge_and_are_built_again_from_their_config(
    resolution: int, big: bool
) -> None:
    side = resolution // 4
    generator = LadderGenerator(
        resolution=resolution,
        channels=1,
        condition_dim=2,
        noise_dim=5,
        width=2,
        attention=side,
        shared_dim=3 if big else 0,
        hierarchical=big,
        spectral=True,
        orthogonal=big,
    ).eval()
    critic = LadderCritic(
        resolution=resolution, channels=1, condition_dim=2, width=2, attention=side
    )
    embedding, noise = torch.eye(2), torch.randn(2, 5)
    (pictures,) = generator(embedding, noise).pictures
    assert pictures.shape == (2, 1, resolution, resolution) and pictures.abs().max() <= 1.0
    assert critic(pictures, embedding).logits.shape == (2,)
    again = build("LadderGenerator", generator.config).eval()
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again(embedding, noise).pictures[0], pictures)
