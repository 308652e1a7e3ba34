"""Writing tensors to safetensors files."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

__all__ = ["write_tensors"]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a file that whoever may read other new files of this person may read.

    Safetensors alone makes files that only their owner can read, and a model is often served by
    another user than the one who trained it.

    Args:
        path: A ``.safetensors`` file; what stood there is replaced.
        tensors: By name; on any device, of any memory format, also such as share memory.
        told: Words that the file carries beside them.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    # Copies: safetensors takes neither shared memory nor other memory formats.
    plain = {name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()}
    save_file(plain, path, dict(told) if told else None)
    path.chmod(mode)
