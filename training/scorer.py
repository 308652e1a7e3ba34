"""Training the scorer of a bundle: what best-of-n chooses by.

The scorer must be independent of the generator, so it learns after it, from the bundle's own
embeddings and from pictures that the generator was not trained on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from t2i.networks.scorer import Scorer
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.matcher import AttributeReader
from training.matching import (
    CPU,
    SEEN_CAPTIONS,
    SEEN_HARD,
    MatchingBatches,
    optimize,
    several_captions_loss,
)


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

    def loss() -> Tensor:
        chosen, captions, true = batches.draw()
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
