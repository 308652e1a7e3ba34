import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks import CaptionNetwork, StageDiscriminator, StageGenerator, build
from t2i.networks.blocks import (
    LEAK,
    LEAKY_GAIN,
    Standardize,
    StyledConvolution,
    doubling_kernel,
    precompute,
)
from t2i.networks.deep_fusion import UpBlock
from t2i.networks.discriminator import batch_deviation
from t2i.networks.generator import Excitation


def small_generator(**knobs: bool) -> StageGenerator:
    torch.manual_seed(0)
    return StageGenerator(
        condition_dim=6, resolutions=(8, 16), noise_dim=5, conditioning_dim=4, width=4, **knobs
    ).eval()


def inputs(n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(n, 6), torch.randn(n, 5), torch.randn(n, 4)


def test_a_generator_gives_a_picture_a_stage_within_bounds() -> None:
    output = small_generator()(*inputs())
    assert [tuple(p.shape) for p in output.pictures] == [(3, 3, 8, 8), (3, 3, 16, 16)]
    assert all(bool((p.abs() <= 1.0).all()) for p in output.pictures)


def test_fewer_stages_give_the_same_first_pictures() -> None:
    generator = small_generator()
    whole, first = generator(*inputs()), generator(*inputs(), stages=1)
    assert len(first.pictures) == 1
    assert torch.equal(first.pictures[0], whole.pictures[0])


def test_a_generator_may_fuse_the_caption_in_residual_blocks() -> None:
    generator = small_generator(deep_fusion=True)
    assert all(type(level) is UpBlock for level in generator.levels)
    output = generator(*inputs())
    assert [tuple(p.shape) for p in output.pictures] == [(3, 3, 8, 8), (3, 3, 16, 16)]
    # Fusion starts as the identity: what the caption says comes in as its layers learn.
    with torch.no_grad():
        for level in generator.levels:
            level.fuse2.first.scale[-1].weight.normal_()
    moved = generator(inputs()[0] + 1.0, *inputs()[1:])
    assert not torch.allclose(generator(*inputs()).pictures[-1], moved.pictures[-1], atol=1e-4)


def test_excited_levels_are_gated_by_those_of_an_eighth_of_their_side() -> None:
    torch.manual_seed(0)
    generator = StageGenerator(
        condition_dim=6, resolutions=(16, 64), noise_dim=5, conditioning_dim=4, width=4,
        max_channels=8, excitation=True,
    ).eval()  # fmt: skip
    assert set(generator.excitations) == {"32", "64"}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for side, gate in generator.excitations.items():
        gate.register_forward_hook(lambda _, given, __, side=side: seen.update({side: given}))
    generator(*inputs())
    assert {side: (a.shape[-1], b.shape[-1]) for side, (a, b) in seen.items()} == {
        "32": (4, 32),
        "64": (8, 64),
    }
    coarse, fine = seen["64"]
    gate = generator.excitations["64"]
    assert isinstance(gate, Excitation)
    pooled = F.adaptive_avg_pool2d(coarse, 4)
    channels = torch.sigmoid(gate.gate[3](F.leaky_relu(gate.gate[1](pooled), 0.1)))
    torch.testing.assert_close(gate(coarse, fine), fine * channels)


def test_without_conditioning_noise_the_mean_is_drawn() -> None:
    generator = small_generator()
    embedding, noise, _ = inputs()
    zero = torch.zeros(3, 4)
    torch.testing.assert_close(
        generator(embedding, noise, None).pictures[-1],
        generator(embedding, noise, zero).pictures[-1],
    )


def test_noise_caption_and_conditioning_noise_each_change_the_picture() -> None:
    generator = small_generator()
    before = generator(*inputs()).pictures[-1]
    for place in range(3):
        changed = list(inputs())
        changed[place] = changed[place] + 1.0
        assert not torch.allclose(before, generator(*changed).pictures[-1], atol=1e-4)


@pytest.mark.parametrize("resolutions", [(4, 8), (8, 12), (16, 8), (8, 8)])
def test_resolutions_that_cannot_be_are_refused(resolutions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="resolutions"):
        StageGenerator(resolutions=resolutions)


def test_styled_convolution_equals_a_convolution_with_modulated_weights() -> None:
    """StyleGAN2 (1912.04958) eq. 1 and 3, weight by weight."""
    torch.manual_seed(2)
    layer = StyledConvolution(3, 5, 4)
    torch.nn.init.normal_(layer.bias)
    x, style = torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    rows = []
    for picture, scale in zip(x, layer.scale(style), strict=True):
        weight = layer.weight * scale[None, :, None, None]
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-6).sqrt()
        row = F.conv2d(picture[None], weight, layer.bias, padding=1)
        rows.append(F.leaky_relu(row, LEAK) * LEAKY_GAIN)
    torch.testing.assert_close(layer(x, style), torch.cat(rows), atol=1e-5, rtol=1e-4)


def test_standardised_embeddings_have_zero_mean_and_unit_deviation() -> None:
    torch.manual_seed(3)
    rows = torch.randn(500, 4) * torch.tensor([1.0, 2.0, 3.0, 0.5]) + 7.0
    layer = Standardize(4)
    layer.fit(rows)
    found = layer(rows)
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0, unbiased=False), torch.ones(4), atol=1e-5, rtol=0)


def test_a_dimension_that_never_moves_stays_small() -> None:
    rows = torch.randn(100, 3)
    rows[:, 1] = 0.25
    layer = Standardize(3)
    layer.fit(rows)
    assert float(layer(rows)[:, 1].abs().max()) < 1e-5
    assert float(layer(rows + 0.1)[:, 1].abs().max()) < 2.0


def small_discriminator() -> StageDiscriminator:
    torch.manual_seed(0)
    return StageDiscriminator(
        condition_dim=6, resolutions=(8, 16), width=4, max_channels=8, caption_dim=5, code_dim=7
    ).eval()


def test_a_discriminator_scores_pictures_and_pairs_at_every_stage() -> None:
    torch.manual_seed(4)
    pictures = [torch.randn(4, 3, r, r) for r in (8, 16)]
    scores = small_discriminator()(pictures, torch.randn(6, 6), torch.tensor([0, 1, 0, 1, 2, 3]))
    assert len(scores) == 2
    for stage in scores:
        assert stage.picture.shape == (4,) and stage.pair.shape == (6,)
        torch.testing.assert_close(stage.picture_code.norm(dim=1), torch.ones(4))
        torch.testing.assert_close(stage.caption_code.norm(dim=1), torch.ones(6))


def test_a_pair_is_judged_by_its_own_picture_and_caption() -> None:
    torch.manual_seed(4)
    pictures = [torch.randn(4, 3, r, r) for r in (8, 16)]
    captions = torch.randn(3, 6)
    of = torch.tensor([2, 0, 1])
    critic = small_discriminator()
    before = critic(pictures, captions, of)
    changed = captions.clone()
    changed[0] += 1.0
    after = critic(pictures, changed, of)
    for first, second in zip(before, after, strict=True):
        moved = (first.pair - second.pair).abs() > 1e-6
        assert moved.tolist() == [True, False, False]
        assert torch.equal(first.picture, second.picture)
    other = critic(pictures, captions, torch.tensor([3, 0, 1]))
    assert not torch.allclose(before[0].pair[0], other[0].pair[0])


def test_every_weight_of_the_discriminator_has_spectral_norm_one() -> None:
    critic = small_discriminator().train()
    pictures = [torch.randn(4, 3, r, r) for r in (8, 16)]
    for _ in range(60):
        critic(pictures, torch.randn(4, 6), torch.arange(4))
    for module in critic.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            largest = float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2))
            assert largest == pytest.approx(1.0, abs=2e-2)


def test_batch_deviation_is_zero_for_equal_pictures_and_keeps_real_from_fake() -> None:
    x = torch.randn(8, 2, 4, 4)
    x[4:] = x[4]
    appended = batch_deviation(x)[:, 2, 0, 0]
    assert float(appended[4:].max()) < 2e-4
    expected = (x[:4].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    torch.testing.assert_close(appended[:4], expected.expand(4))


def test_a_caption_does_not_depend_on_padding() -> None:
    torch.manual_seed(5)
    network = CaptionNetwork(token_dim=12, width=16, code_dim=8).eval()
    tokens = torch.randn(1, 3, 12)
    longer = torch.cat([tokens, torch.full((1, 4, 12), 9.0)], dim=1)
    alone = network(tokens, torch.ones(1, 3, dtype=torch.bool))
    padded = network(longer, torch.arange(7)[None] < 3)
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-4)


def test_networks_are_built_from_their_own_configuration() -> None:
    for network in (small_generator(), small_discriminator(), CaptionNetwork(code_dim=8)):
        again = build(type(network).__name__, network.config)
        again.load_state_dict(network.state_dict())


def test_doubling_and_convolving_is_one_transposed_convolution() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 7, 6), torch.randn(4, 5, 3, 3)
    slow = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)
    fast = F.conv_transpose2d(x, doubling_kernel(weight), stride=2, padding=1)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


def test_what_follows_from_weights_alone_is_computed_once_and_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, other = (
        StageGenerator(condition_dim=6, resolutions=(64,), width=4, max_channels=16).eval()
        for _ in range(2)
    )
    other.load_state_dict(plain.state_dict())
    precompute(other)
    asked = torch.randn(2, 6), torch.randn(2, 100), torch.randn(2, 128)
    with torch.no_grad():
        (expected,) = plain(*asked).pictures
        # Neither is computed again.
        for name in ("doubling_kernel", "_squares"):
            monkeypatch.setattr(f"t2i.networks.blocks.{name}", None)
        (found,) = other(*asked).pictures
    assert torch.equal(found, expected)
    assert other.state_dict().keys() == plain.state_dict().keys()


def test_critics_of_features_judge_the_last_stage_too() -> None:
    torch.manual_seed(0)
    network = StageDiscriminator(
        condition_dim=6, resolutions=(8, 16), width=4, max_channels=8, features=((12, 8), (20, 4))
    ).eval()
    pictures = [torch.randn(4, 3, 8, 8), torch.randn(4, 3, 16, 16)]
    maps = [torch.randn(4, 12, 8, 8), torch.randn(4, 20, 4, 4)]
    captions, rows = torch.randn(4, 6), torch.arange(4)
    assert len(network(pictures, captions, rows)) == 2
    scores = network([*pictures, *maps], captions, rows)
    assert [tuple(s.pair.shape) for s in scores] == [(4,)] * 4
    changed = network([*pictures, maps[0], maps[1] + 1.0], captions, rows)
    assert torch.equal(changed[2].picture, scores[2].picture)
    assert not torch.allclose(changed[3].picture, scores[3].picture)
