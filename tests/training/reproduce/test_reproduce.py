"""From a claim to its result: seeds, means, going on, and the commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from training.claims.claim import Claim, Measured, Trial
from training.cli import main
from training.errors import TrainingError
from training.registry import recipes
from training.reproduce import cli, pages
from training.reproduce.results import Result, SeedResult, Spread, aggregate, record, recorded
from training.reproduce.seeds import reproduce


class Experiment:
    """Counts its calls; figures follow from the seed."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.fails_at: int | None = None

    def __call__(self, trial: Trial) -> Measured:
        self.calls.append(trial.seed)
        if trial.seed == self.fails_at:
            raise KeyboardInterrupt
        path = trial.out / "plot.png"
        Image.new("RGB", (40, 40), (trial.seed, 0, 0)).save(path)
        trial.used["toys"] = "a" * 64
        modes = float(6 + trial.seed)
        return Measured(
            {"modes_of_8": modes, "error_percent": 10.0},
            holds=modes >= 7,
            pictures={"plot": path},
            best={"modes_of_8": 8.0},
        )


@pytest.fixture
def experiment() -> Experiment:
    return Experiment()


@pytest.fixture
def claim(experiment: Experiment, tmp_path: Path) -> Claim:
    source = tmp_path / "gan.py"
    source.write_text("# version 1")
    return Claim("gan", "no figure", "it covers the ring", "Counted.", experiment, source)


def run(claim: Claim, out: Path, *seeds: int) -> Result:
    return reproduce(claim, seeds=seeds, out=out, shown=False)[0]


def test_figures_are_means_with_sample_deviations(claim: Claim, tmp_path: Path) -> None:
    result = run(claim, tmp_path / "out", 0, 1, 2)
    modes = result.final["modes_of_8"]
    assert modes.values == (6.0, 7.0, 8.0)
    assert modes.mean == pytest.approx(7.0)
    assert modes.deviation == pytest.approx(np.std([6, 7, 8], ddof=1))
    assert result.best["modes_of_8"].mean == 8.0 and "error_percent" not in result.best
    assert result.holds == (False, True, True) and result.held == 2
    assert result.summary == "modes of 8 7 ± 1; held on 2 of 3 seeds"
    assert result.command == "t2i-train reproduce gan --seeds 0,1,2"
    assert result.data == {"toys": "a" * 64}


def test_one_seed_has_no_deviation() -> None:
    assert Spread.of([3.0]).deviation is None
    assert str(Spread.of([3.0])) == "3"
    assert str(Spread.of([1.0, 2.0])) == "1.5 ± 0.71"


def test_a_finished_seed_is_not_run_again(
    claim: Claim, experiment: Experiment, tmp_path: Path
) -> None:
    first = run(claim, tmp_path / "out", 0, 1)
    again = run(claim, tmp_path / "out", 0, 1, 2)
    assert experiment.calls == [0, 1, 2]
    assert again.final["modes_of_8"].values[:2] == first.final["modes_of_8"].values


def test_an_interrupted_claim_goes_on_at_its_seed_and_keeps_the_time(
    claim: Claim, experiment: Experiment, tmp_path: Path
) -> None:
    experiment.fails_at = 1
    with pytest.raises(KeyboardInterrupt):
        run(claim, tmp_path / "out", 0, 1)
    (tmp_path / "out" / "seed-1" / "seconds.txt").write_text("100.0\n")
    experiment.fails_at = None
    result = run(claim, tmp_path / "out", 0, 1)
    assert experiment.calls == [0, 1, 1]
    assert 100 <= result.seconds < 110


def test_what_another_version_measured_is_refused(claim: Claim, tmp_path: Path) -> None:
    run(claim, tmp_path / "out", 0)
    claim.source.write_text("# version 2")
    with pytest.raises(TrainingError, match="measured by another version of the claim"):
        run(claim, tmp_path / "out", 0)


def test_a_damaged_result_is_named(claim: Claim, tmp_path: Path) -> None:
    run(claim, tmp_path / "out", 0)
    (tmp_path / "out" / "seed-0" / "measured.json").write_text("{")
    with pytest.raises(TrainingError, match=r"measured\.json cannot be read"):
        run(claim, tmp_path / "out", 0)


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_must_be_different_and_there(
    claim: Claim, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    with pytest.raises(TrainingError, match=r"^seeds: .*give 0,1,2"):
        run(claim, tmp_path / "out", *seeds)


def test_seeds_must_measure_the_same() -> None:
    def seed(number: int, name: str) -> SeedResult:
        return SeedResult(number, {name: 1.0}, {}, True, 1.0, {}, {})

    with pytest.raises(TrainingError, match="seeds 0 and 1 measured different figures"):
        aggregate("gan", [seed(0, "a"), seed(1, "b")])


def test_a_figure_that_is_no_number_is_not_kept(
    claim: Claim, experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Measured({"modes_of_8": math.nan}, holds=False)
    monkeypatch.setattr(Experiment, "__call__", lambda self, trial: broken)
    with pytest.raises(TrainingError, match="figure modes_of_8 is nan"):
        run(claim, tmp_path / "out", 0)
    assert not (tmp_path / "out" / "seed-0" / "measured.json").exists()


def test_a_recorded_result_reads_as_it_was(claim: Claim, tmp_path: Path) -> None:
    result = run(claim, tmp_path / "out", 0, 1)
    record(result, tmp_path / "results")
    assert recorded(tmp_path / "results") == {"gan": result}
    (tmp_path / "results" / "gan.json").write_text('{"key": "gan"}')
    with pytest.raises(TrainingError, match=r"gan\.json cannot be read"):
        recorded(tmp_path / "results")


def test_data_that_each_seed_draws_is_told_apart() -> None:
    seeds = [
        SeedResult(seed, {"a": 1.0}, {}, True, 1.0, {"same": "f", "drawn": mark}, {})
        for seed, mark in ((0, "x"), (1, "y"))
    ]
    found = aggregate("gan", seeds).data
    assert found == {"same": "f", "drawn (seed 0)": "x", "drawn (seed 1)": "y"}


def test_the_commit_is_that_of_the_measuring() -> None:
    def seed(number: int, commit: str | None) -> SeedResult:
        return SeedResult(number, {"a": 1.0}, {}, True, 1.0, {}, {}, commit)

    assert aggregate("gan", [seed(0, "x"), seed(1, "x")]).commit == "x"
    assert aggregate("gan", [seed(0, "x"), seed(1, "y")]).commit == "x, y"
    assert aggregate("gan", [seed(0, None)]).commit is None


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree of its own to record into."""
    (tmp_path / "tree" / "docs").mkdir(parents=True)
    (tmp_path / "tree" / "docs" / "results.md").write_text(
        f"# Results\n\n{pages.BEGIN}\n{pages.END}\n\nThe end.\n"
    )
    kept = tmp_path / "tree" / "results"
    monkeypatch.setattr(cli, "source_tree", lambda: tmp_path / "tree")
    monkeypatch.setattr(cli, "record", lambda result: record(result, kept))
    monkeypatch.setattr(cli, "recorded", lambda: recorded(kept))
    monkeypatch.setattr(pages, "recorded", lambda: recorded(kept))
    return tmp_path / "tree"


def ask(monkeypatch: pytest.MonkeyPatch, claim: Claim, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(cli, "find_claim", lambda key: claim)
    done = CliRunner().invoke(main, ["reproduce", "gan", "--quiet", *arguments])
    return done.exit_code, done.output


def test_the_command_exits_with_0_when_the_claim_held_and_with_3_when_not(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    code, said = ask(monkeypatch, claim, "--out", out, "--seeds", "1,2")
    assert code == 0 and "7.5 ± 0.71" in said and "held on 2 of 2 seeds" in said
    code, said = ask(monkeypatch, claim, "--out", out, "--seeds", "0,1")
    assert code == 3 and "held on 1 of 2 seeds" in said
    assert "claim: it covers the ring" in said


def test_wrong_seeds_are_wrong_usage(
    claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ask(monkeypatch, claim, "--seeds", "0,x")
    assert code == 2 and "no list of whole numbers" in said


def test_a_paper_without_a_claim_is_named() -> None:
    done = CliRunner().invoke(main, ["reproduce", "nobody"])
    assert done.exit_code == 1 and "claim 'nobody' is not known" in done.output


def test_recording_writes_result_picture_page_and_table(
    claim: Claim, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ask(
        monkeypatch, claim, "--out", str(tmp_path / "out"), "--seeds", "1,2", "--record"
    )
    assert code == 0, said
    page = (tree / "docs" / "zoo" / "gan.md").read_text()
    assert "| modes of 8 | 7.5 ± 0.71 | 8 ± 0 | 7 | 8 |" in page
    assert "| held | 2 of 2 |  | yes | yes |" in page
    assert "](gan.png)" in page
    with Image.open(tree / "docs" / "zoo" / "gan.png") as picture:
        assert picture.getpixel((0, 0)) == (1, 0, 0)
    text = (tree / "docs" / "results.md").read_text()
    assert "| [gan](zoo/gan.md) | modes of 8 | 7.5 ± 0.71 | 8 ± 0 | 2 of 2 |" in text
    assert text.startswith("# Results\n") and text.endswith("The end.\n")
    listed = CliRunner().invoke(main, ["zoo", "--json", "--section", "A"])
    rows = {row["key"]: row for row in json.loads(listed.output)}
    assert rows["gan"]["measured"]["final"]["modes_of_8"]["values"] == [7.0, 8.0]
    assert rows["wgan"]["measured"] is None


def test_the_list_tells_of_every_paper_where_it_is_from() -> None:
    done = CliRunner().invoke(main, ["zoo", "--json"])
    rows = {row["key"]: row for row in json.loads(done.output)}
    assert rows.keys() == recipes().keys()
    assert rows["wgan"]["year"] == 2017 and rows["wgan"]["arxiv"] == ["1701.07875"]
    assert rows["wgan"]["section"] == "A" and rows["wgan"]["claim"] and rows["wgan"]["reference"]
    table = CliRunner().invoke(main, ["zoo", "--section", "B"], env={"COLUMNS": "200"})
    assert "sngan" in table.output and "wgan-gp" not in table.output


def test_the_list_fits_eighty_columns_and_cuts_nothing(
    claim: Claim, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(monkeypatch, claim, "--out", str(tmp_path / "out"), "--seeds", "1,2", "--record")
    done = CliRunner().invoke(main, ["zoo", "--section", "A"], env={"COLUMNS": "80"})
    head, *lines = done.output.splitlines()
    assert head.split() == ["key", "year", "claim", "measured"]
    assert all(len(line) <= 80 for line in lines) and "…" not in done.output
    started = [line.split()[0] for line in lines if line[0] != " "]
    assert started == [each.key for each in recipes().values() if each.section == "A"]
    start = next(at for at, line in enumerate(lines) if line.startswith("gan "))
    measured = " ".join(line[head.index("measured") :].strip() for line in lines[start : start + 3])
    assert lines[start].split()[1] == "2014" and "7.5 ± 0.71 modes of 8, held 2/2" in measured


def test_an_unknown_section_is_named() -> None:
    done = CliRunner().invoke(main, ["zoo", "--section", "Z"])
    assert done.exit_code == 1 and "section 'Z': has no papers; there are A, B" in done.output
