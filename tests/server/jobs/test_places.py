from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.jobs.places import find_input, find_output, plain
from t2i.errors import InvalidInput


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "/",
        "./",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "/etc/passwd",
        "~/a",
        "\\\\host\\a",
        "file:a",
        "file:///a",
        "s3://bucket/a",
        "a\0b",
        "a\nb",
        "a" * 256,
        "a/" * 600,
    ],
)
def test_a_path_that_leaves_or_is_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidInput) as error:
        plain("f", given)
    assert error.value.field == "f"


def test_a_path_loses_its_detours() -> None:
    assert plain("f", "./a//b c/ü.jsonl") == "a/b c/ü.jsonl"
    assert plain("f", "a..b/...") == "a..b/..."


def test_inputs_are_looked_for_in_every_root_and_nowhere_else(tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
    (tmp_path / "outside.txt").write_text("")
    (roots[1] / "here.txt").write_text("")
    (roots[1] / "again.txt").symlink_to("here.txt")
    (roots[1] / "out.txt").symlink_to(tmp_path / "outside.txt")
    (roots[1] / "loop.txt").symlink_to("loop.txt")
    (roots[1] / "up").symlink_to("..")
    (roots[1] / "folder").mkdir()
    os.mkfifo(roots[1] / "pipe.txt")
    assert find_input("f", "here.txt", roots) == (roots[1] / "here.txt").resolve()
    assert find_input("f", "again.txt", roots) == (roots[1] / "here.txt").resolve()
    for path in ("out.txt", "loop.txt", "up/outside.txt", "folder", "pipe.txt", "none.txt"):
        with pytest.raises(InvalidInput) as error:
            find_input("f", path, roots)
        assert str(tmp_path) not in str(error.value)


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("")
    (tmp_path / "root").symlink_to("real")
    assert find_input("f", "a.txt", [tmp_path / "root"]).name == "a.txt"
    assert find_output("f", "a", tmp_path / "root") == tmp_path / "real" / "a"


def test_outputs_lie_below_their_root_and_hold_no_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "there" / "shards").mkdir(parents=True)
    (root / "tricky").mkdir()
    (root / "tricky" / "shards").symlink_to(tmp_path)
    (root / "out").symlink_to(tmp_path)
    (root / "file").write_text("")
    assert find_output("f", "new/er", root) == root.resolve() / "new" / "er"
    assert find_output("f", "there", root) == root.resolve() / "there"
    for path in ("tricky", "out", "out/a", "file"):
        with pytest.raises(InvalidInput):
            find_output("f", path, root)
