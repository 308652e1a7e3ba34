r"""Recipes at equal compute: each trained for the same processor time, then measured alike. JSON.

    python -m benchmarks.equal_compute --data birds524.tar --out runs/equal --seeds 3 \
        --run t2i --run df-gan --run stackgan-v2
    python -m benchmarks.equal_compute --data birds524.tar --out runs/ablation \\
        --run "base=t2i" --run "no feature critics=t2i --no-feature-critics"

Every `--run` is `[NAME=]RECIPE [OPTIONS]`, with the options of `t2i-train run RECIPE`. Each seed of
each is a run of `t2i-train run` for `--core-minutes` of processor time, with all that comes before
training, in the folder `OUT/NAME-SEED`; then `t2i-train eval` measures it with one judge of
captions, which learns first (`OUT/judge`). What it gave is kept in a file of `--results`.

Whatever is done already is not done again, so the same command goes on after an interruption, and
on another machine with `--results benchmarks/contest/results`. Seeds go first: every recipe is run
once before any is run twice. The mean over the seeds is told with their standard deviation.
`python -m benchmarks.contest docs/results.md` puts the tables into that page.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.contest import Contestant, Outcome, data_name, keep, kept, means
from training.errors import TrainingError
from training.metrics.compare import as_json
from training.metrics.runs import SCORES_FILE, read_runs
from training.provenance import commit, machine

TRAIN = (sys.executable, "-m", "training.cli")
# No recipe gets so far in any time that a comparison takes.
NO_END = "1000000"


def command(*words: object) -> None:
    """Run `t2i-train` and let its own words be read."""
    done = subprocess.run([*TRAIN, *map(str, words)], stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def take_turns(given: argparse.Namespace) -> dict[str, Outcome]:
    """Train and measure whatever is missing, and return what all runs gave, by their labels."""
    found = kept(given.results, given.contest)
    missing = [
        (each, seed)
        for seed in range(given.seeds)
        for each in given.run
        if not _is_known(found.get(each.label(seed)), each, given.core_minutes)
    ]
    judge: Path = given.matcher or given.out / "judge"
    if missing and not (judge / "config.json").is_file():
        command("matcher", "--data", given.data, "--out", judge, *given.judge_options)
    for each, seed in missing:
        folder = given.out / each.label(seed)
        if not (folder / SCORES_FILE).is_file():
            command(
                "run", each.recipe, "--data", given.data, "--out", folder, "--seed", seed,
                "--kimg", NO_END, "--core-minutes", given.core_minutes, *each.options,
            )  # fmt: skip
            command(
                "eval", folder / "bundle", "--data", given.data, "--matcher", judge,
                "--seeds", 1, "--run", folder, "--grid", folder / "look.png", *given.eval_options,
            )  # fmt: skip
        outcome = outcome_of(folder, each, seed, given, judge)
        keep(outcome, given.results)
        found[each.label(seed)] = outcome
    return found


def _is_known(known: Outcome | None, each: Contestant, core_minutes: float) -> bool:
    """Tell whether a run was made already.

    Raises:
        TrainingError: One of the same label was, in another way.
    """
    if known is None:
        return False
    if not known.is_of(each, core_minutes):
        raise TrainingError(
            f"run {each.name}: was made as `{known.recipe} {known.options}`, "
            f"{known.core_minutes:g} core-minutes; give another NAME, or remove what it gave from "
            "--results"
        )
    return True


def outcome_of(
    folder: Path, each: Contestant, seed: int, given: argparse.Namespace, judge: Path
) -> Outcome:
    """Read what a run gave from its folder."""
    (told,) = as_json(read_runs([folder]))["runs"]
    return Outcome(
        name=each.name,
        recipe=each.recipe,
        options=shlex.join(each.options),
        seed=seed,
        contest=given.contest,
        data=data_name(given.data),
        core_minutes=given.core_minutes,
        kimg=told["kimg"],
        judge=json.loads((judge / "config.json").read_text())["sha256"],
        scores={title: cell["final"] for title, cell in told["scores"].items()},
        commit=commit(),
        machine=machine(),
        torch=torch.__version__,
    )


def compared(runs: list[Contestant], seeds: int, found: dict[str, Outcome]) -> dict[str, Any]:
    """Return what each was measured to be, over its seeds."""
    told = {}
    for each in runs:
        outcomes = [found[each.label(seed)] for seed in range(seeds)]
        told[each.name] = {
            "recipe": each.recipe,
            "options": shlex.join(each.options),
            "kimg": [outcome.kimg for outcome in outcomes],
            "scores": means(outcomes),
        }
    return told


def contestant(text: str) -> Contestant:
    """Read a contestant for the command line."""
    try:
        return Contestant.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="as of t2i-train run")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--run", type=contestant, action="append", required=True)
    parser.add_argument("--core-minutes", type=float, default=40.0, help="of each run (40)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each (1)")
    parser.add_argument("--matcher", type=Path, help="judge of captions; without it one learns")
    parser.add_argument(
        "--judge-options", type=shlex.split, default=[], help="of t2i-train matcher"
    )
    parser.add_argument("--eval-options", type=shlex.split, default=[], help="of t2i-train eval")
    parser.add_argument("--contest", help="its name among the results (that of DATA)")
    parser.add_argument("--results", type=Path, help="what runs gave (OUT/results)")
    given = parser.parse_args()
    labels = [each.label(0) for each in given.run]
    if len(set(labels)) < len(labels):
        parser.error("--run: two have the same name; give NAME=RECIPE")
    given.out.mkdir(parents=True, exist_ok=True)
    given.results = given.results or given.out / "results"
    given.contest = given.contest or data_name(given.data)
    try:
        found = take_turns(given)
    except TrainingError as error:
        sys.exit(f"error: {error}")
    result = {
        "benchmark": "equal_compute",
        "data": given.data,
        "core_minutes": given.core_minutes,
        "seeds": given.seeds,
        "machine": machine(),
        "runs": compared(given.run, given.seeds, found),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
