"""From a run that learned from captions to a bundle that can be served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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
from training.export import CardWords, write_bundle

# What draws captions: all that a pipeline asks of a generator, and arguments to build it again.
CaptionedGenerator = PictureGenerator | StageGenerator

# Captions beyond this many add nothing to what is kept of them.
_STATISTICS_CAPTIONS = 4_000

_LIMITS = """\
It draws what its training pictures show and what their captions name; for a caption unlike those it
draws something and says how far off the caption is. Figures: `t2i-train eval`."""


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
    return write_bundle(
        folder,
        name=name,
        recipe=recipe,
        generator=generator,
        data=data,
        kimg=kimg,
        settings=settings,
        takes={"conditions": ["text"], "encoder": described, "labels": []},
        words=CardWords(
            what="A text-to-image generator",
            of=f" with {len(data.flat_captions):,} captions",
            limits=_LIMITS,
            weights="Weights are the exponential moving average of the generator. ",
        ),
        extra_states=extra,
    )
