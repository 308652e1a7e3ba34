"""Captioned sets of real pictures, where T2I_DATA names a folder with some as .tar files."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from training.data.check import check_folder
from training.data.folder import folder


def captioned_archives() -> list[Path]:
    """Archives whose only folder holds metadata.jsonl beside one folder for each picture size."""
    found = []
    for path in sorted(Path(os.environ.get("T2I_DATA", "/nonexistent")).glob("*.tar")):
        with tarfile.open(path) as archive:
            if any(name.endswith("/metadata.jsonl") for name in archive.getnames()):
                found.append(path)
    return found


@pytest.mark.skipif("T2I_DATA" not in os.environ, reason="T2I_DATA names no folder of data sets")
def test_real_sets_are_read_whole(tmp_path: Path) -> None:
    archives = captioned_archives()
    assert archives, "T2I_DATA holds no .tar with a metadata.jsonl"
    for path in archives:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, filter="data")
        sizes = sorted(
            int(size.name) for size in (tmp_path / path.stem).iterdir() if size.name.isdecimal()
        )
        pictures = tmp_path / path.stem / str(sizes[0])
        report = check_folder(pictures, resolution=sizes[0], progress=False)
        assert report.clean, report.verdict
        assert report.captions >= report.usable == len(list(pictures.iterdir()))
        total = 0
        for split, count in report.splits.items():
            data = folder(
                pictures,
                resolution=sizes[0],
                split=split,
                cache_dir=tmp_path / "cache",
                progress=False,
            )
            assert len(data) == count and data.labels is not None
            assert np.asarray(data.pictures[:16]).std() > 20
            total += count
        assert total == report.usable
