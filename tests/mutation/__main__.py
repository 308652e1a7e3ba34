"""Counts how many wrong turns of the losses the tests notice.

    python -m tests.mutation                      every paper and what papers are made of
    python -m tests.mutation gan objectives       only these files
    python -m tests.mutation --jobs 8 --json out.json

Each file is changed in one place at a time: a sign turned, a term or factor dropped, real and fake
swapped, a constant or a default changed, an argument left out, another objective taken. Its own
tests run against each such mutant; one that they do not notice survived. `equivalent.toml` lists
mutants that no test could notice, each with its reason; they are left out of the count.

Exit codes: 0 the score reaches `--at-least`, 1 it does not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.runner import Target, Verdict, examine, targets

EQUIVALENT = Path(__file__).parent / "equivalent.toml"
OUTCOMES = ("killed", "timed out", "survived", "broken")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a paper, or objectives …")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here as well")
    parser.add_argument(
        "--at-least", type=float, default=0.95, help="share to notice, from 0 to 1 (default 0.95)"
    )
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        parser.error(f"--jobs: is {given.jobs}; give 1 or more")
    if not 0.0 <= given.at_least <= 1.0:
        parser.error(f"--at-least: is {given.at_least}; give a share from 0 to 1, such as 0.95")
    try:
        chosen = choose(targets(), given.names)
        known = equivalents(EQUIVALENT)
    except ValueError as error:
        parser.error(str(error))
    started = time.monotonic()
    verdicts: list[Verdict] = []
    print(HEAD)
    for target in chosen:
        here: list[Verdict] = []
        for verdict in examine(target, jobs=given.jobs, equivalent=known.get(target.source, {})):
            here.append(verdict)
            if verdict.outcome == "survived":
                print(f"  survived: {target.source} {verdict.mutant.words}", flush=True)
        verdicts += here
        print(row(target.source, here), flush=True)
        if given.json is not None:
            # After each file, so that a run that is stopped leaves what it knew.
            done = chosen[: chosen.index(target) + 1]
            given.json.write_text(json.dumps(as_json(done, verdicts), indent=2) + "\n")
    print(f"{row('all', verdicts)}   in {time.monotonic() - started:.0f} s")
    return 0 if score(verdicts) >= given.at_least else 1


def choose(known: Sequence[Target], names: Sequence[str]) -> list[Target]:
    """Return the targets of these names, all without any.

    Raises:
        ValueError: There is none of a name.
    """
    by_name = {Path(target.source).stem.replace("_", "-"): target for target in known}
    for name in names:
        if name.replace("_", "-") not in by_name:
            raise ValueError(f"NAME: {name} is none of {', '.join(by_name)}")
    asked = {name.replace("_", "-") for name in names} or set(by_name)
    return [target for name, target in by_name.items() if name in asked]


def equivalents(path: Path) -> dict[str, dict[str, str]]:
    """Read which mutants cannot be noticed, by file and words, with the reason.

    Raises:
        ValueError: An entry has no reason.
    """
    with path.open("rb") as file:
        entries: dict[str, dict[str, str]] = tomllib.load(file)
    for source, mutants in entries.items():
        for words, reason in mutants.items():
            if not reason.strip():
                raise ValueError(f"{path.name}: {source} {words!r} has no reason; write one")
    return entries


def score(verdicts: Sequence[Verdict]) -> float:
    """Return the share of mutants that were noticed, 1 where there are none."""
    counted = [each for each in verdicts if each.outcome != "broken"]
    noticed = sum(each.outcome != "survived" for each in counted)
    return noticed / len(counted) if counted else 1.0


def counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return how many mutants came to each end."""
    return {name: sum(each.outcome == name for each in verdicts) for name in OUTCOMES}


HEAD = f"{'file':34}{'noticed':>9}" + "".join(f"{name:>11}" for name in OUTCOMES)


def row(name: str, verdicts: Sequence[Verdict]) -> str:
    """Return one row of the table."""
    numbers = "".join(f"{number:11}" for number in counts(verdicts).values())
    return f"{name:34}{score(verdicts):9.1%}{numbers}"


def as_json(chosen: Sequence[Target], verdicts: Sequence[Verdict]) -> dict[str, object]:
    """Return score, counts and every survivor as JSON values."""
    files = {}
    for target in chosen:
        here = [each for each in verdicts if each.target == target]
        files[target.source] = {
            "score": round(score(here), 4),
            "tests": list(target.tests),
            **counts(here),
            "survivors": [each.mutant.words for each in here if each.outcome == "survived"],
        }
    return {"score": round(score(verdicts), 4), "mutants": len(verdicts), "files": files}


if __name__ == "__main__":
    sys.exit(main())
