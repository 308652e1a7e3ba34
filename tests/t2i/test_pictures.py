from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2i.errors import InvalidInput
from t2i.pictures import MEDIA_TYPES, GeneratedImage, ImageFormat, encode_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(64)[:, None], np.arange(64), 128), axis=-1).astype(
    np.uint8
)


@pytest.mark.parametrize("format", ["png", "webp"])
def test_lossless_files_hold_every_pixel(format: ImageFormat) -> None:
    data = encode_picture(PICTURE, format)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PICTURE)
    assert encode_picture(PICTURE, format) == data


@pytest.mark.parametrize("picture", [PICTURE[:1, :1], PICTURE[:1], PICTURE[:, :1], SMOOTH])
def test_a_png_file_of_any_shape_is_sound(picture: np.ndarray) -> None:
    data = encode_picture(picture, "png")
    # Looks at the checksum of every chunk, which opening alone does not.
    Image.open(io.BytesIO(data)).verify()
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode) == ("PNG", "RGB")
    assert np.array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_lossy_files_are_near_and_better_with_quality(format: ImageFormat) -> None:
    errors = []
    for quality in (10, 95):
        image = Image.open(io.BytesIO(encode_picture(SMOOTH, format, quality)))
        assert image.format == format.upper()
        errors.append(np.abs(np.asarray(image.convert("RGB")).astype(int) - SMOOTH).mean())
    assert errors[1] < 2
    assert errors[1] <= errors[0]


def test_raw_is_the_pixels_in_rows() -> None:
    assert encode_picture(PICTURE, "raw") == PICTURE.tobytes()
    assert MEDIA_TYPES.keys() == {"png", "jpeg", "webp", "raw"}


def test_an_array_that_is_not_contiguous_is_packed_right() -> None:
    flipped = PICTURE[:, ::-1]
    data = encode_picture(flipped, "png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), flipped)


@pytest.mark.parametrize(
    ("picture", "format", "quality", "field"),
    [
        (PICTURE.astype(np.float32), "png", None, "picture"),
        (PICTURE[..., 0], "png", None, "picture"),
        (PICTURE[..., :2], "png", None, "picture"),
        (PICTURE, "gif", None, "format"),
        (PICTURE, "png", 80, "quality"),
        (PICTURE, "raw", 80, "quality"),
        (PICTURE, "jpeg", 0, "quality"),
        (PICTURE, "webp", 101, "quality"),
    ],
)
def test_what_cannot_be_packed_is_named(
    picture: np.ndarray, format: ImageFormat, quality: int | None, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        encode_picture(picture, format, quality)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.jpeg", "a.webp"])
def test_a_saved_picture_can_be_opened(tmp_path: Path, name: str) -> None:
    image = GeneratedImage(PICTURE, seed=3)
    path = image.save(tmp_path / name)
    assert Image.open(path).size == (32, 24)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_an_ending_that_names_no_format_is_refused(tmp_path: Path) -> None:
    image = GeneratedImage(PICTURE, seed=3)
    with pytest.raises(InvalidInput, match=r"path: \.gif names no picture format"):
        image.save(tmp_path / "a.gif")
    with pytest.raises(InvalidInput, match="path: there is no folder"):
        image.save(tmp_path / "nowhere" / "a.png")
    assert image.save(tmp_path / "a.gif", format="raw").read_bytes() == PICTURE.tobytes()


def test_a_picture_shows_itself_in_a_notebook_and_in_pillow() -> None:
    image = GeneratedImage(PICTURE, seed=3)
    assert image._repr_png_().startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(image.pil()), PICTURE)
    assert image.resolution == 24
