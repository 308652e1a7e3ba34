"""Learning to read captions by matching them with their pictures.

Before a generator learns to draw, a `CaptionNetwork` learns what of a caption can be seen: with a
picture network beside it, it learns codes by which pictures and captions of a batch find each
other. The text encoders of GAN-CLS (1605.05395) and AttnGAN (DAMSM, 1711.10485) were learned like
that. The picture network is dropped afterwards.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.captions import CaptionNetwork
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.progress import progress_bar
from training.tokens import TokenStates

CAPTIONS_A_PICTURE = 3
CODES_AT_ONCE = 512
SHORTEST_SCHEDULE = 20


class PictureNetwork(nn.Module):
    """A picture's code.

    Args:
        code_dim: Length of the code.
        width: Channels at half the resolution; they double at every halving.
    """

    def __init__(self, code_dim: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_down(3, width)]
        channels = width
        for _ in range(3):
            layers += [*_down(channels, 2 * channels), _Residual(2 * channels)]
            channels *= 2
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.code = nn.Linear(channels * 16, code_dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(n, 3, r, r)`` in [-1, 1] to ``(n, code_dim)``."""
        code: Tensor = self.code(self.trunk(pictures))
        return code


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _down(inward: int, outward: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
    )


def several_captions_loss(
    pictures: Tensor, captions: Tensor, owner: Tensor, true: Tensor, scale: Tensor
) -> Tensor:
    """Match pictures with several captions each, in both directions.

    For each caption: cross-entropy of picking its picture among those it is not true of; and of
    its picture picking it among the captions that are not true of the picture.

    Args:
        pictures: ``(n, d)`` unit vectors.
        captions: ``(m, d)`` unit vectors.
        owner: ``(m,)`` picture of each caption.
        true: ``(n, m)`` booleans: the caption is true of the picture.
        scale: Scalar that multiplies the cosines.

    Returns:
        Scalar, in nats.
    """
    logits = scale * (pictures @ captions.t())
    own = logits[owner, torch.arange(len(owner), device=owner.device)]
    false = logits.masked_fill(true, float("-inf"))
    among_pictures = F.softplus(torch.logsumexp(false, dim=0) - own).mean()
    among_captions = F.softplus(torch.logsumexp(false, dim=1)[owner] - own).mean()
    return 0.5 * (among_pictures + among_captions)


def fit_caption_network(
    data: PictureData,
    tokens: TokenStates,
    truth: WrongCaptions,
    path: Path,
    *,
    steps: int = 2500,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    code_dim: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> CaptionNetwork:
    """Train a caption network, or read the one that an earlier call left at ``path``.

    Args:
        data: Pictures and captions.
        tokens: Token states of the captions, in flat order.
        truth: Knows which captions are true of which pictures.
        path: A ``.safetensors`` file; appears when training is done.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with three of its captions.
        learning_rate: Peak of the one-cycle schedule.
        code_dim: Length of the code.
        seed: Seed of weights and batches.
        progress: Show a progress bar.
    """
    torch.manual_seed(seed)
    network = CaptionNetwork(token_dim=tokens.token_dim, code_dim=code_dim)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    pictures = PictureNetwork(code_dim).to(memory_format=torch.channels_last)
    log_scale = nn.Parameter(torch.tensor(2.5))
    learned = [*network.parameters(), *pictures.parameters(), log_scale]
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=1e-3)
    # Below this the schedule divides by zero; so few steps are only ever a trial.
    scheduled = max(steps, SHORTEST_SCHEDULE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=scheduled, pct_start=0.1
    )
    rng = np.random.default_rng(seed)
    counts = np.diff(data.caption_starts)
    with progress_bar("Learning to read captions", steps, shown=progress) as advance:
        for _ in range(steps):
            chosen = rng.integers(0, len(data), batch_size)
            owner = np.repeat(np.arange(batch_size), CAPTIONS_A_PICTURE)
            drawn = rng.integers(0, counts[chosen[owner]])
            captions = data.caption_starts[chosen[owner]] + drawn
            true = truth.true_pairs(chosen, captions)
            states, present = tokens.batch(captions)
            with torch.autocast("cpu", torch.bfloat16):
                seen = pictures(_batch(data, chosen, rng))
                read = network(states, present)
            loss = several_captions_loss(
                F.normalize(seen.float(), dim=1),
                F.normalize(read.float(), dim=1),
                torch.from_numpy(owner),
                torch.from_numpy(true),
                log_scale.exp().clamp(max=50.0),
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1, f"loss {loss.item():.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(path)
    return network.eval()


@torch.inference_mode()
def read_captions(
    network: CaptionNetwork, tokens: TokenStates, path: Path, *, progress: bool = True
) -> NDArray[np.float32]:
    """Return the codes of all captions ``(n_captions, code_dim)``, memory-mapped from ``path``.

    They agree with `CaptionEncoder.encode` up to the rounding of stored token states.
    """
    if not path.is_file():
        codes = np.empty((len(tokens), network.code_dim), np.float32)
        # Neighbours belong to one picture, not to one length; sorting saves most of the padding.
        order = np.argsort(tokens.lengths, kind="stable")
        with progress_bar("Encoding captions", len(order), shown=progress) as advance:
            for first in range(0, len(order), CODES_AT_ONCE):
                rows = order[first : first + CODES_AT_ONCE]
                codes[rows] = network(*tokens.batch(rows)).numpy()
                advance(len(rows))
        partial = path.with_suffix(".partial.npy")
        np.save(partial, codes)
        partial.replace(path)
    stored: NDArray[np.float32] = np.load(path, mmap_mode="r")
    return stored


def _batch(data: PictureData, chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    raw = np.ascontiguousarray(data.pictures[chosen])
    flips = rng.random(len(raw)) < 0.5
    raw[flips] = raw[flips, :, ::-1]
    x = torch.from_numpy(raw).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    return x.contiguous(memory_format=torch.channels_last)
