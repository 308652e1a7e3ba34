"""WebDataset shards: tar files in which the files of a sample follow each other.

`000123.jpg`, `000123.txt` and `000123.json` are one sample: a picture, its captions one a line, and
an object with `text`, `caption` or `captions`, `label` and `split`, as in a caption file; `.cls` is
a label too. Shards are read from their beginning to their end, once, from wherever fsspec reads:
nothing is unpacked, and only the decoded pictures are kept.
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.data.caption_files import (
    CAPTION_FILES,
    clean_captions,
    read_fields,
    read_object,
    split_name,
)
from training.data.errors import DataError
from training.data.listing import Entry, Listing
from training.data.pictures import FaultKind
from training.data.trees import PICTURE_SUFFIXES, Load

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_WORDS = ("txt", "json", "cls")
_SPLITS = frozenset({"train", "val", "test", "unseen"})
_BRACES = re.compile(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 100_000


class ShardPlace:
    """Shards as a place of pictures; what is said of them is known when they have been read."""

    streamed = True

    def __init__(self, urls: Sequence[str], place: str) -> None:
        """Take note of the shards; none is opened yet.

        Args:
            urls: paths, or addresses that fsspec reads.
            place: what a person typed to name them.
        """
        self._urls = list(urls)
        above = posixpath.dirname(posixpath.commonprefix([_path_of(url) for url in urls]))
        self._names = [_path_of(url)[len(above) :].lstrip("/") for url in urls]
        self._splits = _splits(self._names)
        stem = re.sub(r"\.(tar|tgz).*$", "", posixpath.basename(_path_of(urls[0])))
        name = posixpath.basename(above) if len(urls) > 1 else stem
        count = f"{len(urls)} shards" if len(urls) > 1 else "a shard"
        self.listing = Listing(shown_url(place), name or "shards", f"{count} of WebDataset")

    def stamp(self) -> list[object]:
        """Return for each shard what its file system says of it: size, time or checksum.

        Raises:
            DataError: a shard is not there, or out of reach.
        """
        import fsspec

        rows: list[object] = []
        for url in self._urls:
            with self._in_words(url):
                system, path = fsspec.url_to_fs(url)
                info = system.info(path)
                if info.get("type") == "directory":
                    raise DataError(f"{shown_url(url)}: is a folder; give its shards")
                # A signed address is another every time.
                known = {key: str(info[key]) for key in info if key not in ("name", "url")}
                digest = hashlib.sha256(str(sorted(known.items())).encode()).hexdigest()
            rows.append([shown_url(url), digest])
        return rows

    def pictures(self) -> Iterator[tuple[Entry, Load]]:
        """Yield each picture with its contents, shard by shard; the listing is whole at the end.

        Raises:
            DataError: a shard is not there, is cut off, or is no shard.
        """
        self.listing.entries, self.listing.faults, self.listing.hint = [], [], None
        for url, name, split in zip(self._urls, self._names, self._splits, strict=True):
            for sample in self._samples(url):
                found = self._read(sample, name, split)
                if found is not None:
                    yield found
        self.listing.finish()
        if not self.listing.entries and not self.listing.faults:
            raise DataError(
                f"{self.listing.place}: holds no picture; a sample is 000123.jpg with "
                "000123.txt or 000123.json"
            )

    def _samples(self, url: str) -> Iterator[dict[str, tuple[str, bytes]]]:
        """Yield runs of members that share a key, as ending → name and contents."""
        sample: dict[str, tuple[str, bytes]] = {}
        before: str | None = None
        for name, content in self._members(url):
            key, ending = _key(name)
            if key != before and sample:
                yield sample
                sample = {}
            before = key
            sample.setdefault(ending, (name, content))
        if sample:
            yield sample

    def _members(self, url: str) -> Iterator[tuple[str, bytes]]:
        import fsspec

        where = "before its first file"
        with (
            self._in_words(url),
            fsspec.open(url, "rb", compression=_compression(url)) as raw,
        ):
            counted = _Counted(raw)
            try:
                stream: Any = counted
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    for member in archive:
                        base = posixpath.basename(member.name)
                        if not member.isfile() or base.startswith("."):
                            continue
                        if base in CAPTION_FILES:
                            raise DataError(
                                f"{shown_url(url)}: holds {member.name}, so it is a packed "
                                "folder and no shard; fetch it, and give it by its path"
                            )
                        where = f"in {member.name}"
                        file = archive.extractfile(member)
                        assert file is not None  # it is a file
                        yield member.name, file.read()
                        where = f"after {member.name}"
                    # Python's reader takes a header that is cut off for the end.
                    if 0 < counted.bytes - archive.offset < tarfile.BLOCKSIZE:
                        raise tarfile.ReadError("unexpected end of data")
            except (tarfile.ReadError, EOFError) as error:
                if not counted.bytes:
                    raise DataError(f"{shown_url(url)}: is empty; fetch it again") from error
                cut = isinstance(error, EOFError) or any(
                    words in str(error) for words in ("end of", "truncated")
                )
                if not cut:
                    raise
                raise DataError(
                    f"{shown_url(url)}: is cut off {where}, at byte {counted.bytes}; fetch it "
                    "again, or leave the shard out"
                ) from error

    def _read(
        self, sample: dict[str, tuple[str, bytes]], shard: str, split: str | None
    ) -> tuple[Entry, Load] | None:
        """Turn a sample into an entry and its picture, or into a fault."""
        pictures = [ending for ending in sample if f".{ending}" in PICTURE_SUFFIXES]
        words = [ending for ending in _WORDS if ending in sample]
        if not pictures:
            if words:
                self._apart(f"{shard}/{sample[words[0]][0]}", FaultKind.NO_PICTURE, "picture")
            return None
        name, content = sample[pictures[0]]
        file = f"{shard}/{name}"
        if not words:
            self._apart(file, FaultKind.NO_CAPTION, ".txt or .json")
            return None
        if self.listing.entries and self.listing.entries[-1].file == file:
            self.listing.fault(file, FaultKind.CONFLICT, "the shard holds it twice")
            return None
        texts: list[str] = []
        label: str | None = None
        for ending in words:
            member, said = sample[ending]
            try:
                if ending == "json":
                    more, named, part = read_fields(read_object(said))
                    texts += more
                    label, split = named or label, part or split
                elif ending == "txt":
                    texts += said.decode("utf-8-sig").splitlines()
                else:
                    label = said.decode("utf-8-sig").strip() or None
            except UnicodeDecodeError as error:
                reason = f"is not UTF-8 (byte {error.start})"
            except ValueError as error:
                reason = str(error)
            else:
                continue
            self.listing.fault(f"{shard}/{member}", FaultKind.BAD_LINE, reason)
            return None
        captions, cut = clean_captions(texts)
        entry = Entry(file, captions, label, split, cut)
        self.listing.entries.append(entry)
        return entry, lambda: content

    def _apart(self, file: str, kind: FaultKind, lacking: str) -> None:
        self.listing.fault(file, kind, f"there is no {lacking} of that name next to it")
        self.listing.hint = (
            "the files of a sample share their name up to the first dot and follow each other in "
            "the shard; `tar --sort=name` packs a folder like that"
        )

    @contextmanager
    def _in_words(self, url: str) -> Iterator[None]:
        """Say in words what went wrong with a shard."""
        shown = shown_url(url)
        try:
            yield
        except DataError:
            raise
        except FileNotFoundError as error:
            raise DataError(
                f"{shown}: does not exist; put it there, or name only the shards that do"
            ) from error
        except tarfile.TarError as error:
            raise DataError(f"{shown}: is no tar file ({error}); give a shard") from error
        except Exception as error:
            # Anything may go wrong on the way to a far machine.
            words = " ".join(str(error).split()).replace(url, shown) or type(error).__name__
            raise DataError(
                f"{shown}: cannot be read ({words}); check the address, and that what fsspec "
                "needs for it is installed"
            ) from error


class _Counted:
    """Counts the bytes that were read of a file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.bytes = 0

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self.bytes += len(content)
        return content


def is_pattern(source: str) -> bool:
    """Tell whether a text is an address or names several files, and so is not a plain path."""
    if "://" in source:
        return True
    several = bool(_BRACES.search(source)) or source.endswith("*.tar")
    return several and not Path(source).expanduser().exists()


def shards_of(source: str) -> list[str]:
    """Return the shards that an address or a pattern names.

    `{000..012}` counts, `{a,b}` lists, `*` stands for any name, and a folder for its tar files.

    Raises:
        DataError: it names none, too many, or a file system that fsspec does not know.
    """
    import fsspec

    urls: list[str] = []
    for one in _expanded(source):
        plain = one if "://" in one else str(Path(one).expanduser())
        if plain.split("?")[0].endswith(_TARS) and "*" not in plain:
            urls.append(plain)
            continue
        try:
            system, path = fsspec.url_to_fs(plain)
            pattern = path if "*" in path else posixpath.join(path, "*.tar")
            found = sorted(str(name) for name in system.glob(pattern))
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"{shown_url(source)}: cannot be listed ({words}); check the address, and that "
                "what fsspec needs for it is installed"
            ) from error
        if not found:
            raise DataError(
                f"{shown_url(source)}: there is no .tar; give shards of WebDataset, such as "
                "…/{000..012}.tar, or a folder by its path"
            )
        urls += [str(system.unstrip_protocol(name)) for name in found]
    return urls


def looks_like_shard(names: Sequence[str]) -> bool:
    """Tell by the names in a tar whether it is a shard: JSON or classes beside the pictures."""
    keys = {_key(name) for name in names}
    pictures = {key for key, ending in keys if f".{ending}" in PICTURE_SUFFIXES}
    return any(ending in ("json", "cls") and key in pictures for key, ending in keys)


def shown_url(url: str) -> str:
    """Return an address without what may be secret in it: user, password, signature."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0] if "://" in url else url


def _expanded(pattern: str) -> list[str]:
    """Expand braces, from the first to the last."""
    parts: list[list[str]] = []
    place = 0
    total = 1
    for found in _BRACES.finditer(pattern):
        counted = _RANGE.fullmatch(found[1])
        parts.append([pattern[place : found.start()]])
        if counted:
            first, last = int(counted[1]), int(counted[2])
            if first > last:
                raise DataError(f"{pattern}: {found[0]} counts down; write the lower number first")
            numbers = range(first, min(last, first + _MOST_SHARDS) + 1)
            width = len(counted[1]) if counted[1].startswith("0") else 0
            parts.append([f"{number:0{width}}" for number in numbers])
        elif ".." in found[1]:
            raise DataError(f"{pattern}: {found[0]} does not count; write such as {{000..012}}")
        else:
            parts.append(found[1].split(","))
        total *= len(parts[-1])
        if total > _MOST_SHARDS:
            raise DataError(
                f"{shown_url(pattern)}: names more than {_MOST_SHARDS} shards; name fewer"
            )
        place = found.end()
    parts.append([pattern[place:]])
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def _splits(names: Sequence[str]) -> list[str | None]:
    """Read splits from names such as train-000.tar and val/000.tar, if one of them is train."""
    found: list[str | None] = []
    for name in names:
        words = map(split_name, re.split(r"[^a-z]+", name.lower()))
        found.append(next((word for word in words if word in _SPLITS), None))
    return found if "train" in found else [None] * len(names)


def _key(name: str) -> tuple[str, str]:
    """Part the name of a member at the first dot: what samples share, and what it is of one."""
    folder, base = posixpath.split(posixpath.normpath(name))
    stem, _, ending = base.partition(".")
    return posixpath.join(folder, stem), ending.lower()


def _path_of(url: str) -> str:
    return shown_url(url).rpartition("://")[2]


def _compression(url: str) -> str | None:
    path = _path_of(url).lower()
    return "gzip" if path.endswith(".tgz") else "infer"
