"""From the paths of a request to files, and no way out of the server's folders.

A path is relative and written with `/`. It may not go up, and links are followed before it is
compared with the folder that it has to be in: what counts is where a file is, not its name.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from t2i.batch.records import check_file
from t2i.errors import InvalidInput, shown

__all__ = ["MAX_CHARACTERS", "find_input", "find_output", "plain"]

MAX_CHARACTERS = 1024
_NAME_BYTES = 255


def plain(field: str, given: str) -> str:
    """Return a relative path without detours.

    Args:
        field: of the request, for errors.
        given: the path, such as `birds/captions.jsonl`.

    Raises:
        InvalidInput: it is none, or would leave the folder that it is in.
    """
    remedy = "give a path relative to the server's folder, such as birds/captions.jsonl"
    if not given:
        raise InvalidInput(field, given, "is missing", remedy)
    if len(given) > MAX_CHARACTERS:
        raise InvalidInput(
            field, given, f"has {len(given)} characters", f"give at most {MAX_CHARACTERS}"
        )
    if "://" in given or given.startswith("file:"):
        raise InvalidInput(field, given, f"{shown(given)} is an address", remedy)
    if given.startswith(("/", "~", "\\")):
        raise InvalidInput(field, given, f"{shown(given)} is an absolute path", remedy)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in given):
        raise InvalidInput(field, given, f"{shown(given)} cannot be a path", remedy)
    names = [name for name in given.split("/") if name not in ("", ".")]
    if ".." in names:
        raise InvalidInput(field, given, f"{shown(given)} goes up with '..'", remedy)
    if not names:
        raise InvalidInput(field, given, f"{shown(given)} is the server's folder itself", remedy)
    for name in names:
        if len(name.encode()) > _NAME_BYTES:
            raise InvalidInput(field, given, f"{shown(name)} is too long for a name", remedy)
    return "/".join(names)


def find_input(field: str, path: str, roots: Sequence[Path]) -> Path:
    """Return the file of an input, links resolved.

    Args:
        field: of the request, for errors.
        path: as `plain` returns it.
        roots: the folders to look in.

    Raises:
        InvalidInput: there is no such file, it is no file that can be read twice, or it is
            elsewhere.
    """
    for root in roots:
        found = _below(field, path, root)
        try:
            if not found.exists():
                continue
            plain_file = not found.is_dir() and check_file(found)
            readable = os.access(found, os.R_OK)
        except OSError:
            plain_file = readable = False
        if plain_file and readable:
            return found
        raise InvalidInput(
            field, path, f"{shown(path)} cannot be read as a plain file", "give a file of rows"
        )
    raise InvalidInput(
        field,
        path,
        f"there is no file {shown(path)} in the server's folders of inputs",
        "check the path, or put the file there",
    )


def find_output(field: str, path: str, root: Path) -> Path:
    """Return the folder of a job, links resolved; it need not be there.

    Args:
        field: of the request, for errors.
        path: as `plain` returns it.
        root: the folder that it has to be in.

    Raises:
        InvalidInput: it is elsewhere, is a file, or holds links.
    """
    found = _below(field, path, root)
    try:
        if not found.exists():
            return found
        # Nothing of ours is a link, and what is written through one may land anywhere.
        link = next((entry for entry in found.iterdir() if entry.is_symlink()), None)
    except OSError:
        raise InvalidInput(
            field, path, f"{shown(path)} is no folder to write to", "give another folder"
        ) from None
    if link is not None:
        raise InvalidInput(field, path, f"holds the link {shown(link.name)}", "give another folder")
    return found


def _below(field: str, path: str, root: Path) -> Path:
    whole = root.resolve()
    try:
        found = (whole / path).resolve()
    except (OSError, RuntimeError):
        found = whole.parent
    if found == whole or not found.is_relative_to(whole):
        raise InvalidInput(
            field,
            path,
            f"{shown(path)} leads out of the server's folder",
            "give a path without links to elsewhere",
        )
    return found
