"""The mutation check changes what it says, and tells noticed from unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.__main__ import EQUIVALENT, as_json, choose, equivalents, line, score
from tests.mutation.operators import Mutant, mutants
from tests.mutation.runner import TREE, Outcome, Target, Verdict, targets


def changes(source: str, **options: bool) -> set[str]:
    return {mutant.name for mutant in mutants(source, **options)}


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


def test_words_types_and_defaults_are_left_alone() -> None:
    source = '''
def f(x: int = 3, *, y: float = 0.5) -> "a + b":
    """1 + 2."""
    raise ValueError(f"{x + 1} is wrong" + "!")
'''
    assert changes(source) == set()
    assert changes(source, knobs=True) >= {
        "constant changed: 3 -> 4",
        "constant changed: 0.5 -> 1.5",
    }


def test_arguments_that_are_handed_on_are_left_out_only_when_asked() -> None:
    source = "x = f(width=width, objective=hinge)"
    assert "objective= dropped: f(...)" in changes(source)
    assert "width= dropped: f(...)" not in changes(source)
    assert "width= dropped: f(...)" in changes(source, knobs=True)


def test_a_mutant_differs_in_one_place_alone() -> None:
    source = "x = a + b\ny = a + b"
    found = [each for each in mutants(source) if each.what == "sign turned"]
    assert [each.source for each in found] == ["x = a - b\ny = a + b", "x = a + b\ny = a - b"]
    assert [each.line for each in found] == [1, 2]


def test_every_paper_is_a_target_with_its_own_test() -> None:
    found = {target.source: target for target in targets()}
    assert found["training/zoo/wgan.py"].tests == ("tests/training/zoo/test_wgan.py",)
    assert found["training/zoo/wgan.py"].module == "training.zoo.wgan"
    parts = {"training/objectives.py", "training/regularizers.py", "training/divergences.py"}
    assert parts <= set(found)
    assert all(target.tests for target in found.values())


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
        made = {each.name for each in mutants((TREE / source).read_text(), knobs=True)}
        assert set(known) <= made, source


def test_the_score_counts_what_was_noticed_and_leaves_out_what_is_broken() -> None:
    target = Target("training/zoo/gan.py", ("tests/training/zoo/test_gan.py",))
    mutant = Mutant(7, "sign turned", "a + b", "a - b", "")
    outcomes: list[Outcome] = ["killed", "killed", "timed out", "survived", "broken"]
    verdicts = [Verdict(target, mutant, outcome) for outcome in outcomes]
    assert score(verdicts) == 75.0 and score([]) == 100.0
    assert line(verdicts).startswith("75.0 % noticed (2 killed, 1 timed out, 1 survived")
    kept = json.loads(json.dumps(as_json([target], verdicts)))
    assert kept["files"]["training/zoo/gan.py"]["survivors"] == [
        "line 7: sign turned: a + b -> a - b"
    ]


SMALL_RUN = """
import sys
from pathlib import Path
from tests.mutation import runner
from tests.mutation.__main__ import line
runner.TREE = Path(sys.argv[1])
runner.OURS = ("losses",)
target = runner.Target("losses.py", ("test_losses.py",))
verdicts = list(runner.examine(target, jobs=2))
for each in verdicts:
    print(each.outcome, each.mutant.name)
hangs = runner.Mutant(1, "", "", "", "while True: pass")
print(runner.try_mutant(target, hangs, seconds=1.0), "what hangs")
broken = runner.Mutant(1, "", "", "", "1 / 0")
print(runner.try_mutant(target, broken, seconds=100.0), "what cannot be imported")
"""


def test_a_small_file_is_examined_for_real(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(
        "def difference(a, b):\n    return a - b\n\n\ndef half(a, two):\n    return a / two\n"
    )
    (tmp_path / "test_losses.py").write_text(
        "from losses import difference\n\n\ndef test_it():\n    assert difference(3, 2) == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", SMALL_RUN, str(tmp_path)],
        cwd=TREE,
        env={"PYTHONPATH": str(TREE), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert "killed sign turned: a - b -> a + b" in said
    assert "survived factor dropped: a / two -> a" in said
    assert said[-2:] == ["timed out what hangs", "broken what cannot be imported"]
