from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from server.packing import pack
from t2i.protocol.v1 import conditions_pb2 as pb

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
SMOOTH = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)


def opened(data: bytes) -> tuple[str | None, np.ndarray]:
    image = Image.open(io.BytesIO(data))
    return image.format, np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("image_format", "name"), [(pb.IMAGE_FORMAT_PNG, "PNG"), (pb.IMAGE_FORMAT_WEBP, "WEBP")]
)
def test_lossless_formats_give_back_every_pixel(
    image_format: pb.ImageFormat.ValueType, name: str
) -> None:
    found, pixels = opened(pack(PICTURE, image_format, None))
    assert found == name
    np.testing.assert_array_equal(pixels, PICTURE)


@pytest.mark.parametrize(
    ("image_format", "name"), [(pb.IMAGE_FORMAT_JPEG, "JPEG"), (pb.IMAGE_FORMAT_WEBP, "WEBP")]
)
def test_lossy_formats_come_near_and_shrink_with_their_quality(
    image_format: pb.ImageFormat.ValueType, name: str
) -> None:
    found, pixels = opened(pack(SMOOTH, image_format, 95))
    assert found == name
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 4
    assert len(pack(PICTURE, image_format, 20)) < 0.7 * len(pack(PICTURE, image_format, 95))


def test_raw_is_the_pixels_row_by_row() -> None:
    data = pack(PICTURE, pb.IMAGE_FORMAT_RAW, None)
    assert len(data) == 48 * 64 * 3
    assert tuple(data[64 * 3 : 64 * 3 + 3]) == tuple(PICTURE[1, 0])
