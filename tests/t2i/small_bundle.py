from __future__ import annotations

from pathlib import Path
from typing import Any

RESOLUTIONS = (8, 16, 32)
_COLOURS = ["red", "blue", "green", "black", "white", "grey", "brown"]
TRAINING_CAPTIONS = [f"a {c} bird with a {d} wing" for c in _COLOURS for d in _COLOURS]


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


LABELS = ["zero", "one", "two", "1999"]
CODE = [
    {"name": "digit", "kind": "categorical", "size": 3},
    {"name": "tilt", "kind": "continuous", "size": 1, "low": -1, "high": 1},
    {"name": "pose", "kind": "continuous", "size": 2, "low": 0, "high": 2},
]
ATTRIBUTES = [
    {"name": "crown", "values": ["red", "blue", "black"]},
    {"name": "crest", "values": [False, True]},
    {"name": "size", "low": 0, "high": 1},
]


def conditioned_config(name: str) -> dict[str, Any]:
    """A small bundle by what it takes: its name is digits, codes, plumage, or seeds."""
    takes: dict[str, tuple[int, dict[str, Any]]] = {
        "digits": (4, {"conditions": ["label"], "labels": LABELS}),
        "codes": (6, {"conditions": ["code"], "code": CODE}),
        "plumage": (6, {"conditions": ["attributes"], "attributes": ATTRIBUTES}),
        "seeds": (0, {"conditions": []}),
    }
    dim, changes = takes[name]
    config = small_config(name, encoder=None, **changes)
    config["network"]["arguments"]["condition_dim"] = dim
    return config


def save_conditioned(folder: Path, name: str) -> Path:
    """Write one of these bundles; it shows its condition clearly."""
    from t2i.bundle import Bundle

    config = conditioned_config(name)
    state = small_state(config)
    state = {k: v * 3 if k.startswith("augment") else v for k, v in state.items()}
    Bundle.save(folder / name, config=config, generator_state=state, card="# Untrained\n")
    return folder / name


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


def save_staged(folder: Path, name: str = "staged") -> Path:
    """Write a small bundle whose later stages can follow another caption."""
    import torch

    from t2i.bundle import Bundle
    from t2i.networks import TreeGenerator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = TreeGenerator(resolution=32, noise_dim=12, conditioning_dim=6, width=16, blocks=1)
    config = small_config(name, network={"class": "TreeGenerator", "arguments": network.config})
    # Untrained it draws grey, and its conditioning hardly moves; a picture should show both.
    louder = {"tree.augment": 4.0, "tree.to_picture": 30.0, "tree.branches": 3.0}
    state = network.state_dict()
    for name, weights in state.items():
        for part, gain in louder.items():
            if name.startswith(part) and name.endswith("weight"):
                state[name] = weights * gain
    Bundle.save(folder, config=config, generator_state=state, card="# Untrained\n")
    return folder


def save_attentive(folder: Path, name: str = "attentive") -> Path:
    """Write a small bundle that attends to words, of which it has room for six."""
    import torch

    from t2i.networks import AttentionGenerator
    from t2i.networks.words import packed_dim

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AttentionGenerator(
            resolution=32, scales=2, condition_dim=packed_dim(384, 6, 384), words=6,
            noise_dim=5, conditioning_dim=4, width=8, blocks=1,
        )  # fmt: skip
    encoder = small_config()["encoder"] | {"dim": network.condition_dim, "words": 6}
    config = small_config(name, encoder=encoder, resolutions=list(network.resolutions))
    config["network"] = {"class": "AttentionGenerator", "arguments": network.config}
    from t2i.bundle import Bundle

    state = {k: v * 8 if "attention" in k else v for k, v in network.state_dict().items()}
    Bundle.save(folder, config=config, generator_state=state, card="# Untrained\n")
    return folder


def save_scored(folder: Path, name: str = "small") -> Path:
    """Write the small bundle with a scorer that never learned anything."""
    import torch

    from t2i.networks import Scorer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        scorer = Scorer(embedding_dim=384, resolution=16, width=4, places=2, code_dim=8)
    described = {"class": "Scorer", "arguments": scorer.config}
    states = {"scorer": scorer.state_dict()}
    return save_small(folder, small_config(name, scorer=described), extra_states=states)


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
