"""Small files laid out exactly as MNIST, CIFAR-10 and SVHN are handed round."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.locate import CIFAR10


def digits(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise of 28 pixels; the labels count round, so every class comes."""
    pictures = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return pictures, (np.arange(count) % 10).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.tobytes()


def write_mnist(folder: Path, *, packed: bool = True, train: int = 40, test: int = 20) -> Path:
    """Write `MNIST/raw`, as torchvision lays it out."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count, seed in (("train", train, 0), ("t10k", test, 1)):
        for kind, array in zip(("images-idx3", "labels-idx1"), digits(count, seed), strict=True):
            content = idx(array)
            path = raw / f"{stem}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


def colours(count: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Noise of 32 pixels, `(count, 32, 32, 3)`."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return pictures, [i % 10 for i in range(count)]


def write_cifar(folder: Path, *, binary: bool = False, batch: int = 10) -> Path:
    """Write the five training batches and the test batch of CIFAR-10."""
    folder.mkdir(parents=True)
    for number, stem in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pictures, labels = colours(batch, number)
        rows = pictures.transpose(0, 3, 1, 2).reshape(batch, -1)
        if binary:
            records = np.concatenate([np.array(labels, np.uint8)[:, None], rows], axis=1)
            (folder / f"{stem}.bin").write_bytes(records.tobytes())
        else:
            entry = {b"batch_label": b"one", b"labels": labels, b"data": rows, b"filenames": []}
            # The published files were written by a numpy that had its core elsewhere.
            content = pickle.dumps(entry, protocol=2).replace(b"numpy._core", b"numpy.core")
            (folder / stem).write_bytes(content)
    return folder


def write_cifar_classes(folder: Path) -> Path:
    """Write one lossless picture a class in `train/CLASS` and `test/CLASS`."""
    for split in ("train", "test"):
        for number, label in enumerate(CIFAR10.labels):
            path = folder / split / label / "0000.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(np.full((32, 32, 3), 20 * number, np.uint8)).save(path)
    return folder


def write_svhn(folder: Path, count: int = 20) -> Path:
    """Write `train_32x32.mat` and `test_32x32.mat`; the digit 0 has label 10 there."""
    from scipy.io import savemat

    folder.mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        pictures, labels = colours(count, number)
        y = np.array([10 if label == 0 else label for label in labels], np.uint8)[:, None]
        savemat(folder / f"{split}_32x32.mat", {"X": pictures.transpose(1, 2, 3, 0), "y": y})
    return folder


def pack(folder: Path, archive: Path) -> Path:
    """Put a folder into a .tar, packed as the name says."""
    mode = "w:gz" if archive.name.endswith("gz") else "w"
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        file.add(folder, folder.name)
    return archive
