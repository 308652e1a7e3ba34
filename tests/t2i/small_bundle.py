from __future__ import annotations

from pathlib import Path
from typing import Any

RESOLUTIONS = (8, 16, 32)


def small_config(name: str = "small", **changes: Any) -> dict[str, Any]:
    """The configuration of a small generator that never learned anything."""
    arguments = {
        "condition_dim": 384,
        "resolutions": list(RESOLUTIONS),
        "noise_dim": 12,
        "conditioning_dim": 6,
        "width": 8,
        "max_channels": 32,
    }
    config = {
        "name": name,
        "version": "3",
        "network": {"class": "StageGenerator", "arguments": arguments},
        "conditions": ["text"],
        "encoder": {"id": "all-MiniLM-L6-v2#mean#53aa51172d14", "dim": 384},
        "resolutions": list(RESOLUTIONS),
        "value_range": [-1, 1],
        "labels": [],
        "training": {"kimg": 0},
    }
    return config | changes


def small_state(config: dict[str, Any]) -> dict[str, Any]:
    """Random weights for it, the same every time, large enough to draw lively pictures."""
    import torch

    from t2i.networks import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(config["network"]["class"], config["network"]["arguments"])
    return {
        name: tensor * 4 if name.startswith("to_rgb") else tensor
        for name, tensor in network.state_dict().items()
    }


def save_small(folder: Path, config: dict[str, Any] | None = None, **arguments: Any) -> Path:
    """Write the small bundle."""
    from t2i.bundle import Bundle

    config = config or small_config()
    Bundle.save(
        folder,
        config=config,
        generator_state=small_state(config),
        card="# Untrained\n",
        **arguments,
    )
    return folder
