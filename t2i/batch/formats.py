"""How rows are written down, and what shards become: names for people, in one place."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["INPUT_FORMATS", "SHARD_FORMATS", "InputFormat", "ShardFormat"]

InputFormat = Literal["jsonl", "csv", "parquet", "text"]
INPUT_FORMATS: tuple[InputFormat, ...] = get_args(InputFormat)

ShardFormat = Literal["webdataset", "folder", "parquet"]
SHARD_FORMATS: tuple[ShardFormat, ...] = get_args(ShardFormat)
