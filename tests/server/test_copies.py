"""The server's own copies of bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.copies import Copies
from t2i.bundle import Bundle
from t2i.errors import BundleError, InvalidInput
from tests.server.digits import flip_a_bit, save_digits


def test_a_copy_is_the_same_bundle_and_a_damaged_one_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "digits"
    checksum = save_digits(source).checksum
    (source / "not-of-the-bundle").write_text("a note")
    copies = Copies(tmp_path / "copies")
    copy = copies.take(str(source))
    assert Bundle.load(copy).checksum == checksum
    assert not (copy / "not-of-the-bundle").exists()
    flip_a_bit(source)
    with pytest.raises(BundleError, match=r"generator\.safetensors is damaged"):
        copies.take(str(source))
    assert list((tmp_path / "copies").glob("t2i-copy-*")) == [copy]
    copies.drop(copy)
    assert not copy.exists()
    copies.close()


def test_a_folder_is_one_servers_at_a_time_and_what_a_dead_one_left_is_deleted(
    tmp_path: Path,
) -> None:
    save_digits(tmp_path / "digits")
    folder = tmp_path / "copies"
    first = Copies(folder)
    left = first.take(str(tmp_path / "digits"))
    with pytest.raises(InvalidInput, match="another server keeps its copies"):
        Copies(folder)
    assert left.exists()
    first.close()
    Copies(folder).close()
    assert not left.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be used"):
        Copies(tmp_path / "file")
