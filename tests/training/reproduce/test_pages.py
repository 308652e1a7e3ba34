"""The pages that are committed are those that the code makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.claims.claim import Claim, Measured
from training.errors import TrainingError
from training.registry import Entry, Knob, Source, recipes
from training.reproduce import pages
from training.reproduce.pages import source_tree, write_pages

TREE = Path(__file__).parents[3]
MADE = pages.pages(TREE / "docs" / "zoo")
TEXT = """\
A title: with an asterisk * in it.

Somebody and Other, 2015, arXiv:1501.00001.

L = a  +  b                              (eq. 1)

Words about L <here>.

Deviations: none that
matter.

Args:
    spec: What the data is.
    rate: Of all.
"""


@pytest.mark.parametrize("path", list(MADE), ids=lambda path: path.name)
def test_the_committed_page_is_what_the_code_makes(path: Path) -> None:
    assert path.is_file(), "run: t2i-train zoo --pages docs/zoo"
    assert path.read_text("utf-8") == MADE[path], "run: t2i-train zoo --pages docs/zoo"


def test_there_is_a_page_for_each_paper_and_no_other() -> None:
    papers = {key for key, entry in recipes().items() if entry.section}
    assert {path.stem for path in (TREE / "docs" / "zoo").glob("*.md")} == {*papers, "README"}


def entry() -> Entry:
    return Entry(
        key="made-up",
        title=TEXT.partition("\n")[0],
        text=TEXT,
        knobs=(Knob("rate", float, False, 1e-4, "Of a | b."),),
        build=lambda: None,  # type: ignore[arg-type, return-value]
        section="A",
        data="ring8",
        source=Source("Somebody and Other", 2015, ("1501.00001",), _source()),
    )


def _source() -> str:
    return "Somebody and Other, 2015, arXiv:1501.00001."


def test_a_page_holds_equations_defaults_deviations_and_commands() -> None:
    page = pages.page(entry(), None, None, picture=False)
    assert "# A title: with an asterisk \\* in it\n" in page
    assert "[arXiv:1501.00001](https://arxiv.org/abs/1501.00001)" in page
    assert "```text\nL = a  +  b                              (eq. 1)\n```" in page
    assert "Words about L \\<here>." in page
    assert "## Deviations\n\nNone that matter.\n" in page
    assert "| `--rate` | `0.0001` | Of a \\| b. |" in page
    assert "t2i-train run made-up --data ring8 --out runs/made-up" in page
    assert "No experiment has been written" in page
    assert "spec" not in page


def test_a_page_tells_what_is_claimed_and_that_nothing_was_recorded() -> None:
    claim = Claim(
        "made-up", "about 5 %", "it works", "How.\n\nHolds when.", lambda trial: _none(), TREE
    )
    page = pages.page(entry(), claim, None, picture=False)
    assert "**Claim:** it works." in page and "**In the paper:** about 5 %." in page
    assert "t2i-train reproduce made-up" in page
    assert "Not recorded yet." in page


def _none() -> Measured:
    return Measured({}, holds=False)


def test_pages_that_have_not_changed_are_left_alone(tmp_path: Path) -> None:
    assert len(write_pages(tmp_path / "zoo")) > 5
    assert write_pages(tmp_path / "zoo") == []


def test_results_are_kept_in_a_source_tree_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source_tree() == TREE
    monkeypatch.setattr(pages, "__file__", "/usr/lib/python3/training/reproduce/pages.py")
    with pytest.raises(TrainingError, match="is no source tree"):
        source_tree()
