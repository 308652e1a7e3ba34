"""Training the scorer of a bundle: what best-of-n chooses by.

The scorer must be independent of the generator, so it learns after it, from the bundle's own
embeddings and from pictures that the generator was not trained on.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2i.bundle import Bundle
from t2i.encoders import CaptionEncoder, TextEncoder, WordsEncoder, encode_dataset
from t2i.encoders.bundled import BundleEncoders
from t2i.networks.scorer import Scorer
from training.data.decoded import cache_root
from training.data.load import load_pictures
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.export import with_scorer
from training.matcher import AttributeReader
from training.matching import (
    CPU,
    SEEN_CAPTIONS,
    SEEN_HARD,
    MatchingBatches,
    optimize,
    read_captions,
    several_captions_loss,
)
from training.tokens import encode_tokens

# Small marks can still be told at this side, and larger pictures would only cost time.
LARGEST_RESOLUTION = 64


@dataclass(frozen=True)
class ScorerTraining:
    """What a scorer learns from, and how long.

    Attributes:
        data: Captioned pictures by name or folder, as of `t2i-train run`.
        split: Of the data.
        data_seed: Of data that are drawn.
        steps: Optimiser steps.
        batch_size: Pictures a step.
        seed: Of weights and batches.
    """

    data: str
    split: str = "train"
    data_seed: int = 4242
    steps: int = 1200
    batch_size: int = 96
    seed: int = 0

    @property
    def command(self) -> str:
        """What trains it."""
        return (
            f"t2i-train scorer BUNDLE --data {self.data} --split {self.split} "
            f"--data-seed {self.data_seed} --steps {self.steps} --batch-size {self.batch_size} "
            f"--seed {self.seed} --out FOLDER"
        )


def add_scorer(
    path_or_name: str, out: Path, training: ScorerTraining, *, progress: bool = True
) -> Bundle:
    """Train a scorer for a bundle and write the bundle with it.

    Args:
        path_or_name: The bundle, which takes captions.
        out: Where to.
        training: What the scorer learns from, and how long.
        progress: Show progress bars.

    Raises:
        TrainingError: The bundle takes no captions, or its generator was trained on these pictures.
    """
    bundle = Bundle.load(path_or_name)
    if "text" not in bundle.config.conditions:
        raise TrainingError(
            f"bundle {bundle.config.name}: takes no captions, so nothing can be scored; choose a "
            "bundle that takes text"
        )
    data = load_pictures(
        training.data,
        resolution=min(LARGEST_RESOLUTION, bundle.config.resolutions[-1]),
        split=training.split,
        seed=training.data_seed,
        progress=progress,
    )
    if _was_trained_on(bundle, data, training):
        raise TrainingError(
            f"data {training.data}: the generator of {bundle.config.name} was trained on these "
            "pictures, and a scorer of the same pictures is not independent; give another --split "
            "or --data-seed, or other data"
        )
    encoder = BundleEncoders(bundle, CPU).text
    assert encoder is not None
    sentences = (
        np.zeros((len(data.flat_captions), 1), np.float32) if data.truth is not None else None
    )
    embeddings, words = _embeddings(encoder, data, progress)
    if sentences is None:
        sentences = encode_dataset(words, data.flat_captions, _cache(), progress)
    made = fit_scorer(
        data,
        embeddings,
        WrongCaptions(data, sentences, seed=training.seed),
        steps=training.steps,
        batch_size=training.batch_size,
        seed=training.seed,
        progress=progress,
    )
    return with_scorer(bundle, out, made, data=data, command=training.command)


def _cache() -> Path:
    return cache_root() / "captions"


def _was_trained_on(bundle: Bundle, data: PictureData, training: ScorerTraining) -> bool:
    """Tell whether the generator's training showed these pictures, as far as the bundle tells."""
    notes = bundle.config.training
    if data.fingerprint == notes.get("data_fingerprint"):
        return True
    if training.split != "train" or data.name != notes.get("data"):
        return False
    settings = notes.get("settings")
    source = settings.get("data") if isinstance(settings, dict) else None
    # Runs draw with seed 0, and the first birds of a larger count are those of a smaller one.
    return training.data_seed == 0 if not data.files else training.data == source


def _embeddings(
    encoder: TextEncoder, data: PictureData, progress: bool
) -> tuple[NDArray[np.float32], TextEncoder]:
    """Return what a bundle's encoder makes of the captions, and the encoder of their sentences.

    Of embeddings with words only the sentence: that is what a scorer reads.
    """
    if isinstance(encoder, WordsEncoder):
        encoder = encoder.sentence
    if not isinstance(encoder, CaptionEncoder):
        return encode_dataset(encoder, data.flat_captions, _cache(), progress), encoder
    tokens = encode_tokens(encoder.words, data.flat_captions, _cache(), progress=progress)
    with tempfile.TemporaryDirectory() as folder:
        codes = read_captions(
            encoder.network, tokens, Path(folder) / "codes.npy", progress=progress
        )
        return np.array(codes), encoder.words


class _Learner(nn.Module):
    """A scorer with all that it learns beside: the sharpness of its cosines, and attributes."""

    def __init__(self, scorer: Scorer, code_dim: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.scorer = scorer
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.shown = AttributeReader(code_dim, sizes)


def fit_scorer(
    data: PictureData,
    embeddings: NDArray[np.float32],
    truth: WrongCaptions,
    *,
    steps: int = 1500,
    batch_size: int = 96,
    learning_rate: float = 2e-3,
    width: int = 24,
    places: int = 16,
    code_dim: int = 128,
    seed: int = 0,
    device: torch.device = CPU,
    progress: bool = True,
) -> Scorer:
    """Train a scorer.

    Each picture must pick its captions among those of the batch and among captions that are almost
    true of it, and each caption its picture. Attributes that the data know are told from the
    picture's code beside that, since matching alone is slow to look at small marks.

    Args:
        data: Pictures and captions; pictures that the generator has not seen.
        embeddings: ``(n_captions, embedding_dim)`` of the captions, in flat order, by the encoder
            of the bundle that the scorer is for.
        truth: Knows which captions are true of which pictures, and which nearly are.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with five of its captions and eight hard wrong ones.
        learning_rate: Peak of the one-cycle schedule.
        width: As of `Scorer`.
        places: As of `Scorer`.
        code_dim: As of `Scorer`.
        seed: Seed of weights and batches.
        device: Where it learns; the result is on the CPU.
        progress: Show a progress bar.

    Returns:
        The scorer, frozen.
    """
    torch.manual_seed(seed)
    values, sizes = data.known
    scorer = Scorer(
        embedding_dim=embeddings.shape[1],
        resolution=data.resolution,
        width=width,
        places=places,
        code_dim=code_dim,
    ).to(memory_format=torch.channels_last)
    scorer.standardize.fit(torch.from_numpy(np.array(embeddings)))
    learner = _Learner(scorer, code_dim, tuple(sizes)).to(device)
    batches = MatchingBatches(data, truth, batch_size, SEEN_CAPTIONS, SEEN_HARD, seed, device)

    def loss(step: int) -> Tensor:
        chosen, captions, true = batches.draw(step)
        read = torch.from_numpy(embeddings[captions]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            code = scorer.pictures(batches.pictures(chosen)).float()
            said = scorer.read(read)
        scale = learner.log_scale.exp().clamp(max=50.0)
        seen = nn.functional.normalize(code, dim=1)
        matching = several_captions_loss(seen, said, batches.owner, true, scale)
        known = torch.from_numpy(values[chosen]).to(device)
        return matching + learner.shown.loss(code, known)

    optimize(learner, loss, steps, learning_rate, "Learning to score pictures", progress)
    return scorer.cpu().eval().requires_grad_(False)
