import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageColor

from t2i import Attributes, Code, Label, Pipeline, Text
from tests.t2i.small_bundle import CODE, LABELS, save_conditioned, save_small
from tests.training.data.folders import captioned, save, write_rows
from training.cli import main
from training.data.errors import DataError
from training.data.load import load_pictures
from training.metrics.asking import ask, ask_more, draw, words_of
from training.metrics.errors import MetricsError
from training.metrics.evaluate_pictures import PictureSettings, measure_pictures
from training.metrics.picture_classifier import FitSettings, fit
from training.metrics.picture_matcher import PictureMatcher
from training.metrics.runs import read_run
from training.metrics.sources import load_sources

SMALL = PictureSettings(
    count=16, resize=32, subsets=4, subset_size=8, variety_conditions=3, variety_pictures=2
)


def classes(folder: Path, each: int = 10, split: str = "") -> Path:
    """One folder a class, of the names that the small bundle of digits knows."""
    for number, name in enumerate(LABELS):
        for index in range(each):
            save(folder / split / name / f"{index}.png", 100 * number + index + 1000 * len(split))
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    for name in ("digits", "codes", "plumage", "seeds"):
        save_conditioned(folder, name)
    save_small(folder / "captions")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("data") / "digits")


def test_each_model_is_asked_with_what_it_takes(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    labelled = load_pictures(digits, resolution=32, cache_dir=cache, progress=False)
    assert labelled.labels is not None
    rows = np.array([0, 15, 35])
    asked = ask(Pipeline.from_pretrained(bundles / "digits").info, labelled, rows)
    names = [labelled.label_names[label] for label in labelled.labels[rows]]
    assert asked.conditions == tuple(Label(name=name) for name in names)
    assert asked.labels is not None and asked.labels.tolist() == labelled.labels[rows].tolist()

    written = load_pictures(
        captioned(tmp_path / "written", 20),
        resolution=32,
        split="all",
        cache_dir=cache,
        progress=False,
    )
    asked = ask(Pipeline.from_pretrained(bundles / "captions").info, written, np.array([4, 1]))
    assert asked.conditions == tuple(Text(written.captions[row][0]) for row in (4, 1))

    codes = ask(Pipeline.from_pretrained(bundles / "codes").info, labelled, np.arange(40))
    assert {code.categorical for code in codes.conditions if isinstance(code, Code)} == {
        (choice,) for choice in range(CODE[0]["size"])
    }
    plumage = ask(Pipeline.from_pretrained(bundles / "plumage").info, labelled, rows)
    first = plumage.conditions[0]
    assert isinstance(first, Attributes) and set(first.values) == {"crown", "crest", "size"}
    seeds = ask(Pipeline.from_pretrained(bundles / "seeds").info, labelled, rows)
    assert seeds.conditions == (None, None, None)
    for each in (codes, plumage, seeds):
        assert words_of(each.conditions[0])


def test_data_without_what_a_model_is_asked_with_is_refused(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    labelled = load_pictures(digits, resolution=32, cache_dir=cache, progress=False)
    rows = np.arange(3)
    with pytest.raises(MetricsError, match="has no text"):
        ask(Pipeline.from_pretrained(bundles / "captions").info, labelled, rows)
    other = tmp_path / "other"
    for seed in range(20):
        save(other / ("cat", "dog")[seed % 2] / f"{seed}.png", seed)
    strange = load_pictures(other, resolution=32, cache_dir=cache, progress=False)
    with pytest.raises(MetricsError, match="labels that digits does not know: cat, dog"):
        ask(Pipeline.from_pretrained(bundles / "digits").info, strange, np.arange(2))


def test_pictures_are_drawn_for_their_condition_and_seed(bundles: Path) -> None:
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    conditions = [Label(name=name) for name in ("one", "two", "one")]
    pictures = draw(pipeline, conditions, [5, 5, 6])
    for picture, condition, seed in zip(pictures, conditions, [5, 5, 6], strict=True):
        expected = pipeline.generate(condition, seeds=[seed]).images[0].array
        assert np.array_equal(picture, expected)


def test_a_folder_without_another_split_is_halved_and_says_so(digits: Path, cache: Path) -> None:
    sources = load_sources(str(digits), resolution=32, count=100, cache_dir=cache, progress=False)
    assert not sources.held_out
    assert len(sources.real) == len(sources.spare) == 19
    assert not set(sources.real) & set(sources.spare)


def test_every_figure_stands_beside_that_of_real_pictures(
    bundles: Path, cache: Path, tmp_path: Path
) -> None:
    folder = classes(classes(tmp_path / "digits", split="train"), split="val")
    sources = load_sources(
        str(folder), resolution=32, count=16, enough=20, cache_dir=cache, progress=False
    )
    assert sources.held_out
    data = sources.held
    assert data.labels is not None
    judge = fit(
        data.pictures, data.labels, data.pictures, data.labels,
        title=data.name, label_names=data.label_names,
        settings=FitSettings(kimg=0.064, batch=16, width=4, blocks=1),
    )  # fmt: skip
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    scores = measure_pictures(pipeline, sources, SMALL, judge=judge, show_progress=False).scores
    by_name = {score.name: score for score in scores}
    assert set(by_name) == {
        "FID", "KID", "precision", "recall", "density", "coverage", "copied", "class accuracy",
        "variety",
    }  # fmt: skip
    assert all(score.floor is not None for score in scores)
    kid = by_name["KID"]
    assert kid.floor is not None and kid.value > kid.floor + 3 * kid.spread
    assert by_name["class accuracy"].floor == pytest.approx(
        float((judge.all_logits(data.pictures[sources.spare]).argmax(dim=1).numpy()
               == data.labels[sources.spare]).mean())
    )  # fmt: skip
    again = measure_pictures(pipeline, sources, SMALL, judge=judge, show_progress=False)
    assert [score.as_json() for score in again.scores] == [score.as_json() for score in scores]


def test_real_pictures_in_place_of_drawn_ones_score_the_floor(
    bundles: Path, digits: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = load_sources(str(digits), resolution=32, count=16, cache_dir=cache, progress=False)
    spare = sources.held.pictures[sources.spare]
    monkeypatch.setattr(
        "training.metrics.evaluate_pictures.draw",
        lambda pipeline, conditions, seeds, progress=None: np.resize(
            spare, (len(conditions), *spare.shape[1:])
        ),
    )
    pipeline = Pipeline.from_pretrained(bundles / "digits")
    for score in measure_pictures(pipeline, sources, SMALL, show_progress=False).scores:
        if score.name != "variety":
            assert score.value == pytest.approx(score.floor), score.name


def test_eval_of_a_folder_prints_writes_draws_and_records(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    run, out, grid = tmp_path / "run", tmp_path / "scores.json", tmp_path / "grid.png"
    run.mkdir()
    few = "--count 16 --seeds 2 --resize 32 --subsets 4 --subset-size 8"
    small = [*few.split(), "--variety-captions", "2", "--variety-pictures", "2"]
    paths = ("--out", out, "--grid", grid, "--run", run, "--cache", cache)
    command = ["eval", bundles / "digits", "--data", digits, *small, *paths]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    assert "KID" in result.stdout
    assert "may have learned from these" in " ".join(result.stdout.split())
    report = json.loads(out.read_text())
    assert report["data"]["held_out"] is False
    assert len(report["scores"]) == 7
    kid = report["scores"][1]
    both = [kid["noted"]["seed 0"], kid["noted"]["seed 1"]]
    assert kid["value"] == pytest.approx(np.mean(both))
    assert kid["spread"] == pytest.approx(np.std(both))
    assert "± over seeds 0, 1" in " ".join(result.stdout.split())
    with Image.open(grid) as sheet:
        assert sheet.height == 20 + 12 * 100
    recorded = [each.score for each in read_run(run).measured]
    assert [score.as_json() for score in recorded] == report["scores"]
    (run / "scores.json").write_text(out.read_text())
    assert len(read_run(run).measured) == 14


def coloured(folder: Path, **splits: int) -> Path:
    """Pictures of one colour with two captions that name it; unseen ones have other colours."""
    rows = []
    for split, count in splits.items():
        names = ("teal", "pink") if split == "unseen" else ("red", "green", "blue", "white")
        for index in range(count):
            name = names[index % len(names)]
            path = folder / f"{split}-{index}.png"
            folder.mkdir(exist_ok=True)
            shade = np.random.default_rng([len(split), index]).integers(0, 30, (32, 32, 3))
            colour = np.array(ImageColor.getrgb(name)) * 8 // 10
            Image.fromarray((colour + shade).clip(0, 255).astype(np.uint8)).save(path)
            texts = [f"a {name} sheet", f"paper, {name}, number {index}"]
            rows.append({"file_name": path.name, "captions": texts, "split": split})
    write_rows(folder / "metadata.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("data") / "papers", train=40, val=100, unseen=12)


@pytest.fixture(scope="module")
def matcher(papers: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("judges") / "matcher"
    few = ["--count", "30", "--test-count", "10", "--kimg", "1.6", "--resolution", "32", "--quiet"]
    command = ["matcher", "--data", papers, "--out", out, *few, "--cache", cache]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    assert "learned from 30 pictures" in result.stdout
    assert "R-precision" in result.stdout and "on 10 held-out pictures" in result.stdout
    return out


def test_a_small_val_split_is_compared_with_whole_and_its_floor_is_of_training_pictures(
    papers: Path, cache: Path
) -> None:
    options: dict[str, Any] = {"resolution": 32, "cache_dir": cache, "progress": False}
    large = load_sources(str(papers), count=30, **options)
    assert not large.floor_is_training and not set(large.real) & set(large.spare)
    small = load_sources(str(papers), count=1000, **options)
    assert small.floor_is_training and len(small.real) == len(small.spare) == 40
    assert len(small.others) == 60 and not set(small.real) & set(small.others)
    unseen = load_sources(str(papers), count=1000, split="unseen", **options)
    assert unseen.spare_of is unseen.held and len(unseen.real) == len(unseen.spare) == 6
    assert unseen.held_out


def test_a_folder_that_calls_its_held_out_pictures_test_is_compared_with_them(
    cache: Path, tmp_path: Path
) -> None:
    folder = coloured(tmp_path / "papers", train=20, test=24)
    sources = load_sources(
        str(folder), resolution=32, count=9, enough=20, cache_dir=cache, progress=False
    )
    assert sources.held_out and len(sources.held) == 24


def test_data_without_unseen_pictures_are_told_so(digits: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="no unseen pictures"):
        load_sources(
            str(digits), resolution=32, count=9, split="unseen", cache_dir=cache, progress=False
        )


def test_more_captions_are_asked_where_pictures_are_few_each_once(
    bundles: Path, papers: Path, cache: Path
) -> None:
    info = Pipeline.from_pretrained(bundles / "captions").info
    data = load_pictures(papers, resolution=32, split="unseen", cache_dir=cache, progress=False)
    rows, others = np.arange(5), np.arange(5, 12)
    first = ask(info, data, rows)
    assert first.captions is not None
    more = ask_more(first, data, others, count=20)
    assert more.captions is not None and len(set(more.captions.tolist())) == 20
    assert more.captions[:5].tolist() == first.captions.tolist()
    assert set(data.caption_owners[more.captions[:12]]) == set(range(12))
    assert more.conditions[7] == Text(data.flat_captions[more.captions[7]])
    assert len(ask_more(first, data, others, count=99).conditions) == 24
    labelled = ask(Pipeline.from_pretrained(bundles / "seeds").info, data, rows)
    with pytest.raises(MetricsError, match="takes text"):
        ask_more(labelled, data, others, count=20)


def test_a_model_that_draws_the_caption_finds_it_and_one_that_does_not_does_not(
    bundles: Path, papers: Path, matcher: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = load_sources(str(papers), resolution=32, count=24, cache_dir=cache, progress=False)
    judge = PictureMatcher.load(matcher)
    pipeline = Pipeline.from_pretrained(bundles / "captions")
    untrained = measure_pictures(pipeline, sources, SMALL, matcher=judge, show_progress=False)

    def faithful(
        pipeline: Pipeline,
        conditions: Sequence[Text],
        seeds: Sequence[int],
        progress: object = None,
    ) -> np.ndarray:
        pages = {text: row for row, texts in enumerate(sources.held.captions) for text in texts}
        return sources.held.pictures[[pages[each.text] for each in conditions]]

    monkeypatch.setattr("training.metrics.evaluate_pictures.draw", faithful)
    drawn = measure_pictures(pipeline, sources, SMALL, matcher=judge, show_progress=False)
    before, after = ({s.name: s for s in each.scores} for each in (untrained, drawn))
    for name in ("R-precision", "matching score"):
        real = after[name].floor
        assert real is not None and after[name].value == pytest.approx(real, abs=0.05)
        assert before[name].value < after[name].value
    shuffled = after["R-precision"].shuffled
    assert shuffled is not None and shuffled < 0.6 * after["R-precision"].value


def test_eval_with_a_matcher_tells_seen_and_unseen_apart_and_shows_the_nearest(
    bundles: Path, papers: Path, matcher: Path, cache: Path, tmp_path: Path
) -> None:
    run, out, near = tmp_path / "run", tmp_path / "scores.json", tmp_path / "near.png"
    run.mkdir()
    few = "--count 12 --seeds 2 --resize 32 --subsets 4 --subset-size 8"
    small = [*few.split(), "--variety-captions", "2", "--variety-pictures", "2"]
    paths = ("--out", out, "--neighbours", near, "--run", run, "--cache", cache)
    judges = ("--matcher", matcher)
    command = ["eval", bundles / "captions", "--data", papers, *small, *judges, *paths]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    scores = {score["name"]: score for score in report["scores"]}
    for name in ("R-precision", "R-precision, unseen", "matching score", "KID, unseen"):
        assert scores[name]["floor"] is not None and "seed 1" in scores[name]["noted"]
    assert "copied" in scores and "copied, unseen" not in scores
    assert scores["R-precision"]["count"] == 12
    assert scores["R-precision"]["shuffled"] is not None
    assert scores["R-precision"]["network"] == report["matcher"]["name"]
    assert report["matcher"]["may_have_learned_from_these"] is False
    assert report["data"]["splits"]["unseen"]["pictures"] == 12
    assert "shuffled" in result.stdout and "R-precision, unseen" in result.stdout
    with Image.open(near) as sheet:
        assert sheet.width == 4 + 6 * 100
    compared = CliRunner().invoke(main, ["compare", str(run), "--markdown", "--no-plot"])
    assert "| R-precision |" in compared.stdout.splitlines()[0], compared.output


def test_a_matcher_that_may_have_learned_from_what_is_asked_after_is_named(
    bundles: Path, digits: Path, cache: Path, tmp_path: Path
) -> None:
    bare = captioned(tmp_path / "bare", 40)
    options = ["--cache", str(cache), "--quiet"]
    few = ["--test-count", "8", "--kimg", "0.2", "--resolution", "32"]
    made = CliRunner().invoke(
        main, ["matcher", "--data", str(bare), "--out", str(tmp_path / "m"), *few, *options]
    )
    assert made.exit_code == 0, made.output
    small = "--count 8 --seeds 1 --resize 32 --subsets 2 --subset-size 4 --variety-captions 2"
    result = CliRunner().invoke(
        main,
        [
            *("eval", str(bundles / "captions"), "--data", str(bare), *small.split()),
            *("--variety-pictures", "2", "--matcher", str(tmp_path / "m"), *options),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "do not trust them" in " ".join(result.stdout.split())


def test_a_matcher_is_refused_where_no_caption_is_asked(
    bundles: Path, digits: Path, matcher: Path, cache: Path
) -> None:
    command = ["eval", bundles / "digits", "--data", digits, "--matcher", matcher, "--cache", cache]
    result = CliRunner().invoke(main, [str(each) for each in command])
    assert result.exit_code == 1 and "takes text" in result.stderr
    bare = ["matcher", "--data", digits, "--out", cache / "none", "--cache", cache]
    result = CliRunner().invoke(main, [str(each) for each in bare])
    assert result.exit_code == 1 and "no caption" in result.stderr
