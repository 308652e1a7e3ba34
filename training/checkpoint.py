"""Checkpoints: named files in a folder that appears whole or not at all.

``<run>/checkpoints/000120000/`` (pictures shown) holds one ``.safetensors`` for each network, for
the average and for each optimiser, ``state.json`` with the counters, and ``manifest.json`` with the
SHA-256 of every file. The folder is written under a temporary name, flushed to disk and renamed; a
process killed at any moment leaves either the whole checkpoint or none. All randomness of training
is a function of seed and step, so there is no generator state to keep.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from t2i.weights import write_tensors
from training.errors import TrainingError

STATE = "state.json"
MANIFEST = "manifest.json"
FORMAT = 1


def save(
    root: Path,
    shown: int,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    state: Mapping[str, object],
    keep: int = 2,
) -> Path:
    """Write a checkpoint and drop the oldest beyond ``keep``.

    Args:
        root: The folder of all checkpoints of a run.
        shown: Pictures shown so far; names the checkpoint.
        networks: Modules by name.
        optimizers: Optimisers by the name of their network.
        state: Counters and settings, JSON-able.
        keep: How many checkpoints stay.
    """
    final = root / f"{shown:09d}"
    partial = root / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, network in networks.items():
        write_tensors(partial / f"{name}.safetensors", network.state_dict())
    for name, optimizer in optimizers.items():
        write_tensors(partial / f"optimizer-{name}.safetensors", _flatten(optimizer))
    (partial / STATE).write_text(json.dumps({"format": FORMAT, **state}, indent=2) + "\n")
    sums = {path.name: _checksum(path) for path in sorted(partial.iterdir())}
    (partial / MANIFEST).write_text(json.dumps(sums, indent=2) + "\n")
    for path in partial.iterdir():
        _flush(path)
    if final.exists():
        shutil.rmtree(final)
    partial.replace(final)
    _flush(root)
    for old in complete(root)[:-keep]:
        shutil.rmtree(old)
    return final


def complete(root: Path) -> list[Path]:
    """Return the checkpoints that were written to their end, oldest first."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.name.isdigit() and path.is_dir())


def read_state(folder: Path) -> dict[str, object]:
    """Return a checkpoint's counters after checking every file.

    Raises:
        TrainingError: A file is missing or was changed, or the format is unknown.
    """
    try:
        sums = json.loads((folder / MANIFEST).read_text())
        for name, expected in sums.items():
            if _checksum(folder / name) != expected:
                raise TrainingError(
                    f"checkpoint {folder}: {name} was changed since it was written; "
                    "delete this checkpoint to go on from the one before"
                )
        state: dict[str, object] = json.loads((folder / STATE).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"checkpoint {folder}: cannot be read ({error}); "
            "delete this checkpoint to go on from the one before"
        ) from error
    if state.get("format") != FORMAT:
        raise TrainingError(
            f"checkpoint {folder}: has format {state.get('format')}, this version reads {FORMAT}; "
            "go on with the version that wrote it"
        )
    return state


@torch.no_grad()
def load(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Copy a checkpoint's tensors into networks and optimisers of the same form.

    Raises:
        TrainingError: The checkpoint belongs to other networks.
    """
    for name, network in networks.items():
        stored = load_file(folder / f"{name}.safetensors")
        target = network.state_dict()
        if stored.keys() != target.keys() or any(
            stored[key].shape != target[key].shape for key in target
        ):
            raise TrainingError(
                f"checkpoint {folder}: {name} has other layers than the recipe now asks for; "
                "use the same settings or another --out"
            )
        for key, value in target.items():
            value.copy_(stored[key])
    restore(folder, optimizers)


def restore(folder: Path, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Copy a checkpoint's moments into optimisers of the same weights."""
    for name, optimizer in optimizers.items():
        _restore(optimizer, load_file(folder / f"optimizer-{name}.safetensors"))


@torch.no_grad()
def take_over(folder: Path, *, networks: Mapping[str, nn.Module], whole: Sequence[str]) -> bool:
    """Copy a checkpoint's tensors into networks that may have grown since.

    What is taken is taken in parts: a layer, or an entry of a list or of a dictionary of layers.
    A part without its like in the checkpoint stays as it is.

    Args:
        folder: The checkpoint.
        networks: Modules by name.
        whole: Names of networks of which everything that the checkpoint holds must find its place.

    Returns:
        Whether there was a place for everything, and nothing besides.

    Raises:
        TrainingError: A part of those that must find their place is another here.
    """
    same = True
    for name, network in networks.items():
        stored, target = load_file(folder / f"{name}.safetensors"), network.state_dict()
        theirs, ours = _parts(network, stored), _parts(network, target)
        for part, keys in theirs.items():
            fits = keys == ours.get(part) and all(
                stored[key].shape == target[key].shape for key in keys
            )
            if fits:
                for key in keys:
                    target[key].copy_(stored[key])
            elif name in whole:
                raise TrainingError(
                    f"checkpoint {folder}: {name} has another {part} than the recipe now asks for; "
                    "use the settings of that run, and where you add a stage of twice the side, "
                    "halve --width and --discriminator-width"
                )
            same = same and fits
        same = same and theirs.keys() == ours.keys()
    return same


def _parts(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, set[str]]:
    """Group the names of tensors by the layer, or the entry of a container, that they lie in."""
    containers = {
        name
        for name, child in network.named_children()
        if type(child) in (nn.ModuleList, nn.ModuleDict)
    }
    parts: dict[str, set[str]] = {}
    for key in state:
        names = key.split(".")
        parts.setdefault(".".join(names[: 1 + (names[0] in containers)]), set()).add(key)
    return parts


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, values in state.items()
        for key, value in values.items()
        # Gradient descent without momentum keeps a None.
        if value is not None
    }


def _restore(optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    whole["state"] = {}
    for key, value in stored.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Keep the parameter's memory order (channels last), or updates become slow.
            value = torch.empty_like(parameter).copy_(value)
        whole["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(whole)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
