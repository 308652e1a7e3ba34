"""The manifest of a bundle: which files belong to it, and the SHA-256 of each."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from t2i.errors import BundleError, shown
from t2i.files import write_atomically

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Manifest",
    "check_manifest",
    "read_checked",
    "read_manifest",
    "write_manifest",
]

FORMAT = 1
MANIFEST = "manifest.json"

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LARGEST_MANIFEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle's manifest says of its files.

    Attributes:
        checksum: SHA-256 over the manifest's own bytes, hexadecimal: the bundle's checksum.
        entries: name, bytes and SHA-256 of each file.
    """

    checksum: str
    entries: tuple[tuple[str, int, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files, in order."""
        return tuple(name for name, _, _ in self.entries)


def write_manifest(folder: Path) -> str:
    """Write the manifest of all files in a folder; return its checksum.

    Raises:
        BundleError: if there is something in the folder that a bundle cannot hold.
    """
    files: dict[str, dict[str, object]] = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST:
            continue
        if not path.is_file() or not _FILE_NAME.fullmatch(path.name):
            raise BundleError(
                f"bundle {folder}: {path.name} cannot be part of a bundle; "
                "remove it, or use a plain file with letters, digits, dots and dashes"
            )
        files[path.name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    data = _canonical({"files": files, "format": FORMAT})
    write_atomically(folder / MANIFEST, data)
    return hashlib.sha256(data).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle, without a look at the files that it names.

    Raises:
        BundleError: if there is none, or it is damaged or of an unknown format.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            raise _damaged(folder, "is too large")
        data = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"bundle {folder}: there is no {MANIFEST}; give the folder of a whole bundle"
        ) from None
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: {MANIFEST} cannot be read ({error.strerror}); check the folder"
        ) from error
    return Manifest(hashlib.sha256(data).hexdigest(), tuple(_entries(folder, data)))


def check_manifest(folder: Path) -> Manifest:
    """Check every file of a bundle against its manifest, and return that.

    Files that the manifest does not name, such as those that a hub adds, are not part of the
    bundle and are never read.

    Raises:
        BundleError: if the manifest or a file is missing, damaged, or of an unknown format.
    """
    manifest = read_manifest(folder)
    for name, size, checksum in manifest.entries:
        file = folder / name
        if not file.is_file():
            raise BundleError(f"bundle {folder}: {name} is missing; fetch the whole bundle again")
        if file.stat().st_size != size:
            raise BundleError(
                f"bundle {folder}: {name} has {file.stat().st_size} bytes instead of {size}; "
                "fetch the bundle again"
            )
        if _sha256(file) != checksum:
            raise BundleError(
                f"bundle {folder}: {name} is damaged (its SHA-256 is not that of the manifest); "
                "fetch the bundle again"
            )
    return manifest


def read_checked(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a file of a bundle and check it: the bytes that are returned are those that were summed.

    Whatever becomes of the file later, and whatever became of it since `check_manifest`, is no
    part of them.

    Raises:
        BundleError: if it cannot be read, or is not the file that the manifest names.
    """
    (expected,) = (checksum for each, _, checksum in manifest.entries if each == name)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: {name} cannot be read ({error.strerror}); check the folder"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(
            f"bundle {folder}: {name} is not what it was when the bundle was loaded; "
            "load it once more"
        )
    return data


def _entries(folder: Path, data: bytes) -> list[tuple[str, int, str]]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise _damaged(folder, "is not JSON") from error
    if not isinstance(content, dict) or "format" not in content:
        raise _damaged(folder, "has no format")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise BundleError(
            f"bundle {folder}: its format is {shown(content['format'])}, and this version of t2i "
            f"reads format {FORMAT}; install the version of t2i that wrote it"
        )
    if content.keys() != {"files", "format"} or not isinstance(content["files"], dict):
        raise _damaged(folder, "has not the entries files and format")
    entries: list[tuple[str, int, str]] = []
    for name, entry in content["files"].items():
        if not _FILE_NAME.fullmatch(name) or name == MANIFEST:
            raise _damaged(folder, f"names {shown(name)}, which is not a plain file name")
        if not isinstance(entry, dict) or entry.keys() != {"bytes", "sha256"}:
            raise _damaged(folder, f"does not tell bytes and sha256 of {name}")
        size, checksum = entry["bytes"], entry["sha256"]
        if not isinstance(size, int) or not isinstance(checksum, str):
            raise _damaged(folder, f"does not tell bytes and sha256 of {name}")
        entries.append((name, size, checksum))
    # The checksum of a bundle is that of its manifest's bytes: one content, one spelling.
    if _canonical(content) != data:
        raise _damaged(folder, "is not written as t2i writes it")
    return entries


def _canonical(content: dict[str, object]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _damaged(folder: Path, problem: str) -> BundleError:
    return BundleError(f"bundle {folder}: {MANIFEST} {problem}; fetch the bundle again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
