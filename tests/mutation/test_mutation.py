"""The mutation check changes what it says, and tells noticed from unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.__main__ import EQUIVALENT, as_json, choose, equivalents, row, score
from tests.mutation.operators import SWITCH, Mutant, mutants, switched
from tests.mutation.runner import TREE, Outcome, Target, Verdict, targets


def changes(source: str, only: tuple[str, ...] = ()) -> set[str]:
    return {mutant.name for mutant in mutants(source, only=only)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a + b", "sign turned: a + b -> a - b"),
        ("x = -a", "sign turned: -a -> a"),
        ("x = a - b", "term dropped: a - b -> a"),
        ("x = a - b", "term dropped: a - b -> b"),
        ("x = weight * a", "factor dropped: weight * a -> a"),
        ("x = a ** 2", "power dropped: a ** 2 -> a"),
        ("x = 0.5 * a", "constant changed: 0.5 -> 1.5"),
        ("x = f(real)", "swapped: real -> fake"),
        ("x = a.mean()", "swapped: a.mean -> a.sum"),
        ("x = a.detach()", "call dropped: a.detach() -> a"),
        ("x = torch.relu(a)", "call dropped: torch.relu(a) -> a"),
        ("x = f(a, b)", "arguments swapped: f(a, b) -> f(b, a)"),
        ("x = f(after=clip)", "after= dropped: f(...)"),
        ("x = a if b else c", "always the second: a if b else c -> c"),
        ("x = a < b", "comparison turned: a < b -> a >= b"),
        ("x = f(norm=True)", "truth turned: True -> False"),
    ],
)
def test_each_kind_of_mistake_is_made(source: str, expected: str) -> None:
    assert expected in changes(source)


def test_another_objective_is_one_that_runs() -> None:
    source = "from training.objectives import hinge\nchosen = hinge"
    (wrong,) = (each for each in mutants(source) if each.after.endswith(".wasserstein"))
    scope: dict[str, object] = {}
    exec(wrong.source, scope)
    from training.objectives import wasserstein

    assert scope["chosen"] is wasserstein


def test_words_and_types_are_left_alone_and_defaults_are_not() -> None:
    source = '''
def f(x: int = 3, *, y: float = 0.5) -> "a + b":
    """1 + 2."""
    raise ValueError(f"{x + 1} is wrong" + "!")
'''
    assert changes(source) == {
        "constant changed: 3 -> 4",
        "constant changed: 3 -> 6",
        "constant changed: 0.5 -> 1.5",
        "constant changed: 0.5 -> 1.0",
    }


def test_what_only_has_an_order_of_magnitude_is_changed_beyond_it() -> None:
    assert changes("x = (a + 1e-12).sqrt()") >= {"constant changed: 1e-12 -> 1.000000000001"}
    assert "constant changed: 1e-12 -> 2e-12" not in changes("x = (a + 1e-12).sqrt()")
    assert changes("x = a.masked_fill(b, -1e4)") >= {"constant changed: 10000.0 -> 0.0"}
    assert "constant changed: 10000.0 -> 20000.0" not in changes("x = a.masked_fill(b, -1e4)")


def test_the_only_device_of_the_tests_is_not_left_out() -> None:
    assert changes("x = f(a, device=b)") == set()


def test_only_what_is_named_is_changed() -> None:
    source = "class A:\n    def f(self):\n        return 1\n    def g(self):\n        return 2\n"
    source += "def f():\n    return 3\n"
    assert {name[:19] for name in changes(source, ("A.g",))} == {"constant changed: 2"}
    assert {name[:19] for name in changes(source, ("A.f", "f"))} == {
        "constant changed: 1",
        "constant changed: 3",
    }
    with pytest.raises(ValueError, match=r"only: there is no A\.h"):
        mutants(source, only=["A.h"])


SWITCHED = """
from __future__ import annotations

def f(a, b=2):
    return [-(a - b) * each for each in (1, a ** 2)]

g = lambda a: a + 1
outside = 3 + 4
"""


def test_behind_switches_stands_each_mistake_that_runs_and_is_off_until_it_is_turned() -> None:
    wrong = mutants(SWITCHED)
    assert {each.before for each in wrong if not each.runs} == {"2", "3 + 4", "3", "4"}
    behind: dict[str, object] = {SWITCH: -1}
    exec(switched(SWITCHED, wrong), behind)

    def answers(scope: dict[str, object]) -> list[object]:
        return [scope["f"](3), scope["f"](5, 4), scope["g"](7)]  # type: ignore[operator]

    right: dict[str, object] = {}
    exec(SWITCHED, right)
    assert answers(behind) == answers(right)
    for number, mutant in enumerate(wrong):
        if mutant.runs:
            alone: dict[str, object] = {}
            exec(mutant.source, alone)
            behind[SWITCH] = number
            assert answers(behind) == answers(alone), mutant.words


def test_a_mutant_differs_in_one_place_alone() -> None:
    source = "x = a + b\ny = a + b"
    found = [each for each in mutants(source) if each.what == "sign turned"]
    assert [each.source for each in found] == ["x = a - b\ny = a + b", "x = a + b\ny = a - b"]
    assert [each.line for each in found] == [1, 2]


def test_every_paper_is_a_target_with_its_own_test() -> None:
    found = {target.source: target for target in targets()}
    of_its_own = "tests/training/zoo/test_wgan.py"
    assert of_its_own in found["training/zoo/wgan.py"].tests
    others = set(found["training/zoo/wgan.py"].tests) - {of_its_own}
    assert others and all(each.endswith("[wgan]") for each in others)
    assert found["training/zoo/wgan.py"].module == "training.zoo.wgan"
    parts = {"training/objectives.py", "training/regularizers.py", "training/divergences.py"}
    assert parts <= set(found)
    for target in found.values():
        assert target.tests
        assert all((TREE / test.partition("::")[0]).is_file() for test in target.tests)
        if target.only:
            assert mutants((TREE / target.source).read_text(), only=target.only[:1])


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="NAME: nobody is none of"):
        choose(targets(), ["nobody"])
    assert [target.module for target in choose(targets(), ["wgan_gp"])] == ["training.zoo.wgan_gp"]


def test_an_equivalent_mutant_needs_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "equivalent.toml"
    path.write_text('["training/zoo/gan.py"]\n"a -> b" = " "\n')
    with pytest.raises(ValueError, match="has no reason"):
        equivalents(path)


def test_every_equivalent_mutant_is_one_that_is_made() -> None:
    for source, known in equivalents(EQUIVALENT).items():
        made = changes((TREE / source).read_text())
        assert set(known) <= made, source


def test_the_score_counts_what_was_noticed_and_leaves_out_what_is_broken() -> None:
    target = Target("training/zoo/gan.py", ("tests/training/zoo/test_gan.py",))
    mutant = Mutant(7, "sign turned", "a + b", "a - b", "")
    outcomes: list[Outcome] = ["killed", "killed", "timed out", "survived", "broken"]
    verdicts = [Verdict(target, mutant, outcome) for outcome in outcomes]
    assert score(verdicts) == 0.75 and score([]) == 1.0
    assert row("all", verdicts).split() == ["all", "75.0%", "2", "1", "1", "1"]
    kept = json.loads(json.dumps(as_json([target], verdicts)))
    assert kept["files"]["training/zoo/gan.py"]["survivors"] == [
        "line 7: sign turned: a + b -> a - b"
    ]


SMALL_RUN = """
import sys
from pathlib import Path
from tests.mutation import runner
runner.TREE = Path(sys.argv[1])
runner.OURS = ("losses", "test_losses")
target = runner.Target("losses.py", ("test_losses.py",))
for each in runner.examine(target, jobs=2, computing=0.5):
    print(each.outcome, each.mutant.name)
"""


def small_run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SMALL_RUN, str(folder)],
        cwd=TREE,
        env={"PYTHONPATH": str(TREE), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=250,
    )


LOSSES = """
STEP = 5 - 2


def difference(a, b=1):
    return a - b


def half(a, two):
    return a / two


def until(a):
    count = 0
    while count < a:
        count += 2 - 1
    return count


BROKEN = [7][6 - 6]
"""
TESTS = """
from losses import STEP, difference, until

AT_ONCE = difference(7, 4)


def test_it():
    assert AT_ONCE == 3 and STEP == 3 and difference(3) == 2 and until(3) == 3
"""


def test_a_small_file_is_examined_for_real(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(LOSSES)
    (tmp_path / "test_losses.py").write_text(TESTS)
    done = small_run(tmp_path)
    assert done.returncode == 0, done.stderr
    said = set(done.stdout.splitlines())
    assert "killed sign turned: a - b -> a + b" in said
    assert "survived factor dropped: a / two -> a" in said
    # Met when the file is imported, not when a function is called.
    assert "killed sign turned: 5 - 2 -> 5 + 2" in said
    assert "killed constant changed: 1 -> 2" in said
    assert "broken sign turned: 6 - 6 -> 6 + 6" in said
    # The count never gets there.
    assert "timed out constant changed: 1 -> 2" in said


def test_tests_that_fail_by_themselves_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text("def one():\n    return 1\n")
    (tmp_path / "test_losses.py").write_text("def test_it():\n    assert False\n")
    done = small_run(tmp_path)
    assert "losses.py: its tests (test_losses.py) do not pass as they are" in done.stderr
