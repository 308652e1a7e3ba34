"""Parquet, for inputs, shards and manifests; needs pyarrow, which the extra `parquet` installs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from t2i.batch.storage import File, Storage, write
from t2i.errors import InvalidInput
from t2i.extras import needs_extra

if TYPE_CHECKING:
    from t2i.batch.writers import Picture, Place

__all__ = [
    "check_installed",
    "count_rows",
    "is_installed",
    "parquet_shard",
    "read_picture",
    "read_rows",
    "write_manifest",
]

_INPUT_ROWS = 4096
_PICTURES = 256
_MANIFEST_ROWS = 16384


def check_installed() -> None:
    """Check that Parquet can be read and written.

    Raises:
        ExtraMissing: if pyarrow is not installed.
    """
    with needs_extra("parquet", or_else="use another format"):
        import pyarrow  # noqa: F401


def is_installed() -> bool:
    """Return whether Parquet can be read and written."""
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def count_rows(source: File) -> int:
    """Return the number of rows of a Parquet file, as its footer tells.

    Raises:
        InvalidInput: if it is not Parquet.
        ExtraMissing: if pyarrow is not installed.
    """
    with _opened(source) as file:
        return int(file.metadata.num_rows)


def read_rows(source: File) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Return number, from 1, and values of each row, some thousands at a time in memory.

    Raises:
        InvalidInput: if it is not Parquet.
        ExtraMissing: if pyarrow is not installed.
    """
    row = 0
    with _opened(source) as file:
        for batch in file.iter_batches(batch_size=_INPUT_ROWS):
            for values in batch.to_pylist():
                row += 1
                yield row, values


@contextmanager
def parquet_shard(storage: Storage, name: str) -> Iterator[_ParquetShard]:
    """Open a shard for writing: a row a picture, its PNG file in `image.bytes`."""
    check_installed()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *_described(pa),
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ]
    )
    # Pictures are compressed already.
    with (
        write(storage, name) as file,
        pq.ParquetWriter(file, schema, compression="none") as writer,
    ):
        shard = _ParquetShard(name, lambda rows: writer.write_table(_table(pa, rows, schema)))
        yield shard
        shard.flush()


class _ParquetShard:
    def __init__(self, name: str, write: Any) -> None:
        self._name = name
        self._write = write
        self._rows: list[dict[str, object]] = []
        self._count = 0

    def add(self, picture: Picture) -> Place:
        from t2i.batch.writers import Place

        image = {"bytes": picture.data, "path": f"{picture.key}.png"}
        self._rows.append({**_flat(picture.described), "image": image})
        self._count += 1
        if len(self._rows) == _PICTURES:
            self.flush()
        return Place(self._name, self._count - 1, len(picture.data))

    def flush(self) -> None:
        if self._rows:
            self._write(self._rows)
            self._rows = []


def read_picture(shard: File, position: int) -> bytes:
    """Return the PNG file in a row of a shard."""
    with _opened(shard) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if position < rows:
                images = file.read_row_group(group, columns=["image"]).column(0)
                data: bytes = images[position].as_py()["bytes"]
                return data
            position -= rows
    raise InvalidInput("position", position, f"{shard} has no such row", "check the shard")


def write_manifest(storage: Storage, name: str, lines: Iterable[bytes]) -> None:
    """Write a manifest from the JSON of each picture, some thousands at a time in memory."""
    check_installed()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [*_described(pa), ("file", pa.string()), ("position", pa.int64()), ("bytes", pa.int64())]
    )
    rest = iter(lines)
    with write(storage, name) as file, pq.ParquetWriter(file, schema) as writer:
        while some := list(islice(rest, _MANIFEST_ROWS)):
            rows = [_flat(json.loads(line)) for line in some]
            writer.write_table(_table(pa, rows, schema))


def _described(pa: Any) -> list[tuple[str, Any]]:
    """Return the columns of what is told of each picture; a condition is its JSON."""
    return [
        ("id", pa.string()),
        ("row", pa.int64()),
        ("index", pa.int32()),
        ("seed", pa.int64()),
        ("caption", pa.string()),
        ("condition", pa.string()),
        ("truncation", pa.float64()),
        ("conditioning_truncation", pa.float64()),
        ("model", pa.string()),
        ("checksum", pa.string()),
        ("score", pa.float64()),
    ]


def _flat(described: Mapping[str, object]) -> dict[str, object]:
    condition = described["condition"]
    if condition is not None:
        condition = json.dumps(condition, ensure_ascii=False)
    return {**described, "condition": condition}


def _table(pa: Any, rows: list[dict[str, object]], schema: Any) -> Any:
    return pa.Table.from_pylist(rows, schema=schema)


@contextmanager
def _opened(source: File) -> Iterator[Any]:
    check_installed()
    import pyarrow as pa
    import pyarrow.parquet as pq

    with source.open() as opened:
        try:
            file = pq.ParquetFile(opened)
        except pa.ArrowInvalid as error:
            reason = " ".join(str(error).split())[:80]
            raise InvalidInput(
                "input", str(source), f"{source} is not Parquet ({reason})", "give a Parquet file"
            ) from error
        with file:
            yield file
