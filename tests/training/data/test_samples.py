"""Points, characters and translations are what they say, and known where they say so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import integrate, stats

from t2i.errors import InvalidInput
from tests.training.conftest import squares
from tests.training.data.real_layouts import write_mnist
from training.cli import main
from training.data.characters import ALPHABET, CharacterData, characters
from training.data.errors import DataError
from training.data.few_labels import few_labels, with_few_labels
from training.data.gaussians import DIVERGENCES, GaussianPair, gaussians
from training.data.load import NAMES, SAMPLE_NAMES, load_data, load_pictures
from training.data.mixtures import MIXTURES, MixtureData, grid25, mixture_data, ring8
from training.data.parallel import END, PAD, ParallelData, parallel_text
from training.data.samples import SampleData

F = {
    "kl": lambda u: u * np.log(u),
    "reverse-kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared-hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jensen-shannon": lambda u: -(u + 1) * np.log((1 + u) / 2) + u * np.log(u),
    "gan": lambda u: u * np.log(u) - (u + 1) * np.log(u + 1),
}


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_on_the_line_is_its_integral(name: str) -> None:
    pair = GaussianPair((0.3,), (1.1,), 1.0, 1.2)
    p, q = stats.norm(0.3, 1.0), stats.norm(1.1, 1.2)
    integral, _ = integrate.quad(
        lambda x: q.pdf(x) * F[name](p.pdf(x) / q.pdf(x)), -15, 17, epsabs=0, limit=200
    )
    assert pair.divergence(name) == pytest.approx(integral, rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_in_the_plane_is_an_expectation(name: str) -> None:
    pair = GaussianPair()
    points = pair.sample(400_000, "q", np.random.default_rng(0))
    estimate = F[name](np.exp(pair.log_ratio(points))).mean()
    assert pair.divergence(name) == pytest.approx(estimate, rel=0.05)  # type: ignore[arg-type]


def test_equal_gaussians_have_no_divergence_and_far_ones_log_two() -> None:
    same = GaussianPair((0.0,), (0.0,), 1.0, 1.0)
    for name in DIVERGENCES[:-1]:
        assert same.divergence(name) == pytest.approx(0, abs=1e-12)
    assert same.divergence("gan") == pytest.approx(-2 * math.log(2))
    assert GaussianPair((0.0,), (60.0,)).jsd == pytest.approx(math.log(2))


def test_a_chi_square_without_tails_is_infinite() -> None:
    assert math.isinf(GaussianPair((0.0,), (1.0,), 1.0, 0.7).divergence("pearson"))


def test_labels_tell_the_two_gaussians_apart() -> None:
    data = gaussians(count=4000)
    assert data.labels is not None and data.sample_shape == (2,)
    for label, mean in ((0, data.pair.mean_p), (1, data.pair.mean_q)):
        points = data.samples[data.labels == label]
        assert len(points) == 2000 and np.abs(points.mean(axis=0) - mean).max() < 0.15


@pytest.mark.parametrize("name", MIXTURES)
def test_points_lie_about_the_centre_that_their_label_names(name: str) -> None:
    mixture = MIXTURES[name]()
    data = mixture_data(mixture, count=5000)
    assert data.labels is not None and data.classes == mixture.modes
    apart = data.samples - mixture.centres[data.labels]
    assert apart.std() == pytest.approx(mixture.deviation, rel=0.05)
    shares = np.bincount(data.labels, minlength=mixture.modes) / len(data)
    assert np.abs(shares - mixture.weights).max() < 0.03


def test_the_ring_is_round_and_the_grid_is_square() -> None:
    assert np.allclose(np.linalg.norm(ring8().centres, axis=1), 2)
    assert sorted({float(x) for x in grid25().centres.ravel()}) == [-4, -2, 0, 2, 4]


def test_the_density_of_a_mixture_integrates_to_one() -> None:
    mixture = MIXTURES["mixture1d"]()
    line = np.linspace(-6, 6, 2001)[:, None]
    assert np.exp(mixture.log_density(line)).sum() * 12 / 2000 == pytest.approx(1)
    ring = ring8(deviation=0.3)
    side = np.linspace(-5, 5, 201)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert np.exp(ring.log_density(plane)).sum() * 0.05**2 == pytest.approx(1)


def test_seed_and_split_decide_which_points_are_drawn() -> None:
    def drawn(**options: object) -> np.ndarray:
        data = load_data("ring8:50", **options)  # type: ignore[arg-type]
        assert isinstance(data, MixtureData)
        return data.samples

    assert np.array_equal(drawn(), drawn())
    assert not np.array_equal(drawn(), drawn(seed=1))
    assert not np.array_equal(drawn(), drawn(split="test"))


def test_windows_of_text_read_back_and_begin_with_a_word() -> None:
    data = characters()
    assert data.sample_shape == (32,) and len(data) > 5000
    assert data.vocabulary == tuple(ALPHABET) and data.samples.max() < len(ALPHABET)
    texts = data.decode(data.samples[:200])
    assert all(text in data.text and text[0] != " " for text in texts)
    assert data.known_words(texts) == 1
    assert data.known_words(["the xqzzt the"]) == 0


def test_no_paragraph_is_in_both_splits() -> None:
    train, test = (set(characters(split=split).text.split("\n")) for split in ("train", "test"))
    assert not train & test and len(test) > 10


def test_a_held_out_sentence_was_never_seen_but_all_its_words_were() -> None:
    train, test = parallel_text(), parallel_text(split="test")
    assert (len(train), len(test)) == (7200, 800)
    assert train.sources is not None and test.sources is not None
    seen = {row.tobytes() for row in train.sources}
    assert not seen & {row.tobytes() for row in test.sources}
    assert set(test.sources.ravel()) <= set(train.sources.ravel())
    assert set(test.samples.ravel()) <= set(train.samples.ravel())
    assert train.vocabulary == test.vocabulary and train.sample_shape == test.sample_shape


def test_a_row_of_tokens_is_words_an_end_and_filling() -> None:
    data = parallel_text(count=50)
    for row in data.samples:
        end = row.tolist().index(END)
        assert (row[end + 1 :] == PAD).all() and (row[:end] > END).all()


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("man", "Mann"),
        ("the", "den"),
        ("must", "muss"),
        ("not", "nicht"),
        ("not", "keinen"),
        ("look", "suchen"),
    ],
)
def test_the_german_follows_the_english(english: str, german: str) -> None:
    data = parallel_text()
    assert data.sources is not None
    pairs = zip(data.decode_sources(data.sources), data.decode(data.samples), strict=True)
    sides = [(english in e.split(), german in d.split()) for e, d in pairs]
    assert any(theirs for _, theirs in sides)
    assert all(ours for ours, theirs in sides if theirs)


def test_known_translations_are_written() -> None:
    data = parallel_text()
    assert data.sources is not None
    pairs = dict(zip(data.decode_sources(data.sources), data.decode(data.samples), strict=True))
    assert pairs["today the sisters buy a book on the street"] == (
        "heute kaufen die Schwestern ein Buch auf der Straße"
    )
    assert pairs["a horse hears the small key in the kitchen"] == (
        "ein Pferd hört den kleinen Schlüssel in der Küche"
    )


def test_few_labels_are_balanced_seeded_and_true() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 3000)
    kept = few_labels(labels, 100, 10, seed=3)
    known = kept >= 0
    assert known.sum() == 100 and np.array_equal(kept[known], labels[known])
    assert np.bincount(kept[known]).tolist() == [10] * 10
    assert np.array_equal(kept, few_labels(labels, 100, 10, seed=3))
    assert not np.array_equal(kept, few_labels(labels, 100, 10, seed=4))


def test_few_labels_refuse_what_cannot_be_shared_out() -> None:
    with pytest.raises(InvalidInput, match="give a multiple of 3"):
        with_few_labels(squares(), 10)
    with pytest.raises(DataError, match="class 0 has 8 samples"):
        with_few_labels(squares(), 30)
    fewer = with_few_labels(squares(), 6)
    assert fewer.labels is not None and (fewer.labels >= 0).sum() == 6
    assert fewer.fingerprint != squares().fingerprint


def test_few_labels_come_through_load_data(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    data = load_data("mnist", root=root, labels=20, cache_dir=tmp_path / "cache")
    assert data.labels is not None and (data.labels >= 0).sum() == 20


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_every_name_loads_and_is_no_pictures(name: str) -> None:
    data = load_data(name, count=20)
    assert isinstance(data, SampleData) and len(data) == 20 and len(data.fingerprint) == 64
    tokens = isinstance(data, CharacterData | ParallelData)
    assert bool(data.vocabulary) == tokens
    assert data.samples.dtype == (np.int64 if tokens else np.float32)
    with pytest.raises(DataError, match="holds no pictures; give birds, mnist"):
        load_pictures(name)


def test_an_unknown_name_names_the_known() -> None:
    with pytest.raises(DataError) as error:
        load_data("minst")
    assert "data minst: is no data set and no folder here" in str(error.value)
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize("source", ["ring8:", "grid25:x", "gaussians:0"])
def test_a_number_of_points_that_is_none_is_named(source: str) -> None:
    with pytest.raises(InvalidInput, match=f"names no number of {source.split(':')[0]}"):
        load_data(source)


def test_the_command_checks_a_set_by_name(tmp_path: Path) -> None:
    root = write_mnist(tmp_path / "mnist")
    result = CliRunner().invoke(main, ["data", "check", f"mnist:{root}", "--json"])
    report = json.loads(result.output)
    assert result.exit_code == 1 and report["verdict"].startswith("train holds 40 of 60000")
    assert report["splits"][0]["labels"] == {str(digit): 4 for digit in range(10)}
    result = CliRunner().invoke(main, ["data", "check", "parallel-text"])
    assert result.exit_code == 0 and "parallel-text is whole" in result.output


def test_the_sheet_shows_digits_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    root = write_mnist(tmp_path / "mnist")
    for name in ("mnist", "stacked-mnist"):
        out = tmp_path / f"{name}.png"
        arguments = ["data", "sheet", f"{name}:{root}", "--count", "6", "--out", str(out)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert out.stat().st_size > 1000
