from __future__ import annotations

import hashlib

import pytest
import torch

from t2i.noise import draw_noise, slerp
from t2i.seeds import LARGEST_SEED, random_seed


def test_the_noise_of_a_seed_never_changes() -> None:
    noise, conditioning_noise = draw_noise(7, 100, 128)
    together = torch.cat([noise, conditioning_noise]).numpy().tobytes()
    assert hashlib.sha256(together).hexdigest().startswith("710b73e42fa305ef")


def test_noise_is_standard_normal_float32_and_the_two_parts_differ() -> None:
    noise, conditioning_noise = draw_noise(1, 20_000, 20_000)
    for part in (noise, conditioning_noise):
        assert part.dtype == torch.float32
        assert abs(float(part.mean())) < 0.03
        assert abs(float(part.std()) - 1) < 0.03
    assert abs(float((noise * conditioning_noise).mean())) < 0.03


def test_every_bit_of_a_seed_matters() -> None:
    seeds = [0, *(2**bit for bit in range(63)), LARGEST_SEED]
    assert len({draw_noise(seed, 4, 4)[0].numpy().tobytes() for seed in seeds}) == len(seeds)


def test_noise_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draw_noise(5, 10, 10)
    random_seed()
    assert torch.equal(torch.rand(3), expected)


def test_slerp_keeps_the_length_and_the_ends() -> None:
    a, b = draw_noise(1, 100, 100)
    b = b * (a.norm() / b.norm())
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)
    for t in (0.1, 0.5, 0.9):
        assert float(slerp(a, b, t).norm()) == pytest.approx(float(a.norm()), rel=1e-5)
    middle = slerp(a, b, 0.5)
    assert float(middle @ a) == pytest.approx(float(middle @ b), rel=1e-4)


def test_slerp_of_parallel_or_zero_vectors_is_finite() -> None:
    a, _ = draw_noise(1, 10, 10)
    torch.testing.assert_close(slerp(a, a, 0.5), a)
    assert torch.equal(slerp(torch.zeros(3), torch.zeros(3), 0.5), torch.zeros(3))
