"""What becomes of a picture file, whatever its format, mode, orientation or damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.data.folders import draw, save
from training.data.decode import Decoded, decode
from training.data.listing import Box
from training.data.pictures import Fault, FaultKind


def read(path: Path, resolution: int = 16) -> Decoded:
    """Decode a file that must be fine."""
    found = decode(path.read_bytes, path.name, resolution, resolution // 2)
    assert isinstance(found, Decoded), found
    return found


def fault(path: Path) -> Fault:
    """Decode a file that must not be fine."""
    found = decode(path.read_bytes, path.name, 16, 8)
    assert isinstance(found, Fault)
    return found


def levels(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean difference of two pictures in levels."""
    return float(np.abs(one.astype(float) - other).mean())


def test_the_largest_centred_square_is_taken(tmp_path: Path) -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read(tmp_path / "a.png")
    assert found.pixels.shape == (16, 16, 3) and found.pixels.dtype == np.uint8
    assert (found.pixels == (10, 200, 30)).all()
    assert (found.width, found.height) == (100, 40)


def test_fine_patterns_average_out_instead_of_aliasing(tmp_path: Path) -> None:
    board = ((np.indices((512, 512)).sum(axis=0) % 2) * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    assert np.abs(read(tmp_path / "a.png").pixels.astype(int) - 127).max() <= 2


def test_the_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    upright = draw(0, 48, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    upright.save(tmp_path / "b.png")
    turned, plain = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    assert np.array_equal(turned.pixels, plain.pixels)
    assert (turned.width, turned.height) == (48, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 16, 32))
    name = tmp_path / ("a.png" if mode != "PA" else "a.gif")
    if mode == "P":
        picture.convert("P").save(name, transparency=picture.convert("P").getpixel((31, 0)))
    elif mode == "PA":
        picture.save(name)
    else:
        picture.convert(mode).save(name)
    pixels = read(name).pixels
    assert (pixels[:, :6] < 10).all()
    assert (pixels[:, 10:] > 245).all()


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "a.png"), ("1", "a.png"), ("CMYK", "a.jpg"), ("P", "a.bmp")]
)
def test_other_modes_become_rgb(tmp_path: Path, mode: str, name: str) -> None:
    picture = draw(3) if mode == "P" else draw(3).convert("L")
    picture.convert(mode).save(tmp_path / name)
    found = read(tmp_path / name)
    assert found.mode == mode
    assert levels(found.pixels, read_of(picture, tmp_path)) < (40 if mode == "1" else 4)


def read_of(picture: Image.Image, folder: Path) -> NDArray[np.uint8]:
    """The square of a picture as RGB."""
    picture.convert("RGB").save(folder / "rgb.png")
    return read(folder / "rgb.png").pixels


def test_sixteen_bit_greys_keep_their_tones(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (32, 1))).save(tmp_path / "a.png")
    row = read(tmp_path / "a.png", 32).pixels[0, :, 0].astype(int)
    assert (row[0], row[-1]) == (0, 255)
    assert np.abs(row - np.linspace(0, 255, 32)).max() <= 2


def test_large_photographs_decode_to_the_same_picture(tmp_path: Path) -> None:
    draw(5, 1600, 1200).save(tmp_path / "a.png")
    draw(5, 1600, 1200).save(tmp_path / "a.jpg", quality=95)
    assert levels(read(tmp_path / "a.png").pixels, read(tmp_path / "a.jpg").pixels) < 3


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert fault(tmp_path / "a.png") == Fault("a.png", FaultKind.EMPTY, "0 bytes")


def test_a_text_with_the_name_of_a_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("These are words.")
    found = fault(tmp_path / "a.png")
    assert found.kind == FaultKind.NOT_A_PICTURE and "These are" in found.detail


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_truncated_picture_is_named(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, 1, 200, 200)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert fault(path).kind in (FaultKind.TRUNCATED, FaultKind.UNREADABLE)


def test_a_truncated_jpeg_is_called_truncated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", 1, 400, 400)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert fault(path).kind == FaultKind.TRUNCATED


def test_no_damage_gets_past_the_fault(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "a.gif", "a.webp", "a.tif"):
        content = bytearray(save(tmp_path / name, 1, 64, 64).read_bytes())
        for _ in range(60):
            damaged = bytearray(content)
            for position in rng.integers(0, len(content), size=8):
                damaged[position] = rng.integers(256)
            (tmp_path / name).write_bytes(damaged[: rng.integers(1, len(content))])
            found = decode((tmp_path / name).read_bytes, name, 16, 8)
            assert isinstance(found, Fault) or found.pixels.shape == (16, 16, 3)


def test_a_picture_of_less_than_half_the_resolution_is_too_small(tmp_path: Path) -> None:
    found = fault(save(tmp_path / "a.png", 1, 7, 40))
    assert found.kind == FaultKind.TOO_SMALL
    assert found.detail == "7 x 40 pixels, at least 8 needed"
    assert read(save(tmp_path / "b.png", 1, 8, 40)).pixels.shape == (16, 16, 3)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    assert fault(tmp_path / "gone.png").kind == FaultKind.UNREADABLE


def boxed(path: Path, box: Box, resolution: int = 16) -> Decoded:
    found = decode(path.read_bytes, path.name, resolution, resolution // 2, box)
    assert isinstance(found, Decoded), found
    return found


@pytest.mark.parametrize(
    ("box", "square"),
    [
        # One and a half times as large as the longer side, around the middle of the box.
        ((80, 60, 40, 20), (70, 40, 130, 100)),
        ((95, 50, 10, 40), (70, 40, 130, 100)),
        # Moved where it would leave the picture on the left, the right, the top, the bottom.
        ((0, 60, 40, 20), (0, 40, 60, 100)),
        ((170, 60, 40, 20), (140, 40, 200, 100)),
        ((80, 0, 40, 20), (70, 0, 130, 60)),
        ((80, 130, 40, 20), (70, 90, 130, 150)),
        # Made smaller where the picture is.
        ((20, 10, 160, 130), (25, 0, 175, 150)),
        # Of tiny boxes, as much as the resolution needs.
        ((99, 69, 2, 2), (96, 66, 104, 74)),
    ],
)
def test_the_square_is_cut_out_around_the_box(
    tmp_path: Path, box: Box, square: tuple[int, int, int, int]
) -> None:
    picture = draw(3, 200, 150)
    picture.save(tmp_path / "whole.png")
    picture.crop(square).save(tmp_path / "cut.png")
    found = boxed(tmp_path / "whole.png", box)
    assert np.array_equal(found.pixels, read(tmp_path / "cut.png").pixels)
    assert (found.width, found.height, found.side) == (200, 150, square[2] - square[0])


def test_the_box_is_found_in_a_picture_that_is_decoded_smaller(tmp_path: Path) -> None:
    picture = draw(3, 2000, 1500)
    picture.save(tmp_path / "a.jpg", quality=95)
    picture.crop((700, 400, 1300, 1000)).save(tmp_path / "cut.png")
    found = boxed(tmp_path / "a.jpg", (800, 600, 400, 200))
    assert levels(found.pixels, read(tmp_path / "cut.png").pixels) < 2


def test_a_box_is_of_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    upright = draw(0, 48, 40)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    upright.save(tmp_path / "b.png")
    turned, plain = (boxed(tmp_path / name, (30, 2, 10, 8)) for name in ("a.png", "b.png"))
    assert np.array_equal(turned.pixels, plain.pixels)
