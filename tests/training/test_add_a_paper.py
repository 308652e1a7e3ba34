"""docs/add-a-paper.md is true: its paper, its claim, its test and its commands are run."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from training import registry
from training.claims import claim as frame
from training.claims.claim import Trial
from training.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "add-a-paper.md").read_text("utf-8")
PAPER, CLAIM, TEST = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's files, registered for one test."""
    registry.recipes()
    frame.claims()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.setattr(frame, "_CLAIMS", dict(frame._CLAIMS))
    monkeypatch.chdir(tmp_path)
    for name, code in (("paper", PAPER), ("claim", CLAIM)):
        path = tmp_path / f"soft_gan_{name}.py"
        path.write_text(code, "utf-8")
        exec(compile(code, str(path), "exec", dont_inherit=True), {"__name__": "soft_gan"})
    yield
    sys.modules.pop("soft_gan", None)


def test_its_function_is_about_twenty_lines_beside_its_docstring() -> None:
    lines = [line for line in PAPER.splitlines() if line.strip()]
    start, stop = (
        place for place, line in enumerate(lines) if '"""' in line.replace('"""S', '"""')
    )
    assert len(lines) - (stop - start + 1) <= 20


def test_its_commands_run(tmp_path: Path) -> None:
    (first, *_) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for command in first.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "t2i-train"
        done = CliRunner().invoke(main, arguments, env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
    assert "soft-gan" in done.output and "2026" in done.output
    assert (tmp_path / "runs" / "soft-gan" / "generator").is_dir()


def test_its_claim_goes_through(tmp_path: Path) -> None:
    measured = frame.find_claim("soft-gan").measure(Trial(seed=0, out=tmp_path, quick=True))
    measured.check("soft-gan", finite=False)
    assert "modes_of_8" in measured.figures


def test_its_test_passes_and_notices_a_wrong_sign() -> None:
    scope: dict[str, object] = {}
    exec(compile(TEST, "test_soft_gan.py", "exec", dont_inherit=True), scope)
    (check,) = (each for name, each in scope.items() if name.startswith("test_"))
    assert inspect.isfunction(check)
    check()
    wrong = PAPER.replace("least_squares(0.0, 1.0, 1.0)", "least_squares(1.0, 0.0, 1.0)")
    assert wrong != PAPER
    exec(compile(wrong, "soft_gan.py", "exec", dont_inherit=True), {"__name__": "soft_gan"})
    with pytest.raises(AssertionError):
        check()
