from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from t2i.bundle import Bundle
from t2i.errors import BundleError, EncoderUnavailable
from t2i.parcels import Parcel, pack, unpacked
from t2i.scratch import Scratch
from tests.t2i.small_bundle import save_conditioned


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_conditioned(tmp_path / "bundles", "digits")


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the other end keeps temporary files."""
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(there))
    return there


def test_a_bundle_arrives_whole_and_goes_when_it_is_not_needed(folder: Path, there: Path) -> None:
    (folder / "notes.txt").write_text("not of the bundle")
    parcel = pack(str(folder))
    assert parcel.model == str(folder)
    assert parcel.size == sum(
        path.stat().st_size for path in folder.iterdir() if path.name != "notes.txt"
    )
    with unpacked(parcel) as arrived:
        assert Bundle.load(arrived).checksum == Bundle.load(folder).checksum
        assert {path.name for path in Path(arrived).iterdir()} == set(parcel.files)
        assert Path(arrived).is_relative_to(there)
    assert list(there.iterdir()) == []


def test_what_a_killed_worker_had_unpacked_goes_with_the_next_parcel(
    folder: Path, there: Path
) -> None:
    left = Scratch("t2i-bundle-", there)
    (left.path / "lock").rename(left.path / "held")
    (left.path / "lock").touch()
    with unpacked(pack(str(folder))):
        assert not left.path.exists()
    left.close()


def test_a_damaged_bundle_is_not_packed(folder: Path) -> None:
    data = bytearray((folder / "generator.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "generator.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match=rf"{folder}: generator\.safetensors is damaged"):
        pack(str(folder))


def changed(parcel: Parcel) -> None:
    parcel.files["generator.safetensors"][-1] ^= 1


def cut(parcel: Parcel) -> None:
    parcel.files["generator.safetensors"] = np.zeros(100, np.uint8)


def lacking(parcel: Parcel) -> None:
    del parcel.files["config.json"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (changed, "generator.safetensors is damaged"),
        (cut, "generator.safetensors has 100 bytes"),
        (lacking, "config.json is missing"),
    ],
)
def test_what_is_damaged_on_the_way_is_told_of_the_folder_that_it_was_read_from(
    folder: Path, there: Path, damage, said: str
) -> None:
    parcel = pack(str(folder))
    damage(parcel)
    with (
        pytest.raises(BundleError, match=f"^bundle {folder}: {said}"),
        unpacked(parcel) as arrived,
    ):
        Bundle.load(arrived)
    assert list(there.iterdir()) == []


def test_an_error_of_something_else_stays_what_it_is(folder: Path) -> None:
    with pytest.raises(EncoderUnavailable, match=r"^no net$"), unpacked(pack(str(folder))):
        raise EncoderUnavailable("no net")


def test_a_parcel_that_has_no_room_says_where(
    folder: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = pack(str(folder))
    parcel.files["nowhere/config.json"] = np.zeros(1, np.uint8)
    with pytest.raises(BundleError, match=f"cannot unpack it in {there} .*make room"):
        unpacked(parcel).__enter__()
    assert list(there.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(there / "nowhere"))
    with pytest.raises(BundleError, match=r"cannot unpack it in .*nowhere .*make room"):
        unpacked(parcel).__enter__()
