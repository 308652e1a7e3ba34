"""Weights of boosting: which samples of the data a mixture misses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def missed(logits: Tensor, beta: float) -> Tensor:
    """Return ``(n,)`` weights of mean 1, high where the mixture so far has too few samples.

    Tolstikhin et al., 2017, 1701.02386, algorithm 3: ``w_i = (λ - (1 - β) h(d_i))₊ / (n β)`` with
    h(d) = (1 - d) / d, and λ such that the weights sum to 1; here times n.

    Args:
        logits: ``(n,)`` of the discriminator d between data and mixture, at samples of the data.
        beta: Weight of the next component.
    """
    h = torch.exp(-logits.clamp_min(-30.0))
    ordered = h.sort().values
    count = torch.arange(1, len(h) + 1, device=h.device)
    levels = (beta * len(h) + (1.0 - beta) * ordered.cumsum(0)) / count
    # Those that get weight come first, and are as many as stay under their own level.
    level = levels[(levels > (1.0 - beta) * ordered).nonzero().max()]
    return F.relu(level - (1.0 - beta) * h) / beta
