"""Bundles on their way to another process, here or elsewhere: their files, checked on both ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2i.errors import BundleError, T2IError
from t2i.manifest import MANIFEST, check_manifest
from t2i.scratch import Scratch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Parcel", "pack", "put", "unpacked"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A bundle's files.

    Attributes:
        model: the folder that they were read from, for whoever is told about them.
        files: the bytes of each, by its name, as uint8.
    """

    model: str
    files: dict[str, NDArray[np.uint8]]

    @property
    def size(self) -> int:
        """All of their bytes."""
        return sum(content.nbytes for content in self.files.values())


def pack(model: str) -> Parcel:
    """Check a bundle, by its name or folder, and read it.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
    """
    import numpy as np

    from t2i.bundle import find_bundle

    folder = find_bundle(model)
    names = check_manifest(folder).names
    try:
        files = {name: np.fromfile(folder / name, np.uint8) for name in (*names, MANIFEST)}
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: it cannot be read ({error.strerror}); check the folder"
        ) from error
    return Parcel(str(folder), files)


def put(parcel: Parcel) -> Any:
    """Hand a parcel to Ray, once for all of its workers.

    Returns:
        A reference, which Ray replaces by the parcel where it is an argument; Ray keeps it for as
        long as the reference is there.

    Raises:
        BundleError: Ray has no room for it.
    """
    import ray

    try:
        return ray.put(parcel)
    except ray.exceptions.RayError as error:
        raise BundleError(
            f"bundle {parcel.model}: Ray cannot take it to its workers; make room in its object "
            "store"
        ) from error


@contextmanager
def unpacked(parcel: Parcel) -> Iterator[str]:
    """Have the files in a folder for a while. Whoever loads the bundle checks each of them.

    Raises:
        BundleError: they cannot be written; or whatever the block finds
            wrong with the folder, told with the one that the bundle was read from.
    """
    try:
        scratch = Scratch("t2i-bundle-")
        folder = scratch.path / "bundle"
        try:
            folder.mkdir()
            for name, content in parcel.files.items():
                content.tofile(folder / name)
        except BaseException:
            scratch.close()
            raise
    except OSError as error:
        raise BundleError(
            f"bundle {parcel.model}: a worker cannot unpack it in {tempfile.gettempdir()} "
            f"({error.strerror or error}); make room there"
        ) from error
    try:
        yield str(folder)
    except T2IError as error:
        told = str(error)
        if str(folder) not in told:
            raise
        raise BundleError(told.replace(str(folder), parcel.model)) from error
    finally:
        scratch.close()
