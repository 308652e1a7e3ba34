"""The examples of the client's documents, run as they stand against the real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(code, id=f"{name}-{number}")
    for name in ("README.md", "docs/client.md")
    for number, code in enumerate(BLOCK.findall((ROOT / name).read_text()))
    if "from t2i.client import" in code
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_does_what_it_says(
    code: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2I_ADDRESS", address)
    code = code.replace("127.0.0.1:50051", address)
    exec(compile(code, "example", "exec"), {"__name__": "example"})
    saved = list(tmp_path.iterdir())
    assert bool(saved) == (".save(" in code)
    for path in saved:
        with Image.open(path) as picture:
            assert picture.width == picture.height
