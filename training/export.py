"""From a run to a bundle that can be served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from t2i import __version__
from t2i.bundle import Bundle
from t2i.encoders import (
    CaptionEncoder,
    TextEncoder,
    WordsEncoder,
    caption_statistics,
    encode_dataset,
)
from t2i.networks import PictureGenerator, StageGenerator
from training.data.pictures import PictureData

# What draws captions: all that a pipeline asks of a generator, and arguments to build it again.
CaptionedGenerator = PictureGenerator | StageGenerator

# Captions beyond this many add nothing to what is kept of them.
_STATISTICS_CAPTIONS = 4_000

CARD = """\
# {name}

A text-to-image generator trained with t2i {version}: recipe `{recipe}`, {kimg:.1f} thousand
pictures shown, seed {seed}.

## Data
{data}: {pictures:,} pictures of {resolution} pixels with {captions:,} captions.
Fingerprint `{fingerprint}`.

The licence and the content of these pictures bound what this model may be used for. Write here
where they come from and under which licence.

## Training
    {command}

Settings:

```json
{settings}
```

## Limits
It draws what its training pictures show and what their captions name; for a caption unlike those it
draws something and says how far off the caption is. Figures: `t2i-train eval`.
"""


def statistics_of(
    data: PictureData, words: TextEncoder, cache_dir: Path, *, progress: bool = True
) -> dict[str, Tensor]:
    """Return what a bundle keeps of its training captions, to tell how far a caption is from them.

    Args:
        data: Pictures and captions.
        words: The text encoder, whose sentence embeddings are compared.
        cache_dir: Where embeddings are kept.
        progress: Show a progress bar.
    """
    texts = list(dict.fromkeys(data.flat_captions))
    places = np.linspace(0, len(texts) - 1, min(len(texts), _STATISTICS_CAPTIONS)).astype(int)
    sentences = encode_dataset(words, [texts[p] for p in places], cache_dir, progress)
    return caption_statistics(torch.from_numpy(np.array(sentences)))


def export_bundle(
    folder: Path,
    *,
    name: str,
    recipe: str,
    generator: CaptionedGenerator,
    encoder: TextEncoder,
    statistics: Mapping[str, Tensor],
    data: PictureData,
    kimg: float,
    settings: Mapping[str, object],
) -> Bundle:
    """Write the bundle of a run.

    Args:
        folder: Where to; an older bundle there is replaced.
        name: Its name.
        recipe: Key of the recipe.
        generator: The generator as it is to be served.
        encoder: The encoder that it was trained with.
        statistics: What `statistics_of` tells of the training captions.
        data: What it was trained on.
        kimg: Thousands of pictures shown.
        settings: Options and knobs of the run.
    """
    described: dict[str, object] = {"dim": encoder.dim}
    extra: dict[str, Mapping[str, Tensor]] = {}
    if isinstance(encoder, WordsEncoder):
        described["words"] = encoder.words
        encoder = encoder.sentence
    if isinstance(encoder, CaptionEncoder):
        network = encoder.network
        described["network"] = {"class": type(network).__name__, "arguments": network.config}
        extra["encoder"] = network.state_dict()
        encoder = encoder.words
    described["id"] = encoder.id
    extra["statistics"] = statistics
    plain = json.loads(json.dumps(settings, default=str))
    return Bundle.save(
        folder,
        config={
            "name": name,
            "version": "1",
            "network": {"class": type(generator).__name__, "arguments": generator.config},
            "conditions": ["text"],
            "encoder": described,
            "resolutions": list(generator.resolutions),
            "value_range": [-1.0, 1.0],
            "labels": [],
            "training": {
                "recipe": recipe,
                "kimg": round(kimg, 3),
                "data": data.name,
                "data_fingerprint": data.fingerprint,
                "settings": plain,
            },
        },
        generator_state=generator.state_dict(),
        card=CARD.format(
            name=name,
            version=__version__,
            recipe=recipe,
            kimg=kimg,
            seed=plain["seed"],
            data=data.name,
            pictures=len(data),
            resolution=data.resolution,
            captions=len(data.flat_captions),
            fingerprint=data.fingerprint,
            command=f"t2i-train run {recipe} --data {plain['data']} --kimg {plain['kimg']:g}",
            settings=json.dumps(plain, indent=2),
        ),
        extra_states=extra,
        precision="float16",
    )
