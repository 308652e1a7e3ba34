"""The birds on disk: drawn once, mapped ever after, whole or not at all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from t2i.errors import InvalidInput
from training.data.birds import ATTRIBUTE_NAMES, ATTRIBUTES, bird_at, birds, dataset, render
from training.data.errors import DataError


def test_pictures_captions_and_truth_belong_together(tmp_path: Path) -> None:
    data = birds("train", 12, 64, seed=3, cache_dir=tmp_path, progress=False)
    assert data.pictures.shape == (12, 64, 64, 3)
    assert isinstance(data.pictures, np.memmap)
    assert not data.pictures.flags.writeable
    assert data.attributes.shape == (12, len(ATTRIBUTE_NAMES))
    assert data.claims.shape == (len(data.flat_captions), len(ATTRIBUTE_NAMES))
    for index in range(12):
        bird, captions = bird_at("train", 3, index)
        assert (data.pictures[index] == render(bird, 64)).all()
        assert data.captions[index] == tuple(caption.text for caption in captions)
        assert (data.attributes[index] == bird.codes()).all()


def test_truth_agrees_with_reading_every_claim(tmp_path: Path) -> None:
    data = birds("val", 30, 64, cache_dir=tmp_path, progress=False)
    assert data.truth is not None
    rng = np.random.default_rng(0)
    pictures = rng.integers(30, size=400)
    captions = rng.integers(len(data.flat_captions), size=400)
    # Own captions too, else nearly all pairs would be wrong ones.
    captions[::2] = data.caption_starts[pictures[::2]] + 2
    holds = data.truth.holds(pictures, captions)
    owners = [(owner, n) for owner in range(30) for n in range(5)]
    for picture, caption, held in zip(pictures, captions, holds, strict=True):
        bird, _ = bird_at("val", 0, int(picture))
        owner, number = owners[caption]
        claims = bird_at("val", 0, owner)[1][number].claims
        assert held == all(bird.values[name] == value for name, value in claims.items())
    assert holds[::2].all()
    assert 0 < holds[1::2].sum() < 150


def test_agreement_is_the_share_of_claims_that_are_true(tmp_path: Path) -> None:
    data = birds("val", 12, 64, cache_dir=tmp_path, progress=False)
    assert data.truth is not None
    shares = data.truth.agreement(np.arange(12), np.arange(60))
    assert shares.shape == (12, 60)
    for picture in (0, 7):
        values = bird_at("val", 0, picture)[0].values
        for caption in range(60):
            claims = bird_at("val", 0, caption // 5)[1][caption % 5].claims
            true = [values[name] == value for name, value in claims.items()]
            assert shares[picture, caption] == pytest.approx(np.mean(true) if true else 1.0)


def test_claims_hold_the_codes_of_the_values_said(tmp_path: Path) -> None:
    data = birds("train", 8, 64, cache_dir=tmp_path, progress=False)
    flat = [caption for index in range(8) for caption in bird_at("train", 0, index)[1]]
    for row, caption in zip(data.claims, flat, strict=True):
        said = {
            name: ATTRIBUTES[name][code]
            for name, code in zip(ATTRIBUTE_NAMES, row, strict=True)
            if code >= 0
        }
        assert said == dict(caption.claims)


def test_drawn_birds_are_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = birds("train", 4, 64, cache_dir=tmp_path, progress=False)

    def must_not_draw(*_: object) -> None:
        raise AssertionError("drawn a second time")

    monkeypatch.setattr(dataset, "render", must_not_draw)
    again = birds("train", 4, 64, cache_dir=tmp_path, progress=False)
    assert (first.pictures == again.pictures).all()
    assert first.captions == again.captions
    assert first.fingerprint == again.fingerprint


def test_other_settings_have_other_fingerprints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(**changes: object) -> str:
        settings = {"split": "train", "count": 2, "size": 64, "seed": 0} | changes
        return birds(**settings, cache_dir=tmp_path, progress=False).fingerprint  # type: ignore[arg-type]

    prints = [
        fingerprint(),
        fingerprint(split="val"),
        fingerprint(count=3),
        fingerprint(size=72),
        fingerprint(seed=1),
    ]
    monkeypatch.setattr(dataset, "DRAWING_VERSION", "another")
    prints.append(fingerprint())
    assert len(set(prints)) == len(prints)


def test_more_birds_begin_with_the_same_birds(tmp_path: Path) -> None:
    few = birds("val", 2, 64, cache_dir=tmp_path, progress=False)
    more = birds("val", 4, 64, cache_dir=tmp_path, progress=False)
    assert (few.pictures == more.pictures[:2]).all()
    assert few.captions == more.captions[:2]


def test_the_number_of_processes_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_ALONE_BELOW", 0)
    alone = birds("train", 7, 64, cache_dir=tmp_path / "1", progress=False, workers=1)
    crew = birds("train", 7, 64, cache_dir=tmp_path / "3", progress=False, workers=3)
    assert (alone.pictures == crew.pictures).all()
    assert alone.captions == crew.captions


def test_a_drawing_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def fails_later(bird: object, size: int) -> np.ndarray:
        drawn.append(bird)
        # What is not whole bears no name that a later call would look for.
        assert [entry.name[:9] for entry in tmp_path.iterdir()] == [".partial-"]
        if len(drawn) > 2:
            raise KeyboardInterrupt
        return np.zeros((size, size, 3), np.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "render", fails_later)
        with pytest.raises(KeyboardInterrupt):
            birds("train", 5, 64, cache_dir=tmp_path, progress=False)
    assert len(drawn) == 3
    assert list(tmp_path.iterdir()) == []
    assert birds("train", 5, 64, cache_dir=tmp_path, progress=False).pictures[4].any()


def test_a_process_that_fails_is_told_of_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_ALONE_BELOW", 0)
    monkeypatch.setattr(dataset, "_WORKER", "training.data.birds.no_such_worker")
    with pytest.raises(DataError, match="rendering process"):
        birds("train", 4, 64, cache_dir=tmp_path, progress=False, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    stale = tmp_path / f".partial-{2**22 + 1}@{socket.gethostname()}-gone"
    stale.mkdir()
    (stale / "pictures.npy").write_bytes(b"half")
    elsewhere = tmp_path / f".partial-{2**22 + 1}@another.machine-busy"
    elsewhere.mkdir()
    busy = tmp_path / f".partial-{os.getpid()}@{socket.gethostname()}-busy"
    busy.mkdir()
    birds("train", 1, 64, cache_dir=tmp_path, progress=False)
    assert not stale.exists()
    assert elsewhere.exists()
    assert busy.exists()


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("split", {"split": "test"}),
        ("count", {"count": 0}),
        ("size", {"size": 63}),
        ("size", {"size": 257}),
        ("seed", {"seed": -1}),
        ("workers", {"workers": 0}),
    ],
)
def test_arguments_out_of_range_are_named(
    field: str, arguments: dict[str, object], tmp_path: Path
) -> None:
    settings = {"split": "train", "count": 1, "cache_dir": tmp_path, "progress": False} | arguments
    with pytest.raises(InvalidInput) as caught:
        birds(**settings)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert list(tmp_path.iterdir()) == []
