import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.metrics.errors import MetricsError
from training.metrics.features import Inception, Lite0, as_bytes, extract, load_features


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


def test_an_unknown_feature_network_is_refused_by_name() -> None:
    with pytest.raises(MetricsError, match="lite0"):
        load_features("clip")


@pytest.mark.parametrize("resize", [0, 100, 1024])
def test_a_resize_that_the_network_cannot_take_is_refused(resize: int) -> None:
    with pytest.raises(MetricsError, match="resize"):
        load_features("lite0", resize)


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_reads_its_weights_from_a_file_and_is_named_after_them(
    inception_weights: Path,
) -> None:
    from torchvision.models import inception_v3

    network = load_features("inception", 75, inception_weights)
    assert isinstance(network, Inception)
    digest = hashlib.sha256(inception_weights.read_bytes()).hexdigest()
    assert network.name == f"Inception-v3 (torchvision, {digest[:8]})"
    pictures = _noise(2)
    whole = inception_v3(weights=None, init_weights=False, aux_logits=True).eval()
    whole.load_state_dict(torch.load(inception_weights, weights_only=True))
    x = functional.interpolate(
        pictures.permute(0, 3, 1, 2).float(), size=(75, 75), mode="bilinear", antialias=True
    )
    with torch.inference_mode():
        expected = whole(x / 127.5 - 1)
    torch.testing.assert_close(network.logits(pictures), expected, rtol=1e-3, atol=1e-4)
    assert network.vectors(pictures).shape == (2, network.num_features)
    maps = network.maps(pictures)
    assert [level.shape[1] for level in maps] == [64, 192, 288, 768, 2048]
    torch.testing.assert_close(
        maps[-1].mean(dim=(2, 3)), network.vectors(pictures), rtol=1e-3, atol=1e-4
    )


def test_inception_without_a_file_or_with_other_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricsError, match="weights"):
        load_features("inception")
    other = tmp_path / "other.pth"
    torch.save({"x": torch.zeros(1)}, other)
    with pytest.raises(MetricsError, match=r"other\.pth"):
        load_features("inception", weights=other)
    other.write_bytes(b"nothing")
    with pytest.raises(MetricsError, match=r"other\.pth"):
        load_features("inception", weights=other)


def test_grey_pictures_count_as_pictures_of_three_like_channels(lite0: Lite0) -> None:
    grey = _noise(2)[..., :1]
    torch.testing.assert_close(
        lite0.vectors(grey), lite0.vectors(grey.expand(-1, -1, -1, 3)), rtol=1e-3, atol=1e-4
    )


def test_a_generators_range_becomes_bytes_by_rounding() -> None:
    x = torch.tensor([-1.2, -1.0, 0.0, 0.999, 1.0]).reshape(1, 1, 1, 5)
    assert as_bytes(x).reshape(-1).tolist() == [0, 0, 128, 255, 255]
    assert as_bytes(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)
