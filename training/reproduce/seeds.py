"""Runs a claim seed by seed; a seed that is finished is not run again."""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from t2i.files import write_atomically
from training.claims.claim import Claim, Trial
from training.errors import TrainingError
from training.provenance import commit
from training.registry import find_recipe
from training.reproduce.results import Result, SeedResult, aggregate

MEASURED = "measured.json"
ELAPSED = "seconds.txt"


def reproduce(
    claim: Claim,
    *,
    seeds: Sequence[int],
    out: Path,
    root: Path | None = None,
    download: bool = False,
    shown: bool = True,
    quick: bool = False,
    on_seed: Callable[[SeedResult], None] | None = None,
) -> tuple[Result, tuple[SeedResult, ...]]:
    """Run a claim on every seed, going on from what lies in the folder.

    Args:
        claim: The claim.
        seeds: One or more different seeds.
        out: Folder; each seed has one of its own in it.
        root: Folder of the named picture sets; None takes T2I_DATA.
        download: Fetch named picture sets that are not on this machine.
        shown: Show progress bars.
        quick: A few steps only, for tests; the figures mean nothing.
        on_seed: Called with each seed's result.

    Returns:
        The aggregate, and each seed's own.

    Raises:
        TrainingError: Seeds are missing or twice there, a run failed, or what lies in the folder
            was measured by another version of the claim.
        KeyboardInterrupt: It was stopped; the same call goes on.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise TrainingError(
            f"seeds: {','.join(map(str, seeds)) or 'none'} are not one or more different numbers "
            "from 0; give 0,1,2"
        )
    found = []
    for seed in seeds:
        folder = out / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(seed=seed, out=folder, quick=quick, root=root, shown=shown, download=download)
        result = _measure(claim, trial)
        found.append(result)
        if on_seed is not None:
            on_seed(result)
    return aggregate(claim.key, found), tuple(found)


def version_of(claim: Claim) -> str:
    """Return a hash of the claim's file and of the paper's: what they say decides the figures."""
    entry = find_recipe(claim.key)
    paper = Path(inspect.getfile(inspect.unwrap(entry.build)))
    return hashlib.sha256(claim.source.read_bytes() + paper.read_bytes()).hexdigest()


def _measure(claim: Claim, trial: Trial) -> SeedResult:
    version = version_of(claim) + ("-quick" if trial.quick else "")
    path = trial.out / MEASURED
    if path.is_file():
        return _read(path, trial, version)
    started, before = time.monotonic(), _elapsed(trial.out)
    made_with = commit()
    try:
        measured = claim.measure(trial)
    finally:
        # What an interrupted seed has cost counts when it goes on.
        seconds = before + time.monotonic() - started
        write_atomically(trial.out / ELAPSED, f"{seconds:.3f}\n".encode())
    measured.check(claim.key, finite=not trial.quick)
    kept = {
        "version": version,
        "figures": dict(measured.figures),
        "best": dict(measured.best),
        "holds": bool(measured.holds),
        "seconds": round(seconds, 3),
        "data": trial.used,
        "commit": made_with,
        "pictures": {
            name: str(file.relative_to(trial.out)) for name, file in measured.pictures.items()
        },
    }
    write_atomically(path, (json.dumps(kept, indent=2) + "\n").encode())
    return _read(path, trial, version)


def _read(path: Path, trial: Trial, version: str) -> SeedResult:
    try:
        kept = json.loads(path.read_text("utf-8"))
        result = SeedResult(
            seed=trial.seed,
            figures=kept["figures"],
            best=kept["best"],
            holds=kept["holds"],
            seconds=kept["seconds"],
            data=kept["data"],
            pictures={name: trial.out / file for name, file in kept["pictures"].items()},
            commit=kept["commit"],
        )
        made_by = kept["version"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise TrainingError(
            f"out: {path} cannot be read ({error!r}); delete it to measure this seed again"
        ) from error
    if made_by != version:
        raise TrainingError(
            f"out: {path} was measured by another version of the claim or of its paper; delete "
            f"{trial.out}, or give another --out"
        )
    return result


def _elapsed(folder: Path) -> float:
    path = folder / ELAPSED
    try:
        return float(path.read_text()) if path.is_file() else 0.0
    except ValueError:
        return 0.0
