"""What the claims on two known Gaussians share: a critic that learns to tell them apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from t2i.networks import MlpCritic
from training.claims.claim import Trial
from training.data.gaussians import GaussianPair
from training.objectives import Adversarial

# Near enough that the χ² divergences, whose samples have the heaviest tails, can be sampled.
PAIR = GaussianPair((0.0, 0.0), (0.6, 0.0), 1.0, 1.1)
BATCH = 512
STEPS = 600
LEARNING_RATE = 5e-3
HELD_OUT = 100_000

# Names of the divergences of `training.divergences`, as `GaussianPair` knows the true ones.
TRUE_NAMES = {
    "kl": "kl",
    "reverse-kl": "reverse-kl",
    "pearson": "pearson",
    "neyman": "neyman",
    "hellinger": "squared-hellinger",
    "js": "jensen-shannon",
    "gan": "gan",
}


def fit_critic(
    trial: Trial,
    objective: Adversarial,
    *,
    watch: Callable[[int, MlpCritic], None] | None = None,
    every: int = 100,
) -> MlpCritic:
    """Train a critic between fresh points of P, which count as real, and of Q; neither moves.

    Args:
        trial: The seed.
        objective: What the critic wants of its logits.
        watch: Called with the steps done and the critic, now and then.
        every: Distance of these calls in steps.
    """
    torch.manual_seed(trial.seed)
    rng = np.random.default_rng([trial.seed, 1])
    steps = 3 if trial.quick else STEPS
    critic = MlpCritic(sample_shape=(PAIR.dim,), width=64, depth=2)
    adam = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE)
    # The rate falls to zero: what is left is the bound, not the noise of the last steps.
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for step in range(1, steps + 1):
        real, fake = (torch.from_numpy(PAIR.sample(BATCH, which, rng)) for which in ("p", "q"))
        loss = objective.discriminator_loss(critic(real).logits, critic(fake).logits)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        rate.step()
        if watch is not None and step % every == 0:
            watch(step, critic)
    return critic


def held_out(trial: Trial) -> tuple[Tensor, Tensor]:
    """Return points ``(n, 2)`` of P and of Q that no critic has learned from."""
    rng = np.random.default_rng([trial.seed, 2])
    count = HELD_OUT // 1000 if trial.quick else HELD_OUT
    return (
        torch.from_numpy(PAIR.sample(count, "p", rng)),
        torch.from_numpy(PAIR.sample(count, "q", rng)),
    )
