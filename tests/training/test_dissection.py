from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks import DcganGenerator, PictureGenerator
from training.dissection import (
    ablated,
    dissect,
    draw_with,
    effect,
    information_quality,
    inserted,
    typical_values,
)
from training.errors import TrainingError


class Quadrants(PictureGenerator):
    """Four units of 4x4; unit k lights quadrant k where noise k is positive; 0 and 1 in red."""

    def __init__(self) -> None:
        super().__init__(condition_dim=0, noise_dim=4, resolutions=(8,), config={})
        self.layer = nn.Identity()

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        maps = torch.zeros(len(noise), 4, 4, 4)
        for unit in range(4):
            top, left = 2 * (unit // 2), 2 * (unit % 2)
            on = (noise[:, unit] > 0).float()[:, None, None] * 3.0
            maps[:, unit, top : top + 2, left : left + 2] = on
        seen = self.layer(maps)
        red = F.interpolate(seen[:, :2].sum(dim=1, keepdim=True), scale_factor=2.0)
        blue = F.interpolate(seen[:, 2:].sum(dim=1, keepdim=True), scale_factor=2.0)
        return torch.cat([red, blue, torch.zeros_like(red)], dim=1) / 3.0


def parts(pictures: Tensor) -> Tensor:
    """What is red, and what is blue."""
    return pictures[:, :2] > 0.5


def noise(n: int = 40) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def test_units_are_matched_with_what_they_draw() -> None:
    generator = Quadrants().eval()
    pictures, maps = draw_with(generator, generator.layer, noise())
    found = dissect(maps, parts(pictures), ("red", "blue"))
    assert set(found.best_units("red", 2)) == {0, 1}
    assert set(found.best_units("blue", 2)) == {2, 3}
    # Each unit draws about a half of its colour, and nothing of the other.
    assert float(found.iou[:2, 0].min()) > 0.25 > float(found.iou[2:, 0].max())
    assert found.labels() == {0: "red", 1: "red", 2: "blue", 3: "blue"}


def test_iou_is_one_for_a_unit_that_is_the_concept() -> None:
    segments = torch.zeros(8, 1, 4, 4, dtype=torch.bool)
    segments[:, :, 1:3, 1:3] = True
    found = dissect(segments.float() * 2.0, segments, ("square",))
    assert float(found.iou[0, 0]) == pytest.approx(1.0)
    assert 0.0 <= float(found.thresholds[0, 0]) < 2.0


def test_iou_is_that_of_pictures_that_the_threshold_was_not_chosen_on() -> None:
    segments = torch.zeros(8, 1, 4, 4, dtype=torch.bool)
    segments[:, :, :2] = True
    maps = segments.float()
    maps[4:] = maps[4:].flip(2)
    assert float(dissect(maps, segments, ("top",)).iou[0, 0]) == 0.0


def test_information_quality_by_hand() -> None:
    a = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    same, free = a, torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    assert float(information_quality(a, same)) == pytest.approx(1.0)
    assert float(information_quality(a, free)) == pytest.approx(0.0, abs=1e-6)
    # Shares 1/2 and 1/4, both in 1/4: H(a) = log 2, H(b) = 0.5623, H(a, b) = 1.0397.
    b = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    h_b = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    h_ab = -(2 * 0.25 * math.log(0.25) + 0.5 * math.log(0.5))
    expected = (math.log(2) + h_b - h_ab) / h_ab
    assert float(information_quality(a, b)) == pytest.approx(expected, rel=1e-5)


def test_switching_units_off_removes_what_they_draw_and_nothing_else() -> None:
    generator = Quadrants().eval()
    places = torch.ones(4, 4, dtype=torch.bool)
    _, maps = draw_with(generator, generator.layer, noise())
    found = effect(
        generator,
        generator.layer,
        noise(),
        parts,
        [0, 1],
        values=typical_values(maps, [0, 1]),
        places=places,
    )
    assert float(found.removed[0]) == pytest.approx(1.0)
    assert float(found.removed[1]) == pytest.approx(0.0)
    # On at all places, red is everywhere.
    assert float(found.average_causal[0]) == pytest.approx(1.0)
    assert float(found.average_causal[1]) == pytest.approx(0.0)


def test_an_insertion_touches_its_units_and_places_alone() -> None:
    features = torch.randn(2, 3, 4, 4)
    places = torch.zeros(4, 4, dtype=torch.bool)
    places[0, 1] = True
    changed = inserted([2], torch.tensor([5.0]), places)(features)
    assert (changed != features).nonzero().tolist() == [[0, 2, 0, 1], [1, 2, 0, 1]]
    assert float(changed[0, 2, 0, 1]) == 5.0
    assert torch.equal(ablated([1])(features)[:, [0, 2]], features[:, [0, 2]])
    assert float(ablated([1])(features)[:, 1].abs().max()) == 0.0


def test_a_dcgan_is_dissected_by_its_layers_and_left_as_it_was() -> None:
    generator = DcganGenerator(resolution=16, width=4, noise_dim=3).eval()
    layer = generator.get_submodule("body.4")
    z = torch.randn(5, 3)
    plain = generator(torch.zeros(5, 0), z).pictures[-1]
    pictures, maps = draw_with(generator, layer, z, batch=2)
    torch.testing.assert_close(pictures, plain, atol=1e-5, rtol=0)
    assert maps.shape == (5, 4, 8, 8)
    edited, _ = draw_with(generator, layer, z, edit=ablated(range(4)))
    assert not torch.allclose(edited, plain)
    torch.testing.assert_close(generator(torch.zeros(5, 0), z).pictures[-1], plain)


def test_what_cannot_be_dissected_is_refused() -> None:
    generator = DcganGenerator(resolution=16, width=4, noise_dim=3).eval()
    with pytest.raises(TrainingError, match="layer: is no module of this generator"):
        draw_with(generator, nn.ReLU(), torch.randn(2, 3))
    with pytest.raises(TrainingError, match="layer: gave features of shape"):
        draw_with(generator, generator.start, torch.randn(2, 3))
    with pytest.raises(TrainingError, match=r"segments: .* do not fit 2 pictures and 1 concepts"):
        dissect(torch.zeros(2, 1, 2, 2), torch.zeros(2, 2, 4, 4, dtype=torch.bool), ("a",))
