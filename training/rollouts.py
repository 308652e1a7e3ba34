"""Policy gradient for writers: rewards of words by the sentences that go on after them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from t2i.networks.translation import END, PAD, Memory, Translator
from training.metrics.words import bleu
from training.recipe import RowNoise

# From (n · k, t) sentences and k, how often each source is repeated, to (n · k,) rewards.
Judge = Callable[[Tensor, int], Tensor]


@torch.no_grad()
def rollout_rewards(
    translator: Translator,
    memory: Memory,
    written: Tensor,
    judge: Judge,
    noise: RowNoise,
    rollouts: int,
) -> Tensor:
    """Return ``(n, t)``: what each word of a sentence is worth.

    Yu et al., 2017, 1609.05473, eq. 4 (Monte-Carlo search): the mean reward of sentences that the
    translator writes on after it; the last word's is that of the sentence itself.

    Args:
        translator: Writes.
        memory: Of the sources.
        written: ``(n, t)`` sentences.
        judge: Rewards whole sentences.
        noise: Chances of the words.
        rollouts: How many sentences a word.
    """
    n, length = written.shape
    many, repeated, rewards = (
        written.repeat_interleave(rollouts, dim=0),
        memory.repeat(rollouts),
        [],
    )
    for place in range(1, length):
        chances = noise.uniform(f"rollout-{place}", rollouts * length).reshape(-1, length)
        ends = translator.write(repeated, chances, many[:, :place])
        rewards.append(judge(ends, rollouts).reshape(n, rollouts).mean(dim=1))
    rewards.append(judge(written, 1))
    return torch.stack(rewards, dim=1)


def policy_loss(logits: Tensor, written: Tensor, rewards: Tensor) -> Tensor:
    """Return -E Σ_t R_t log p(y_t), whose gradient is REINFORCE's; words after the end count not.

    Args:
        logits: ``(n, t, V)`` of each word after those before it.
        written: ``(n, t)`` the words.
        rewards: ``(n, t)``, constants.
    """
    chosen = logits.log_softmax(dim=2).gather(2, written[..., None]).squeeze(2)
    return -(rewards * chosen * (written != PAD)).sum(dim=1).mean()


def sentence_bleu(written: Tensor, true: Tensor) -> Tensor:
    """Return ``(n,)`` smoothed BLEU-4 of each of ``(n, t)`` sentences, from 0 to 1."""
    pairs = zip(_words(written), _words(true), strict=True)
    figures = [bleu([mine], [[theirs]], smooth=True).value for mine, theirs in pairs]
    return torch.tensor(figures, device=written.device)


def _words(rows: Tensor) -> list[list[int]]:
    return [row[: [*row, END].index(END)] for row in rows.tolist()]
