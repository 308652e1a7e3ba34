"""From a run without captions to what can be served, or loaded to draw samples from."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from t2i.bundle import Bundle
from t2i.networks import NETWORKS, build
from t2i.networks.base import PictureGenerator
from t2i.weights import write_tensors
from training.data.pictures import PictureData
from training.errors import TrainingError
from training.export import CardWords, write_bundle

GENERATOR = "generator.safetensors"
CONFIG = "config.json"


def export_pictures(
    folder: Path,
    *,
    name: str,
    recipe: str,
    generator: PictureGenerator,
    data: PictureData,
    kimg: float,
    settings: Mapping[str, object],
    asked_with: Mapping[str, object] | None = None,
) -> Bundle:
    """Write the bundle of a generator that draws by label, by code, or by seed alone.

    Args:
        folder: Where to; an older bundle there is replaced.
        name: Its name.
        recipe: Key of the recipe.
        generator: The generator as it is to be served.
        data: What it was trained on.
        kimg: Thousands of pictures shown.
        settings: Options and knobs of the run.
        asked_with: Entries of ``config.json`` that say what it is asked with, such as
            ``conditions`` and ``code``; None takes labels where it has a condition.
    """
    asked: dict[str, object] = {"conditions": [], "labels": []}
    if asked_with is not None:
        asked |= asked_with
    elif generator.condition_dim:
        asked = {"conditions": ["label"], "labels": list(data.label_names)}
    kinds = asked["conditions"]
    assert isinstance(kinds, list)
    classes = len(data.label_names)
    return write_bundle(
        folder,
        name=name,
        recipe=recipe,
        generator=generator,
        data=data,
        kimg=kimg,
        settings=settings,
        takes=asked,
        words=CardWords(
            what="A generator of pictures",
            of=f" in {classes} classes" if classes else "",
            limits="It draws what its training pictures show.",
            asked=f" It is asked with {' and '.join(kinds) or 'a seed alone'}.",
        ),
    )


def save_generator(folder: Path, generator: PictureGenerator, notes: Mapping[str, object]) -> None:
    """Write a generator of points or tokens: ``config.json`` and ``generator.safetensors``.

    Args:
        folder: Where to; an older one there is replaced, whole.
        generator: The generator.
        notes: How it was made, JSON-able.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    network = {"class": type(generator).__name__, "arguments": generator.config}
    content = json.dumps({"network": network, "training": dict(notes)}, indent=2, default=str)
    (partial / CONFIG).write_text(content + "\n")
    write_tensors(partial / GENERATOR, generator.state_dict())
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def load_generator(folder: Path) -> nn.Module:
    """Return what `save_generator` wrote, ready to draw and not to learn.

    Raises:
        TrainingError: The folder holds no such generator, or one of an unknown class.
    """
    try:
        network = json.loads((folder / CONFIG).read_text())["network"]
        class_name, arguments = network["class"], network["arguments"]
        if class_name not in NETWORKS:
            raise TrainingError(
                f"generator {folder}: no network class {class_name!r} is known; load it with the "
                "version that wrote it"
            )
        generator = build(class_name, arguments)
        generator.load_state_dict(load_file(folder / GENERATOR))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainingError(f"generator {folder}: cannot be read ({error})") from error
    return generator.eval().requires_grad_(False)
