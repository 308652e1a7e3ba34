"""Bundles on their way to another machine: their files, checked here and once more there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from t2i.bundle import find_bundle
from t2i.errors import BundleError
from t2i.manifest import MANIFEST, check_manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Parcel", "pack", "unpacked"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A bundle's files.

    Attributes:
        model: the folder that they were read from, for whoever is told about them.
        files: the bytes of each, by its name, as uint8.
    """

    model: str
    files: dict[str, NDArray[np.uint8]]


def pack(model: str) -> Parcel:
    """Check a bundle, by its name or folder, and read it.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    import numpy as np

    folder = find_bundle(model)
    _, names = check_manifest(folder)
    try:
        files = {name: np.fromfile(folder / name, np.uint8) for name in (*sorted(names), MANIFEST)}
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: it cannot be read ({error.strerror}); check the folder"
        ) from error
    return Parcel(str(folder), files)


@contextmanager
def unpacked(parcel: Parcel) -> Iterator[str]:
    """Have the files in a folder for a while.

    Raises:
        BundleError: they cannot be written; or whatever the block finds wrong with the bundle, told
            with the folder that it was read from.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="t2i-bundle-"))
        try:
            for name, content in parcel.files.items():
                content.tofile(folder / name)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise BundleError(
            f"bundle {parcel.model}: a worker cannot unpack it in {tempfile.gettempdir()} "
            f"({error.strerror or error}); make room there"
        ) from error
    try:
        yield str(folder)
    except BundleError as error:
        raise BundleError(str(error).replace(str(folder), parcel.model)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
