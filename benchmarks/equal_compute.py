r"""Recipes at equal compute: each trained for the same processor time, then measured alike. JSON.

    python -m benchmarks.equal_compute --data birds524.tar --out runs/equal --seeds 3 \
        --run t2i --run df-gan --run stackgan-v2
    python -m benchmarks.equal_compute --data birds524.tar --out runs/ablation \\
        --run "base=t2i" --run "no feature critics=t2i --no-feature-critics"

Every `--run` is `[NAME=]RECIPE [OPTIONS]`, with the options of `t2i-train run RECIPE`. Each seed of
each is a run of `t2i-train run` for `--core-minutes` of processor time, with all that comes before
training, in the folder `OUT/NAME-SEED`; then `t2i-train eval` measures it with one judge of
captions, which learns first (`OUT/judge`). Whatever is done already is not done again, so the same
command goes on after an interruption. Seeds go first: every recipe is run once before any is run
twice. The mean over the seeds is told with their standard deviation.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.metrics.compare import as_json
from training.metrics.runs import SCORES_FILE, read_runs

TRAIN = (sys.executable, "-m", "training.cli")
# No recipe gets so far in any time that a comparison takes.
NO_END = "1000000"


@dataclass(frozen=True)
class Contestant:
    """A recipe under a name.

    Attributes:
        name: Of its folders and in the result.
        recipe: Its key.
        options: Of `t2i-train run`.
    """

    name: str
    recipe: str
    options: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Contestant:
        """Read `[NAME=]RECIPE [OPTIONS]`.

        Raises:
            ValueError: There is no recipe in it.
        """
        # An option may hold a sign of equality, a name stands before the first blank or sign.
        named = re.match(r"\s*([^=]+)=\s*([A-Za-z].*)", text)
        name, words = (named[1].strip(), named[2]) if named and "--" not in named[1] else ("", text)
        recipe, *options = shlex.split(words) or [""]
        if not recipe:
            raise ValueError("names no recipe; give [NAME=]RECIPE [OPTIONS]")
        return cls(name or recipe, recipe, tuple(options))

    def folder(self, out: Path, seed: int) -> Path:
        """Return where its run of a seed lies."""
        return out / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', self.name)}-{seed}"


def command(*words: object) -> None:
    """Run `t2i-train` and let its own words be read."""
    done = subprocess.run([*TRAIN, *map(str, words)], stdout=sys.stderr, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def take_turns(given: argparse.Namespace) -> None:
    """Train and measure whatever is missing."""
    judge: Path = given.matcher or given.out / "judge"
    if not (judge / "config.json").is_file():
        command("matcher", "--data", given.data, "--out", judge, *given.judge_options)
    for seed in range(given.seeds):
        for each in given.run:
            folder = each.folder(given.out, seed)
            if (folder / SCORES_FILE).is_file():
                continue
            command(
                "run", each.recipe, "--data", given.data, "--out", folder, "--seed", seed,
                "--kimg", NO_END, "--core-minutes", given.core_minutes, *each.options,
            )  # fmt: skip
            command(
                "eval", folder / "bundle", "--data", given.data, "--matcher", judge,
                "--seeds", 1, "--run", folder, "--grid", folder / "look.png", *given.eval_options,
            )  # fmt: skip


def compared(given: argparse.Namespace) -> dict[str, Any]:
    """Return what each was measured to be, over its seeds."""
    found: dict[str, Any] = {}
    for each in given.run:
        runs = read_runs([each.folder(given.out, seed) for seed in range(given.seeds)])
        told = as_json(runs)["runs"]
        # A title holds what makes scores comparable, so those of one title are.
        titles = dict.fromkeys(title for one in told for title in one["scores"])
        finals = {
            title: [one["scores"][title]["final"] for one in told if title in one["scores"]]
            for title in titles
        }
        found[each.name] = {
            "recipe": each.recipe,
            "options": shlex.join(each.options),
            "kimg": [one["kimg"] for one in told],
            "scores": {title: spread(values) for title, values in finals.items()},
        }
    return found


def spread(finals: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation of a score over seeds, and what real pictures score."""
    values = [final["value"] for final in finals]
    return {
        "value": statistics.fmean(values),
        "spread": statistics.stdev(values) if len(values) > 1 else None,
        "each": values,
        "floor": finals[0]["floor"],
    }


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
    given = parser.parse_args()
    folders = [each.folder(given.out, 0) for each in given.run]
    if len(set(folders)) < len(folders):
        parser.error("--run: two have the same name; give NAME=RECIPE")
    given.out.mkdir(parents=True, exist_ok=True)
    take_turns(given)
    result = {
        "benchmark": "equal_compute",
        "data": given.data,
        "core_minutes": given.core_minutes,
        "seeds": given.seeds,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": compared(given),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
