"""Small real data of each kind, and small knobs for each paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from t2i.networks.words import packed_dim
from tests.training.conftest import embeddings_of, squares
from training.data.parallel import parallel_text
from training.data.pictures import PictureData
from training.data.samples import SampleData
from training.errors import TrainingError
from training.prepare import spec_of
from training.recipe import Batch, Recipe
from training.registry import Entry, Spec, recipes
from training.stream import CaptionStream, SampleStream, Stream
from training.tokens import PackedCaptions, TokenStates
from training.trainer import Settings, Trainer, accelerator_for

# Knobs that make a network small; each is given to the papers that have it.
SMALL: dict[str, object] = {
    "width": 4,
    "generator_width": 4,
    "noise_dim": 5,
    "batch_size": 8,
    "n_dis": 2,
    "components": 2,
    "stage_kimg": 0.016,
    "pretrain_kimg": 0.0,
    "critic_kimg": 0.0,
    "rollouts": 2,
    "code_dim": 4,
    "conditioning_dim": 4,
    "factor": 2,
    "scales": 2,
    "damsm_kimg": 0.016,
}
# Length of the captions' embeddings, words behind them where a paper wants some, and their states'
# length, which is that of the default text encoder.
CAPTION, WORDS, TOKEN = 6, 3, 384


@dataclass(frozen=True)
class Points:
    """Samples that are no pictures."""

    name: str
    fingerprint: str
    samples: np.ndarray
    labels: np.ndarray | None
    label_names: tuple[str, ...]


def ring(count: int = 64) -> Points:
    """Points on a ring of four blobs, labelled by blob."""
    rng = np.random.default_rng(2)
    labels = np.arange(count) % 4
    angles = labels * np.pi / 2
    centres = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    samples = (centres + 0.05 * rng.normal(size=(count, 2))).astype(np.float32)
    return Points("ring", "a" * 64, samples, labels, ("east", "north", "west", "south"))


def small_knobs(entry: Entry, **changes: object) -> dict[str, object]:
    names = {knob.name for knob in entry.knobs}
    return {**{name: value for name, value in SMALL.items() if name in names}, **changes}


Sample = PictureData | Points | SampleData


def sample_for(entry: Entry, **changes: object) -> Sample:
    """The first kind of data that a paper takes: pictures, else points, else translations."""
    for data in (squares(), ring(), parallel_text(count=64)):
        try:
            build_recipe(entry, data, **changes)
        except TrainingError:
            continue
        return data
    raise AssertionError(
        f"{entry.key}: takes neither pictures nor points nor translations; add a sample of its kind"
    )


def build_recipe(entry: Entry, data: Sample, **changes: object) -> Recipe:
    torch.manual_seed(0)
    spec = spec_of(data)
    if entry.learns == "captions" and isinstance(data, PictureData):
        spec = captioned_spec(words="words" in entry.needs)
    recipe = entry.build(spec, **small_knobs(entry, **changes))
    if recipe.fit is not None:
        assert isinstance(data, PictureData)
        recipe.fit(torch.from_numpy(embeddings_of(data, CAPTION)))
    return recipe


def captioned_spec(*, words: bool = False) -> Spec:
    if not words:
        return spec_of(squares(), CAPTION)
    spec = spec_of(squares(), packed_dim(CAPTION, WORDS, TOKEN))
    return replace(spec, words=WORDS, token_dim=TOKEN)


def captioned_batch(n: int = 4, step: int = 0, *, words: bool = False) -> Batch:
    stream = caption_stream(squares(), 0, words=words)
    (batch,) = stream.batches(step, n, 1, torch.device("cpu"))
    return batch


def caption_stream(data: PictureData, seed: int, *, words: bool = False) -> CaptionStream:
    """Two words a caption: its colour's, and one of its own."""
    embeddings = embeddings_of(data, CAPTION)
    if not words:
        return CaptionStream(data, embeddings, seed=seed)
    count = len(embeddings)
    states = np.random.default_rng(3).normal(size=(3 + count, TOKEN)).astype(np.float16)
    assert data.labels is not None
    colours = data.labels[data.caption_owners]
    order = np.stack([colours, 3 + np.arange(count)], axis=1).flatten()
    tokens = TokenStates(states[order], 2 * np.arange(count + 1), np.arange(count))
    rows = PackedCaptions(embeddings, tokens, WORDS)
    return CaptionStream(data, embeddings, seed=seed, rows=rows)


def stream_of(recipe: Recipe, data: Sample, seed: int) -> Stream:
    entry = recipes().get(recipe.key)
    if entry is None or entry.learns == "samples":
        return SampleStream(data, seed=seed)
    assert isinstance(data, PictureData)
    return caption_stream(data, seed, words="words" in entry.needs)


def trainer_of(
    recipe: Recipe, data: Sample, out: Path, *, precision: str = "no", **changes: object
) -> Trainer:
    settings = Settings(
        out=out,
        **{"kimg": 0.064, "report_rounds": 2, "checkpoint_kimg": 1.0, **changes},  # type: ignore[arg-type]
    )
    accelerator = accelerator_for(precision, out)  # type: ignore[arg-type]
    return Trainer(recipe, stream_of(recipe, data, settings.seed), settings, accelerator)
