"""Runs the tests of a file against its mutants, each in a process of its own.

A process is forked from one that has the libraries loaded but nothing of this project, so a mutant
costs what its tests cost. The source tree is not touched: the wrong module is handed to the import.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Literal

from tests.mutation.operators import Mutant, mutants

TREE = Path(__file__).parents[2]
OURS = ("training", "t2i", "server")
LOADED = "loaded.txt"
# Exit codes that pytest does not have.
FAILED, BROKEN = 70, 71

Outcome = Literal["killed", "timed out", "survived", "broken"]


@dataclass(frozen=True)
class Target:
    """A file whose tests are examined.

    Attributes:
        source: Path below the source tree.
        tests: Test files below the source tree.
    """

    source: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """Name to import."""
        return self.source.removesuffix(".py").replace("/", ".")


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Attributes:
        target: The file.
        mutant: The mistake.
        outcome: Whether a test noticed; ``broken`` when the file could not even be imported, which
            counts neither way.
    """

    target: Target
    mutant: Mutant
    outcome: Outcome


class Wrong(MetaPathFinder, Loader):
    """Imports one module from other text than that of its file."""

    def __init__(self, module: str, source: str, path: Path) -> None:
        self._module, self._source, self._path = module, source, path

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Answer for the one module."""
        if fullname != self._module:
            return None
        return spec_from_loader(fullname, self, origin=str(self._path))

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the other text, under the file's name."""
        module.__file__ = str(self._path)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def targets() -> list[Target]:
    """Return every paper with its tests, and the files that papers are made of."""
    parts = {
        "training/objectives.py": ("test_objectives.py", "test_adversarial.py"),
        "training/regularizers.py": ("test_regularizers.py",),
        "training/divergences.py": ("test_divergences.py", "test_adversarial.py"),
        "training/unroll.py": ("test_unroll.py",),
        "training/historical.py": ("test_historical.py",),
        "training/boosting.py": ("zoo/test_adagan.py",),
        "training/posterior.py": ("zoo/test_bayesian_gan.py",),
        "training/supervised.py": ("zoo/test_improved_gan.py",),
    }
    found = []
    for source, names in parts.items():
        tests = tuple(f"tests/training/{name}" for name in names)
        found.append(Target(source, tuple(name for name in tests if (TREE / name).is_file())))
    for path in sorted((TREE / "training" / "zoo").glob("*.py")):
        test = f"tests/training/zoo/test_{path.stem}.py"
        if not path.stem.startswith("_") and (TREE / test).is_file():
            found.append(Target(f"training/zoo/{path.name}", (test,)))
    return found


def examine(
    target: Target,
    *,
    jobs: int = 1,
    knobs: bool = False,
    equivalent: Mapping[str, str] | None = None,
    seconds: float = 120.0,
) -> Iterator[Verdict]:
    """Yield what became of each mutant of a file.

    Args:
        target: The file.
        jobs: Mutants at once.
        knobs: Also change the defaults of arguments.
        equivalent: Mutants that cannot be told from the original, by name; left out.
        seconds: After which a mutant counts as noticed, since it hangs.

    Raises:
        ValueError: The tests do not pass on the file as it is.
    """
    loaded = [name for name in sys.modules if name.partition(".")[0] in OURS]
    if loaded:
        raise ValueError(f"{loaded[0]} was imported before; mutants would not be seen")
    source = (TREE / target.source).read_text("utf-8")
    # As ast writes it, so that what is compared differs by the mistake alone.
    plain = Mutant(1, "nothing", "", "", ast.unparse(ast.parse(source)))
    with tempfile.TemporaryDirectory() as scratch:
        note = Path(scratch) / LOADED
        if try_mutant(target, plain, seconds=10 * seconds, note=note) != "survived":
            raise ValueError(
                f"{target.source}: its tests ({', '.join(target.tests)}) do not pass as they are"
            )
        _load(note.read_text("utf-8").split())
    known = equivalent or {}
    wrong = [each for each in mutants(source, knobs=knobs) if each.name not in known]
    yield from _each(target, wrong, jobs, seconds)


def _each(target: Target, wrong: Sequence[Mutant], jobs: int, seconds: float) -> Iterator[Verdict]:
    """Try mutants, so many at once, and yield them as they come to their end."""
    waiting = list(reversed(wrong))
    running: list[_Trying] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            running.append(_Trying(target, waiting.pop(), seconds))
        time.sleep(0.01)
        for trying in list(running):
            outcome = trying.outcome()
            if outcome is not None:
                running.remove(trying)
                yield Verdict(target, trying.mutant, outcome)


def _load(names: Sequence[str]) -> None:
    """Import libraries that the tests have used, once for all processes to come."""
    for name in names:
        # Some only exist while others load them.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def try_mutant(
    target: Target, mutant: Mutant, *, seconds: float, note: Path | None = None
) -> Outcome:
    """Run a file's tests against one mutant, in a process of its own.

    Args:
        target: The file.
        mutant: What to put in its place.
        seconds: After which it is ended.
        note: Where to write the names of the libraries that were loaded.
    """
    trying = _Trying(target, mutant, seconds, note)
    while (outcome := trying.outcome()) is None:
        time.sleep(0.01)
    return outcome


class _Trying:
    """A process that runs a file's tests against a mutant."""

    def __init__(
        self, target: Target, mutant: Mutant, seconds: float, note: Path | None = None
    ) -> None:
        self.mutant = mutant
        self._deadline = time.monotonic() + seconds
        # What is not yet written would be written by both.
        sys.stdout.flush()
        sys.stderr.flush()
        self._child = os.fork()
        if self._child == 0:
            # Whatever happens, this copy of the process must not go on with its parent's work.
            code = FAILED
            try:
                code = _child(target, mutant)
                if note is not None:
                    note.write_text("\n".join(_libraries()), "utf-8")
            finally:
                os._exit(code)

    def outcome(self) -> Outcome | None:
        """Return what became of it, None while it runs."""
        done, status = os.waitpid(self._child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return "survived" if code == 0 else "broken" if code == BROKEN else "killed"
        if time.monotonic() < self._deadline:
            return None
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        return "timed out"


def _libraries() -> list[str]:
    ours = (*OURS, "tests", "__main__", "__mp_main__")
    return [name for name in sys.modules if name.partition(".")[0] not in ours]


def _child(target: Target, mutant: Mutant) -> int:
    os.chdir(TREE)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.path.insert(0, str(TREE))
    sys.meta_path.insert(0, Wrong(target.module, mutant.source, TREE / target.source))
    try:
        importlib.import_module(target.module)
    except Exception:
        return BROKEN
    import pytest

    with tempfile.TemporaryDirectory() as scratch:
        return int(pytest.main(_arguments(target.tests, Path(scratch))))


def _arguments(tests: Sequence[str], scratch: Path) -> list[str]:
    plugins = ("cacheprovider", "xdist", "randomly")
    without = [part for name in plugins for part in ("-p", f"no:{name}")]
    return ["-x", "-q", "--tb=no", "--no-header", *without, f"--basetemp={scratch / 'run'}", *tests]
