from __future__ import annotations

import pytest
import torch

from t2i.networks.picture_reader import PictureNetwork, PictureReader, looked_at


@pytest.mark.parametrize("side", [32, 64])
def test_what_a_picture_network_sees_has_the_shapes_that_are_told(side: int) -> None:
    network = PictureNetwork(code_dim=5, width=4).eval()
    pictures = torch.rand(2, 3, side, side) * 2 - 1
    maps, code = network.maps(pictures)
    assert tuple((m.shape[1], m.shape[2]) for m in maps) == network.map_shapes(side)
    assert code.shape == (2, 5)
    assert torch.equal(code, network(pictures))
    for mine, alone in zip(maps, network.features(pictures), strict=True):
        assert torch.equal(mine, alone)


def test_who_cannot_tell_the_shapes_of_its_maps_reads_no_pictures() -> None:
    class Shapeless(PictureReader):
        def features(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (pictures,)

        def maps(self, pictures: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
            return (pictures,), pictures.mean(dim=(2, 3))

    with pytest.raises(TypeError, match="map_shapes"):
        Shapeless()  # type: ignore[abstract]


def test_what_is_looked_at_is_the_mean_under_the_weights() -> None:
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    even, corner = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), -1e4)
    corner[..., 1, 1] = 1e4
    seen = looked_at(x, torch.cat([even, corner], dim=1))
    assert seen.tolist() == [[1.5, 5.5, 3.0, 7.0]]
