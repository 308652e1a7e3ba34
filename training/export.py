"""What every bundle that training leaves has: its configuration and its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from t2i import __version__
from t2i.bundle import Bundle, Precision
from t2i.networks import PictureGenerator, Scorer, StageGenerator
from training.data.pictures import PictureData

CARD = """\
# {name}

{what} trained with t2i {version}: recipe `{recipe}`, {kimg:.1f} thousand
pictures shown, seed {seed}.{asked}

## Data
{data}: {pictures:,} pictures of {resolution} pixels{of}.
Fingerprint `{fingerprint}`.

The licence and the content of these pictures bound what this model may be used for. Write here
where they come from and under which licence.

## Training
    {command}

{weights}Settings:

```json
{settings}
```

## Limits
{limits}
"""


SCORER_HEADING = "## Scorer"
SCORER = """\
{heading}
What `best_of` chooses by learned from {pictures:,} pictures with {captions:,} captions of {data}
that the generator was not trained on (fingerprint `{fingerprint}`):

    {command}
"""


@dataclass(frozen=True)
class CardWords:
    """What one kind of model says on its card that others do not.

    Attributes:
        what: What it is: "A text-to-image generator".
        of: What goes on about its pictures: " with 12 captions".
        limits: What it cannot do, as sentences.
        asked: A sentence on what it is asked with, after a blank; empty where that is plain.
        weights: A sentence on its weights, before a blank; empty where they are the last.
    """

    what: str
    of: str
    limits: str
    asked: str = ""
    weights: str = ""


def write_bundle(
    folder: Path,
    *,
    name: str,
    recipe: str,
    generator: PictureGenerator | StageGenerator,
    data: PictureData,
    kimg: float,
    settings: Mapping[str, object],
    takes: Mapping[str, object],
    words: CardWords,
    extra_states: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Bundle:
    """Write a bundle.

    Args:
        folder: Where to; an older bundle there is replaced.
        name: Its name.
        recipe: Key of the recipe.
        generator: The generator as it is to be served.
        data: What it was trained on.
        kimg: Thousands of pictures shown.
        settings: Options and knobs of the run; ``seed``, ``data`` and ``kimg`` among them.
        takes: Entries of ``config.json`` that say what it is asked with, such as ``conditions``.
        words: What its card says.
        extra_states: Weights of further networks, by name.
    """
    plain = json.loads(json.dumps(settings, default=str))
    return Bundle.save(
        folder,
        config={
            "name": name,
            "version": "1",
            "network": {"class": type(generator).__name__, "arguments": generator.config},
            "resolutions": list(generator.resolutions),
            "value_range": [-1.0, 1.0],
            "training": {
                "recipe": recipe,
                "kimg": round(kimg, 3),
                "data": data.name,
                "data_fingerprint": data.fingerprint,
                "settings": plain,
            },
            **takes,
        },
        generator_state=generator.state_dict(),
        card=CARD.format(
            name=name,
            what=words.what,
            version=__version__,
            recipe=recipe,
            kimg=kimg,
            seed=plain["seed"],
            asked=words.asked,
            data=data.name,
            pictures=len(data),
            resolution=data.resolution,
            of=words.of,
            fingerprint=data.fingerprint,
            command=f"t2i-train run {recipe} --data {plain['data']} --kimg {plain['kimg']:g}",
            weights=words.weights,
            settings=json.dumps(plain, indent=2),
            limits=words.limits,
        ),
        extra_states=extra_states or {},
        precision="float16",
    )


def with_scorer(
    bundle: Bundle, folder: Path, scorer: Scorer, *, data: PictureData, command: str
) -> Bundle:
    """Write a bundle with a scorer, and a section on it at the end of the card.

    Args:
        bundle: The bundle; what it holds stays as it is, but for an older scorer.
        folder: Where to; an older bundle there is replaced.
        scorer: The scorer.
        data: What it was trained on.
        command: What trained it.
    """
    card = bundle.card().partition(SCORER_HEADING)[0].rstrip()
    return rewrite_bundle(
        bundle,
        folder,
        config={"scorer": {"class": type(scorer).__name__, "arguments": scorer.config}},
        states={"scorer": scorer.state_dict()},
        card=card
        + "\n\n"
        + SCORER.format(
            heading=SCORER_HEADING,
            data=data.name,
            pictures=len(data),
            captions=len(data.flat_captions),
            fingerprint=data.fingerprint,
            command=command,
        ),
    )


def rewrite_bundle(
    bundle: Bundle,
    folder: Path,
    *,
    config: Mapping[str, object] | None = None,
    states: Mapping[str, Mapping[str, Tensor]] | None = None,
    card: str | None = None,
) -> Bundle:
    """Write a bundle with some of its parts replaced; the weights of all others stay bit for bit.

    Args:
        bundle: The bundle.
        folder: Where to; an older bundle there is replaced.
        config: Entries of ``config.json`` to replace.
        states: Tensors to replace, by file name without its ending.
        card: The card; None for the bundle's own.
    """
    names = [path.stem for path in bundle.files() if path.suffix == ".safetensors"]
    parts = {name: bundle.state(name) for name in names} | dict(states or {})
    generator = parts.pop("generator")
    return Bundle.save(
        folder,
        config={**bundle.config.to_json(), **(config or {})},
        generator_state=generator,
        card=bundle.card() if card is None else card,
        extra_states=parts,
        # Weights that were rounded once are not changed by being rounded again.
        precision=_precision(generator),
    )


def _precision(state: Mapping[str, Tensor]) -> Precision:
    """Return how a state is stored: small tensors always are in float32."""
    largest = max(state.values(), key=lambda tensor: tensor.numel())
    kinds: dict[torch.dtype, Precision] = {
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }
    return kinds.get(largest.dtype, "float32")
