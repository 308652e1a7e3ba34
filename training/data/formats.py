"""Reads the files in which MNIST, CIFAR-10 and SVHN are handed round.

Each reader takes the bytes of a file, so that it does not matter whether a folder or an archive
held them, and returns pictures `(n, height, width, channels)` uint8 and labels `(n,)` int64.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.errors import DataError

Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]

_CIFAR_PIXELS = 3 * 32 * 32
_GZIP = b"\x1f\x8b"


def read_idx(content: bytes, shown: str) -> Pictures:
    """Read an idx file of bytes, packed by gzip or not.

    Args:
        content: of the file.
        shown: what to call it in errors.

    Returns:
        uint8 of the shape that the file states.

    Raises:
        DataError: it is none, holds other numbers than bytes, or is too short or too long.
    """
    if content[:2] == _GZIP:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _damaged(shown, str(error)) from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise _damaged(shown, f"begins with {content[:4]!r}, not as an idx file of bytes")
    dimensions = content[3]
    begin = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, begin, 4))
    if len(content) != begin + math.prod(shape):
        raise _damaged(
            shown, f"states {math.prod(shape)} bytes and holds {max(0, len(content) - begin)}"
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def read_idx_pair(pictures: bytes, labels: bytes, shown: str) -> tuple[Pictures, Labels]:
    """Read the two idx files of an MNIST split.

    Raises:
        DataError: a file is damaged, or they do not belong together.
    """
    images = read_idx(pictures, f"{shown} (pictures)")
    numbers = read_idx(labels, f"{shown} (labels)")
    if images.ndim != 3 or numbers.ndim != 1 or len(images) != len(numbers):
        raise _damaged(shown, f"pictures {images.shape} do not fit labels {numbers.shape}")
    return images[..., None], numbers.astype(np.int64)


class _NumpyOnly(pickle.Unpickler):
    """A pickle may name any function to be called; these files need none but numpy's own."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar"})

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle asks for, or refuse."""
        if module.split(".")[0] == "numpy" and name in self._ALLOWED:
            # Files of old name numpy.core, which numpy moved.
            module = module.replace("numpy.core", "numpy._core")
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def read_cifar_pickle(content: bytes, shown: str) -> tuple[Pictures, Labels]:
    """Read a batch of `cifar-10-batches-py`. Nothing that the pickle names is called but numpy.

    Raises:
        DataError: it is no such file.
    """
    try:
        batch = _NumpyOnly(io.BytesIO(content), encoding="bytes").load()
        rows = np.asarray(batch[b"data"], np.uint8)
        labels = np.asarray(batch[b"labels"], np.int64)
    except Exception as error:
        # Damaged pickles raise nearly anything.
        raise _damaged(shown, f"{type(error).__name__}: {error}") from error
    if rows.shape != (labels.size, _CIFAR_PIXELS):
        raise _damaged(shown, f"data {rows.shape} do not fit {labels.size} labels")
    return _cifar(rows), labels


def read_cifar_binary(content: bytes, shown: str) -> tuple[Pictures, Labels]:
    """Read a batch of `cifar-10-batches-bin`: a byte of label, then 3,072 of colours, each time.

    Raises:
        DataError: the length is no multiple of that.
    """
    if not content or len(content) % (1 + _CIFAR_PIXELS):
        raise _damaged(shown, f"{len(content)} bytes are no multiple of {1 + _CIFAR_PIXELS}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _CIFAR_PIXELS)
    return _cifar(rows[:, 1:]), rows[:, 0].astype(np.int64)


def _cifar(rows: Pictures) -> Pictures:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def read_mat(content: bytes, shown: str, *fields: str) -> list[NDArray[Any]]:
    """Read arrays of a MATLAB file.

    Args:
        content: of the file.
        shown: what to call it in errors.
        fields: names of the arrays.

    Raises:
        DataError: it is no such file, lacks an array, or scipy, which reads it, is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{shown}: MATLAB files are read by scipy; pip install scipy") from error
    try:
        found = loadmat(io.BytesIO(content))
        return [np.asarray(found[field]) for field in fields]
    except Exception as error:
        # Damaged files raise nearly anything.
        raise _damaged(shown, f"{type(error).__name__}: {error}") from error


def read_svhn(content: bytes, shown: str) -> tuple[Pictures, Labels]:
    """Read an SVHN file of cropped digits (format 2); its label 10 is the digit 0.

    Raises:
        DataError: it is no such file, or scipy, which reads it, is not installed.
    """
    pictures, y = read_mat(content, shown, "X", "y")
    try:
        labels = np.asarray(y, np.int64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise _damaged(shown, f"y: {error}") from error
    if pictures.ndim != 4 or pictures.dtype != np.uint8 or pictures.shape[2:] != (3, labels.size):
        raise _damaged(shown, f"X {pictures.shape} does not fit {labels.size} labels")
    labels[labels == 10] = 0
    return np.ascontiguousarray(pictures.transpose(3, 0, 1, 2)), labels


def read_class_files(
    files: Iterable[tuple[str, bytes]], label_names: Sequence[str]
) -> tuple[Pictures, Labels]:
    """Read picture files that lie in folders named by class, all of one size.

    They are put in the order of a hash of their contents: the first thousand are then a fair
    sample, though the folders are sorted by class.

    Args:
        files: names, `.../CLASS/FILE`, and contents.
        label_names: the classes by number.

    Raises:
        DataError: a file is no picture, or of another size than the first.
    """
    numbers = {name: number for number, name in enumerate(label_names)}
    found: list[tuple[bytes, str, int, Pictures]] = []
    grey = True
    for name, content in files:
        try:
            with Image.open(io.BytesIO(content)) as picture:
                grey = grey and picture.mode in ("L", "1")
                pixels = np.asarray(picture.convert("RGB"))
        except Exception as error:
            raise _damaged(name, str(error)) from error
        if found and pixels.shape != found[0][3].shape:
            height, width = pixels.shape[:2]
            raise _damaged(name, f"{width} x {height} pixels, others have other sizes")
        key = hashlib.sha256(content).digest()
        found.append((key, name, numbers[name.split("/")[-2]], pixels))
    found.sort(key=lambda one: one[:2])
    pictures = np.stack([pixels for *_, pixels in found])
    labels = np.array([label for _, _, label, _ in found], np.int64)
    return (pictures[..., :1] if grey else pictures), labels


def _damaged(shown: str, detail: str) -> DataError:
    return DataError(f"{shown}: cannot be used ({detail}); fetch the file again")
