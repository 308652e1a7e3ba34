"""docs/data.md is true: every layout it shows is laid out, checked and loaded."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.training.data.folders import captioned, save
from training.cli import main
from training.data.folder import folder
from training.data.load import NAMES
from training.data.pictures import FaultKind
from training.data.trees import PICTURE_SUFFIXES

DOCS = Path(__file__).parents[3] / "docs" / "data.md"
TEXT = DOCS.read_text("utf-8")
SECTIONS = {
    part.partition("\n")[0]: part
    for part in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]
    if "```files" in part
}


def lay_out(section: str, root: Path) -> list[Path]:
    """Make the files of a section: pictures are drawn, texts are those of the page."""
    (listed,) = re.findall(r"```files\n(.*?)```", section, flags=re.DOTALL)
    contents = dict(re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)```", section, flags=re.M | re.S))
    pictures = []
    for number, name in enumerate(listed.split()):
        path = root / name
        if path.suffix in PICTURE_SUFFIXES:
            pictures.append(save(path, number, 80, 70))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents.pop(name), "utf-8")
    assert not contents
    return pictures


def test_the_page_shows_every_layout() -> None:
    assert len(SECTIONS) == 9


@pytest.mark.parametrize("title", SECTIONS)
def test_each_layout_is_understood_as_shown(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = lay_out(SECTIONS[title], tmp_path)
    commands = re.findall(r"^t2i-train (data check .*)$", SECTIONS[title], flags=re.MULTILINE)
    assert commands
    for command in commands:
        result = CliRunner().invoke(main, [*shlex.split(command), "--json"])
        report = json.loads(result.output)
        below = [path for path in pictures if (tmp_path / report["folder"]) in path.parents]
        assert report["faults"] == [] and report["remarks"] == []
        assert report["usable"] == len(below)
        data = folder(
            Path(report["folder"]),
            resolution=64,
            split="all",
            cache_dir=tmp_path / "cache",
            progress=False,
            min_pictures=1,
        )
        assert len(data) == len(below) and data.skipped == ()


def test_the_page_names_every_fault() -> None:
    section = TEXT[TEXT.index("The faults") : TEXT.index("## What training does with faults")]
    table = re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)
    assert set(table) == {str(kind) for kind in FaultKind}


def test_the_page_names_every_data_set() -> None:
    section = TEXT[TEXT.index("## Data sets with a name") : TEXT.index("**Where files come from.")]
    table = re.findall(r"^\| `([^`]+)`", section, flags=re.MULTILINE)
    assert sorted(table) == sorted(NAMES)


def test_the_page_names_every_suffix() -> None:
    sentence = TEXT[TEXT.index("Pictures\nend in") :].split("Hidden")[0]
    assert set(re.findall(r"\.\w+", sentence)) == set(PICTURE_SUFFIXES)


def test_the_python_on_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2I_CACHE", str(tmp_path / "cache"))
    path = captioned(tmp_path / "pets", 40)
    (path / "007.png").write_bytes(b"")
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    exec(compile(code, str(DOCS), "exec"), {})
    printed = capsys.readouterr().out
    assert "picture number" in printed and "007.png empty file 0 bytes" in printed
