"""Small bundles of labels: they need no text encoder, so that loading one takes no time."""

from __future__ import annotations

from pathlib import Path

import torch

from t2i.bundle import Bundle
from t2i.networks import build
from t2i.protocol.v1 import conditions_pb2 as pb
from tests.t2i.small_bundle import conditioned_config

ONE = pb.Condition(label=pb.LabelCondition(id=1))


def save_digits(folder: Path, name: str = "digits", version: int = 1, **arguments: int) -> Bundle:
    """Write a bundle whose pictures depend on the version; replace the one that is there."""
    config = conditioned_config("digits") | {"name": name, "version": str(version)}
    config["network"]["arguments"] |= arguments
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(version)
        network = build(config["network"]["class"], config["network"]["arguments"])
    state = {
        key: tensor * 4 if key.startswith("to_rgb") else tensor
        for key, tensor in network.state_dict().items()
    }
    return Bundle.save(folder, config=config, generator_state=state, card="# Untrained\n")


def flip_a_bit(folder: Path, name: str = "generator.safetensors") -> None:
    """Damage a file of a bundle as little as possible, in the middle of its weights."""
    file = folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
