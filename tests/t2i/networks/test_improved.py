from __future__ import annotations

import math

import pytest
import torch

from t2i.networks import DcganGenerator, MlpCritic, MlpGenerator, VirtualNormGenerator, build
from t2i.networks.class_critic import ClassCritic
from t2i.networks.minibatch import MinibatchCritic, MinibatchDiscrimination
from t2i.networks.noisy import NoisyCritic
from t2i.networks.virtual_norm import VirtualBatchNorm


def test_closeness_is_that_of_the_formula() -> None:
    layer = MinibatchDiscrimination(2, kernels=2, kernel_dim=1)
    with torch.no_grad():
        layer.project.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    found = layer(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    near, far = math.exp(-1.0), math.exp(-2.0)
    expected = [[2 + near, 2 + far], [1 + 2 * near, 2 + far], [2 + near, 1 + 2 * far]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_collapsed_batch_is_told_from_a_varied_one() -> None:
    torch.manual_seed(0)
    critic = MinibatchCritic(MlpCritic(width=4), kernels=3, kernel_dim=2)
    same, varied = torch.zeros(6, 2), 30.0 * torch.randn(6, 2)
    beside = critic(same).features[:, 4:]
    torch.testing.assert_close(beside, torch.full((6, 3), 6.0))
    assert critic(varied).features[:, 4:].mean() < 4.0
    names = [name for name, _ in critic.named_parameters()]
    assert names == [n for n in names if "body.score" not in n and "body.head" not in n]


def test_the_logit_is_that_of_z_over_z_plus_one() -> None:
    critic = ClassCritic(MlpCritic(width=4), 3)
    scores = critic(torch.randn(5, 2))
    z = scores.class_logits.exp().sum(dim=1)
    torch.testing.assert_close(torch.sigmoid(scores.logits), z / (z + 1.0))
    # The same as softmax over K + 1 logits, the last of which is 0.
    padded = torch.cat([scores.class_logits, torch.zeros(5, 1)], dim=1).softmax(dim=1)
    torch.testing.assert_close(1.0 - padded[:, 3], torch.sigmoid(scores.logits))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 4)])
def test_a_row_is_normalised_by_the_reference_and_itself(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = VirtualBatchNorm(3, reference=5)
    x = 2.0 * torch.randn(7, *shape) + 1.0
    found = layer(x)
    over = (0, *range(2, x.dim()))
    for row in (5, 6):
        seen = torch.cat([x[:5], x[row : row + 1]])
        mean = seen.mean(dim=over, keepdim=True)
        deviation = seen.var(dim=over, unbiased=False, keepdim=True).add(1e-5).sqrt()
        torch.testing.assert_close(
            found[row : row + 1], (x[row : row + 1] - mean) / deviation, rtol=1e-4, atol=1e-5
        )
    reference = found[:5]
    torch.testing.assert_close(reference.mean(dim=over), torch.zeros(3), atol=1e-5, rtol=0)


def test_with_virtual_normalisation_a_sample_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    ordinary = DcganGenerator(resolution=8, channels=1, condition_dim=2, noise_dim=3, width=2)
    generator = VirtualNormGenerator.like(ordinary, reference=4)
    assert not any("BatchNorm2d" in type(m).__name__ for m in generator.modules())
    embedding, noise = torch.eye(2)[[0, 1, 1]], torch.randn(3, 3)
    together = generator(embedding, noise).pictures[-1]
    alone = generator(embedding[1:2], noise[1:2]).pictures[-1]
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    again = build("VirtualNormGenerator", generator.config)
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again(embedding, noise).pictures[-1], together)


def test_the_reference_batch_is_part_of_what_is_learned_from() -> None:
    generator = VirtualNormGenerator.like(MlpGenerator(noise_dim=2, width=4, norm=True), 3)
    drawn = generator(torch.zeros(2, 0), torch.randn(2, 2)).pictures[-1]
    assert drawn.shape == (2, 2)
    before = drawn.detach().clone()
    generator.get_buffer("reference_noise").mul_(3.0)
    torch.manual_seed(0)
    assert not torch.equal(generator(torch.zeros(2, 0), torch.randn(2, 2)).pictures[-1], before)


def test_noise_is_added_while_training_only() -> None:
    torch.manual_seed(0)
    critic = NoisyCritic(sample_shape=(1, 4, 4), widths=(8, 4), outputs=3)
    x = torch.randn(2, 1, 4, 4)
    assert not torch.equal(critic(x).features, critic(x).features)
    critic.eval()
    assert torch.equal(critic(x).features, critic(x).features)
    assert critic(x).class_logits.shape == (2, 3)
