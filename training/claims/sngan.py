"""SNGAN: no layer of the critic stretches, and the pictures beat those of clipped weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.claims.claim import Measured, Trial, claim
from training.metrics.features import Lite0, as_bytes, extract
from training.metrics.fidelity import kid
from training.metrics.latent import write_rows

COUNT = 2_000
TOLERANCE = 1.05


@claim(
    paper="FID 21.7 on CIFAR-10 with residual networks; 29.3 with plain ones against 42.6 of "
    "clipped weights (table 2)",
    shows="every weight's largest singular value is one, and KID on CIFAR-10 is lower than that of "
    "clipped weights trained as long",
)
def sngan(trial: Trial) -> Measured:
    """Train on CIFAR-10 for 150 kimg, and WGAN with clipped weights as long; width 32, bfloat16.

    Of each spectrally normalised weight, as the critic uses it, the largest singular value is
    computed exactly; the power iteration only follows it, so 5 % above one are allowed. KID is of
    2,000 drawn pictures from 2,000 of the test split, over EfficientNet-lite0 at 128 pixels; its
    floor is of other 2,000 real ones. The claim holds when no singular value exceeds 1.05 and KID
    is lower than with clipped weights.
    """
    data = trial.data("cifar10")
    test = trial.data("cifar10", split="test")
    shared: dict[str, Any] = {"kimg": 150, "flip": True, "precision": "bf16"}
    trained = trial.train("sngan", data, generator_width=32, width=32, **shared)
    clipped = trial.train("wgan", data, width=32, **shared)
    largest = max(_stretches(trained.networks["discriminator"]))
    count = 32 if trial.quick else COUNT
    network = Lite0(resize=32 if trial.quick else 128)
    real = extract(network, test.pictures[:count])

    def distance(features: Tensor) -> float:
        return kid(real, features, subset_size=min(500, len(real)), seed=trial.seed).value

    rows = {}
    found = {"largest_singular_value": largest}
    for name, run in (("kid", trained), ("clipped_kid", clipped)):
        pictures = as_bytes(run.draw(count, seed=trial.seed, batch=100))
        rows[name] = list(pictures[:10])
        found[name] = distance(extract(network, pictures))
    found["real_kid"] = distance(extract(network, data.pictures[:count]))
    sheet = write_rows(trial.out / "drawn.png", list(rows.values()), titles=list(rows), cell=64)
    return Measured(
        found,
        holds=largest <= TOLERANCE and found["kid"] < found["clipped_kid"],
        pictures={"drawn": sheet},
    )


def _stretches(critic: nn.Module) -> list[float]:
    """Largest singular value of each parametrised weight, as ``(out, everything else)``."""
    found = []
    for module in critic.modules():
        if "weight" in getattr(module, "parametrizations", {}):
            weight = module.weight
            assert isinstance(weight, Tensor)
            found.append(float(torch.linalg.matrix_norm(weight.flatten(1), ord=2)))
    return found
