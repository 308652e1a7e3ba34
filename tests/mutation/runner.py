"""Runs the tests of a file against its mutants, each in a process of its own.

Mistakes in the bodies of functions all stand in one module, each behind a switch: it is imported
once, its tests are collected once, and each mistake is tried in a fork that turns its switch. So it
costs what the tests cost up to the first that fails. All other mistakes, and those that survive,
are tried in a fork that imports the wrong file, and what of this project imports it, anew. The
source tree is not touched: the wrong module is handed to the import.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import importlib.util
import math
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast

from tests.mutation.operators import SWITCH, Mutant, mutants, switched

if TYPE_CHECKING:
    import pytest

TREE = Path(__file__).parents[2]
OURS = ("training", "t2i", "server", "tests")
# This package must not be loaded twice.
SELF = __name__.rpartition(".")[0]
# Exit codes that pytest does not have.
FAILED, BROKEN = 70, 71

# Files that papers are made of: their tests, and what of them is loss, where that is not all.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "training/objectives.py": (("test_objectives.py", "test_adversarial.py"), ()),
    "training/divergences.py": (("test_adversarial.py", "zoo/test_b_gan.py"), ()),
    "training/regularizers.py": (("test_regularizers.py",), ()),
    "training/augment.py": (("test_augment.py",), ()),
    "training/compose.py": (("test_compose.py",), ()),
    "training/classes.py": (("test_classes.py", "zoo/test_ac_gan.py"), ()),
    "training/codes.py": (
        ("zoo/test_infogan.py",),
        ("LatentCode.draw", "LatentCode.surprise", "ReadCode", "ShowCode"),
    ),
    "training/supervised.py": (("test_supervised.py",), ()),
    "training/historical.py": (("test_historical.py",), ()),
    "training/balance.py": (("test_balance.py",), ()),
    "training/boosting.py": (("test_boosting.py", "zoo/test_adagan.py"), ()),
    "training/unroll.py": (("test_unroll.py",), ()),
    "training/rollouts.py": (("zoo/test_cs_gan.py",), ("rollout_rewards", "policy_loss")),
    "training/posterior.py": (("zoo/test_bayesian_gan.py",), ()),
    "training/matcher.py": (
        ("test_matcher.py",),
        (
            "AttributeReader",
            "Matcher.scale",
            "Matcher.directions",
            "Matcher.disagreement",
            "Matcher.attribute_loss",
            "Matcher.misses",
        ),
    ),
    # Its other tests train networks, which takes long and tells little of the losses.
    "training/matching.py": (
        tuple(
            f"test_matching.py::test_{name}"
            for name in (
                "one_caption_a_picture_is_cross_entropy_both_ways",
                "captions_of_one_picture_do_not_compete",
                "wrong_captions_without_an_owner_count_only_against_pictures",
            )
        ),
        ("several_captions_loss",),
    ),
}
# Tests of the table of what papers state, one a paper; the last is the slowest.
OF_EACH = (
    "test_defaults_are_those_that_are_stated",
    "test_players_learn_as_stated_and_once_a_round",
    "test_what_the_trainer_is_told_of_gradients_is_true",
    "test_captions_are_standardised_by_the_runs_own_statistics",
    "test_each_argument_shows_where_it_should_and_nowhere_else",
)

Outcome = Literal["killed", "timed out", "survived", "broken"]


@dataclass(frozen=True)
class Target:
    """A file whose tests are examined.

    Attributes:
        source: Path below the source tree.
        tests: Test files below the source tree, or single tests as ``file::test``; the first that
            fails ends the trial, so the quickest come first.
        only: Names of what is examined, with all that is in it; empty for the whole file.
    """

    source: str
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()

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
        setattr(module, SWITCH, -1)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def targets() -> list[Target]:
    """Return the files that papers are made of, and every paper, each with its tests."""
    found = []
    for source, (names, only) in PARTS.items():
        found.append(Target(source, tuple(f"tests/training/{name}" for name in names), only))
    zoo = "tests/training/zoo"
    table = (TREE / zoo / "stated.py").read_text("utf-8")
    for path in sorted((TREE / "training" / "zoo").glob("*.py")):
        tests = [f"{zoo}/test_{path.stem}.py"]
        key = path.stem.replace("_", "-")
        if path.stem.startswith("_") or not (TREE / tests[0]).is_file():
            continue
        if f'"{key}": Stated(' in table:
            *first, last = (f"{zoo}/test_stated.py::{name}[{key}]" for name in OF_EACH)
            tests = [*first, *tests, last]
        found.append(Target(f"training/zoo/{path.name}", tuple(tests)))
    return found


def examine(
    target: Target,
    *,
    jobs: int = 1,
    equivalent: Mapping[str, str] | None = None,
    seconds: float = 300.0,
    computing: float = 10.0,
) -> Iterator[Verdict]:
    """Yield what became of each mutant of a file.

    Args:
        target: The file.
        jobs: Mutants at once.
        equivalent: Mutants that cannot be told from the original, by name; left out.
        seconds: After which a mutant counts as noticed, since it hangs.
        computing: So does one that computes so many seconds longer than ten times what the tests
            take otherwise.

    Raises:
        ValueError: The tests do not pass on the file as it is.
    """
    loaded = [name for name in sys.modules if _is_ours(name)]
    if loaded:
        raise ValueError(f"{loaded[0]} was imported before; mutants would not be seen")
    source = (TREE / target.source).read_text("utf-8")
    known = equivalent or {}
    wrong = [each for each in mutants(source, only=target.only) if each.name not in known]
    told = 0
    with tempfile.TemporaryDirectory() as scratch:
        trial = _Trial(
            target, source, wrong, jobs, seconds, computing, Path(scratch) / "loaded.txt"
        )
        for number, outcome in _from_fork(trial.run):
            told += 1
            yield Verdict(target, wrong[number], outcome)
        if told < len(wrong):
            raise ValueError(
                f"{target.source}: its tests ({', '.join(target.tests)}) do not pass as they are"
            )
        names = trial.note.read_text("utf-8").split()
    # For the files to come; what is there stays, and forks share it while nobody writes to it.
    _import(name for name in names if name.partition(".")[0] not in OURS)
    gc.freeze()


Ends = Iterator[tuple[int, Outcome]]


@dataclass(frozen=True)
class _Trial:
    """What becomes of the mutants of a file, told in a process that may import it."""

    target: Target
    source: str
    wrong: Sequence[Mutant]
    jobs: int
    seconds: float
    computing: float
    note: Path

    def run(self) -> Ends:
        """Yield number and outcome of each mutant, and leave a note of what was imported."""
        left = {number for number, mutant in enumerate(self.wrong) if not mutant.runs}
        for number, outcome in _from_fork(self.behind_switches):
            # What tests compute while they are collected was computed without the mistake.
            if outcome == "survived":
                left.add(number)
            else:
                yield number, outcome
        if self.note.is_file():
            yield from self.imported(sorted(left))

    def limit(self, usual: float) -> float:
        """Return how long a mutant may compute where the tests take so long otherwise."""
        return self.computing + 10.0 * usual

    def behind_switches(self) -> Ends:
        """Try the mutants that run when called: one import, then a fork each."""
        text = switched(self.source, self.wrong, only=self.target.only)
        _enter(self.target, text)
        import pytest

        ends: list[tuple[int, Outcome]] = []
        loop = _Loop(self, ends.append)
        with tempfile.TemporaryDirectory() as scratch:
            pytest.main(_arguments(self.target.tests, Path(scratch)), plugins=[loop])
        yield from ends

    def imported(self, numbers: Sequence[int]) -> Ends:
        """Try mutants by importing the wrong file, and all that imports it."""
        load(self.note.read_text("utf-8").split(), self.target.module)
        plain = ast.unparse(ast.parse(self.source))
        before = _of_children()
        if _finish(_Trying(lambda: _import_and_test(self.target, plain), self.seconds)) != FINE:
            return
        limit = self.limit(_of_children() - before)

        def start(number: int) -> _Trying:
            text = self.wrong[number].source
            return _Trying(lambda: _import_and_test(self.target, text), self.seconds, limit)

        yield from _each(numbers, start, self.jobs)


class _Loop:
    """A plugin of pytest that runs the collected tests once for each mutant."""

    def __init__(self, trial: _Trial, tell: Callable[[tuple[int, Outcome]], None]) -> None:
        self._trial = trial
        self._tell = tell

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests, each mutant in a fork."""
        trial = self._trial

        def plain() -> int:
            code = self._passes(session, -1)
            trial.note.write_text("\n".join(sys.modules), "utf-8")
            return code

        if _finish(_Trying(plain, trial.seconds)) != FINE:
            trial.note.unlink(missing_ok=True)
            return True
        # Much of a library is only imported when it is first used.
        _import(trial.note.read_text("utf-8").split())
        gc.collect()
        gc.freeze()
        before = _of_children()
        if _finish(_Trying(lambda: self._passes(session, -1), trial.seconds)) != FINE:
            trial.note.unlink()
            return True
        limit = trial.limit(_of_children() - before)

        def start(number: int) -> _Trying:
            return _Trying(lambda: self._passes(session, number), trial.seconds, limit)

        numbers = [number for number, mutant in enumerate(trial.wrong) if mutant.runs]
        for end in _each(numbers, start, trial.jobs):
            self._tell(end)
        return True

    def _passes(self, session: pytest.Session, number: int) -> int:
        setattr(sys.modules[self._trial.target.module], SWITCH, number)
        from _pytest.runner import runtestprotocol

        items = session.items
        for item, following in zip(items, [*items[1:], None], strict=True):
            if any(report.failed for report in runtestprotocol(item, False, following)):
                return 1
        return 0 if items else FAILED


def _each(numbers: Sequence[int], start: Callable[[int], _Trying], jobs: int) -> Ends:
    """Try mutants, so many at once, and yield them as they come to their end."""
    waiting = list(reversed(numbers))
    running: list[tuple[int, _Trying]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            number = waiting.pop()
            running.append((number, start(number)))
        time.sleep(0.003)
        for number, trying in list(running):
            outcome = trying.outcome()
            if outcome is not None:
                running.remove((number, trying))
                yield number, outcome


class _Trying:
    """A fork that does some work, which returns its exit code.

    Args:
        work: What to do.
        seconds: After which it is ended.
        limit: Seconds of computing after which it is ended; None for no limit.
    """

    def __init__(self, work: Callable[[], int], seconds: float, limit: float | None = None) -> None:
        self._deadline = time.monotonic() + seconds
        self._child = _fork()
        if self._child == 0:
            # Whatever happens, this process must not go on with its parent's work.
            code = FAILED
            try:
                if limit is not None:
                    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit),) * 2)
                code = work()
            finally:
                os._exit(code)

    def outcome(self) -> Outcome | None:
        """Return what became of it, None while it runs."""
        done, status = os.waitpid(self._child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if -code in (signal.SIGXCPU, signal.SIGKILL):
                return "timed out"
            return "survived" if code == 0 else "broken" if code == BROKEN else "killed"
        if time.monotonic() < self._deadline:
            return None
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        return "timed out"


FINE: Outcome = "survived"


def _finish(trying: _Trying) -> Outcome:
    while (outcome := trying.outcome()) is None:
        time.sleep(0.003)
    return outcome


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _from_fork(work: Callable[[], Ends]) -> Ends:
    """Yield what a generator yields in a fork."""
    out, into = os.pipe()
    child = _fork()
    if child == 0:
        try:
            os.close(out)
            with os.fdopen(into, "w", buffering=1) as tell:
                for number, outcome in work():
                    tell.write(f"{number} {outcome}\n")
        finally:
            os._exit(0)
    os.close(into)
    try:
        with os.fdopen(out) as lines:
            for line in lines:
                number, _, outcome = line.rstrip("\n").partition(" ")
                yield int(number), cast(Outcome, outcome)
    finally:
        os.waitpid(child, 0)


def load(names: Sequence[str], module: str) -> None:
    """Import what tests have used, once for all processes to come, but nothing that holds a module.

    Args:
        names: Of modules.
        module: It and all modules of ours that import it, in any number of steps, are left out.
    """
    _import(names)
    for name in importers(module, [name for name in sys.modules if _is_ours(name)]):
        sys.modules.pop(name, None)
        package, _, last = name.rpartition(".")
        if package in sys.modules:
            with contextlib.suppress(AttributeError):
                delattr(sys.modules[package], last)
    gc.collect()
    gc.freeze()


def _import(names: Iterable[str]) -> None:
    for name in names:
        # Some only exist while others load them.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def importers(module: str, names: Collection[str]) -> set[str]:
    """Return those of loaded modules that import a module, itself among them, in any steps.

    A package counts as importing what is in it, since it may do so without naming it.
    """
    known = set(names) | {module}
    needs = {name: _imports(name, known) for name in known}
    found = {module}
    while more := {name for name in known - found if needs[name] & found}:
        found |= more
    return found


def _imports(name: str, known: set[str]) -> set[str]:
    spec = importlib.util.find_spec(name) if name not in sys.modules else sys.modules[name].__spec__
    named = {other for other in known if other.rpartition(".")[0] == name}
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return named
    for node in ast.walk(ast.parse(Path(spec.origin).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            named |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name if spec.submodule_search_locations else name.rpartition(".")[0]
            here = "." * node.level + (node.module or "")
            whole = importlib.util.resolve_name(here, package) if node.level else here
            named |= {whole, *(f"{whole}.{each.name}" for each in node.names)}
    return named & known


def _fork() -> int:
    # What is not yet written would be written by both.
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fork()


def _is_ours(name: str) -> bool:
    mine = name in ("tests", SELF) or name.startswith(f"{SELF}.")
    return name.partition(".")[0] in OURS and not mine


def _enter(target: Target, text: str) -> None:
    """Make this process one that imports a file from other text, and says nothing."""
    os.chdir(TREE)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.path.insert(0, str(TREE))
    sys.meta_path.insert(0, Wrong(target.module, text, TREE / target.source))


def _import_and_test(target: Target, text: str) -> int:
    _enter(target, text)
    try:
        importlib.import_module(target.module)
    except Exception:
        return BROKEN
    import pytest

    with tempfile.TemporaryDirectory() as scratch:
        return int(pytest.main(_arguments(target.tests, Path(scratch))))


def _arguments(tests: Sequence[str], scratch: Path) -> list[str]:
    # Nobody reads what a trial says, so what only makes it say more, or better, is left away.
    plugins = ("cacheprovider", "xdist", "randomly", "unraisableexception", "threadexception")
    without = [part for name in plugins for part in ("-p", f"no:{name}")]
    quiet = ["-x", "-q", "--tb=no", "--no-header", "--assert=plain", "--capture=no"]
    return [*quiet, *without, f"--basetemp={scratch / 'run'}", *tests]
