"""ProGAN reaches the same distance in fewer seconds than networks that do not grow."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from training.claims.claim import Measured, Trained, Trial, claim
from training.claims.fidelity import fidelity_of, seconds_at
from training.plots import Series, line_chart, save_plot

KIMG = 48.0


@claim(
    paper="about 5.4 times as fast at 1024 pixels (section 6.2)",
    shows="growing players reach the distance of the full-size ones in fewer seconds",
)
def progan(trial: Trial) -> Measured:
    """Train on CIFAR-10 twice for 48 kimg: growing, in stages of 6 kimg, and at the full side.

    Every 4 kimg 1000 times the KID of 2,000 pictures against test pictures is taken. The target is
    the best of the run that does not grow. Seconds are those of training alone. The claim holds
    when the growing run reaches the target in fewer seconds; a speed-up of 0 says that it never
    did.
    """
    data = trial.data("cifar10")
    fidelity = fidelity_of(trial, data, trial.data("cifar10", split="test"))

    def figures(generator: nn.Module) -> Mapping[str, float]:
        return {"kid_x1000": fidelity.kid_of(generator)}

    def run(name: str, *, grows: bool) -> Trained:
        return trial.train(
            "progan",
            data,
            kimg=KIMG,
            name=name,
            watch=figures,
            watch_kimg=4.0,
            grows=grows,
            stage_kimg=6.0,
            width=32,
            noise_dim=128,
            precision="bf16",
        )

    runs = {"growing": run("growing", grows=True), "full": run("full", grows=False)}
    curves = {
        name: [(seconds_at(r, m.kimg), m.figures["kid_x1000"]) for m in r.moments]
        for name, r in runs.items()
    }
    target = min(distance for _, distance in curves["full"])
    full = next(seconds for seconds, distance in curves["full"] if distance == target)
    reached = [seconds for seconds, distance in curves["growing"] if distance <= target]
    speed_up = full / max(reached[0], 1e-9) if reached else 0.0
    chart = line_chart(
        [
            Series(name, [point[0] for point in points], [point[1] for point in points])
            for name, points in curves.items()
        ],
        title=f"progan, seed {trial.seed}",
        x_label="seconds",
        y_label="1000 KID",
    )
    return Measured(
        {
            "speed_up_times": speed_up,
            "kid_x1000": curves["growing"][-1][1],
            "kid_x1000_full": curves["full"][-1][1],
            "kid_x1000_floor": fidelity.floor,
            "seconds": curves["growing"][-1][0],
            "seconds_full": curves["full"][-1][0],
        },
        holds=speed_up > 1.0,
        pictures={"distance over seconds": save_plot(chart, trial.out / "seconds.png")},
        best={"kid_x1000": runs["growing"].best("kid_x1000", higher=False)["kid_x1000"]},
    )
