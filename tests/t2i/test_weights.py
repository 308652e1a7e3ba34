import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from t2i.weights import write_tensors


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_whoever_may_read_new_files_may_read_weights(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "new.safetensors", {"a": torch.ones(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "new.safetensors").stat().st_mode & 0o777 == mode


def test_any_tensor_comes_back_as_it_was(tmp_path: Path) -> None:
    pictures = torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)
    weight = torch.ones(3, requires_grad=True)
    path = tmp_path / "all.safetensors"
    write_tensors(path, {"pictures": pictures, "one": weight, "again": weight}, {"eyes": "both"})
    stored = load_file(path)
    assert torch.equal(stored["pictures"], pictures)
    assert torch.equal(stored["one"], weight) and torch.equal(stored["again"], weight)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"eyes": "both"}
