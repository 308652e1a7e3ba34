"""Critics as classifiers: what their second head says, how often it errs, and one without a GAN."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Scores
from training.claims.pictures import Pictures, as_input, labels_of
from training.data.pictures import PictureData


@torch.inference_mode()
def head_of(critic: nn.Module, pictures: Pictures, batch: int = 500) -> Tensor:
    """Return ``(n, outputs)``: what a critic's second head says of pictures."""
    return torch.cat(
        [cast(Scores, critic(part)).class_logits for part in torch.split(as_input(pictures), batch)]
    )


def error_percent(critic: nn.Module, data: PictureData) -> float:
    """Return how often the likeliest of a critic's classes is not the label."""
    said = head_of(critic, data.pictures)[:, : len(data.label_names)].argmax(dim=1).numpy()
    return 100.0 * float((said != labels_of(data)).mean())


def fit_alone(
    critic: nn.Module, data: PictureData, *, steps: int, seed: int, batch: int = 64
) -> nn.Module:
    """Train a critic's second head as a classifier of the labelled pictures, without any GAN.

    Args:
        critic: Fresh.
        data: Of which the labelled part is learned from.
        steps: Of Adam at 2e-4 with betas 0.5 and 0.999, as the papers' discriminators learn.
        seed: Of the order.
        batch: Pictures a step.
    """
    labels = labels_of(data)
    known = np.flatnonzero(labels >= 0)
    rows, rng = as_input(data.pictures[known]), np.random.default_rng(seed)
    wanted = torch.from_numpy(labels[known])
    adam = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    critic.train()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(known), size=batch))
        told = cast(Scores, critic(rows[chosen])).class_logits
        adam.zero_grad()
        F.cross_entropy(told[:, : len(data.label_names)], wanted[chosen]).backward()  # type: ignore[no-untyped-call]
        adam.step()
    return critic.eval()
