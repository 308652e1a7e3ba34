"""What the trainer gains over a plain fp32 loop, and what it costs over bare steps. Prints JSON.

    python -m benchmarks.training [--rounds 12] [--only dcgan] [--threads 2]

For each workload the same networks, batch size and pictures (random bytes: the arithmetic does not
care) go through three loops, a round of each in turn, so that a machine whose speed changes slows
them alike. Speeds are medians of the rounds; what is said of one loop over another is the median of
their ratios in the same turn, by the clock and by processor time:

plain    the loop as it is usually written: fp32, a DataLoader, zero_grad, backward, step
bare     the recipe's losses in the trainer's precision and memory layout on ready batches, with
         nothing around them: the limit that the trainer can reach
trainer  `training.trainer.Trainer`, with batches by number, noise by number, averages and reports

Memory is the peak resident size of a process that runs one loop alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from training.data import PictureData
from training.recipe import Recipe
from training.registry import Spec, find_recipe
from training.stream import SampleStream
from training.trainer import Settings, Trainer

PICTURES = 2048


@dataclass(frozen=True)
class Workload:
    """A paper at a size.

    Attributes:
        key: The recipe.
        resolution: Side of the pictures in pixels.
        beta: Adam's β1 and β2 in the plain loop.
        rate: Its learning rate.
        penalised: The plain loop takes WGAN-GP's loss; otherwise `hinge` decides.
        hinge: The plain loop takes the hinge; otherwise cross-entropy.
    """

    key: str
    resolution: int
    beta: tuple[float, float]
    rate: float
    penalised: bool = False
    hinge: bool = False


WORKLOADS = (
    Workload("dcgan", 64, (0.5, 0.999), 2e-4),
    Workload("sngan", 32, (0.0, 0.9), 2e-4, hinge=True),
    Workload("wgan-gp", 32, (0.0, 0.9), 1e-4, penalised=True),
)

Loop = Callable[[Workload], Iterator[int]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each loop")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", choices=[w.key for w in WORKLOADS], help="one workload")
    parser.add_argument("--json", action="store_true", help="accepted; the output is JSON anyway")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    chosen = [w for w in WORKLOADS if given.only in (None, w.key)]
    if given.memory_of:
        loop = LOOPS[given.memory_of](chosen[0])
        for _ in range(3):
            next(loop)
        print(_peak_megabytes())
        return
    rows = [_measure(w, given.rounds, given.threads) for w in chosen]
    machine = {"machine": platform.machine(), "threads": given.threads, "torch": torch.__version__}
    print(json.dumps({**machine, "rounds": given.rounds, "workloads": rows}, indent=2))


def _measure(workload: Workload, rounds: int, threads: int) -> dict[str, object]:
    loops = {name: make(workload) for name, make in LOOPS.items()}
    for loop in loops.values():
        next(loop)
    clock: dict[str, list[float]] = {name: [] for name in LOOPS}
    spent: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(rounds):
        for name, loop in loops.items():
            started, before = time.perf_counter(), time.process_time()
            shown = next(loop)
            clock[name].append((time.perf_counter() - started) / shown)
            spent[name].append((time.process_time() - before) / shown)

    def over(one: str, other: str, seconds: dict[str, list[float]]) -> float:
        return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))

    memory = {name: _memory(workload, name, threads) for name in LOOPS}
    speeds = {name: round(1.0 / statistics.median(took), 2) for name, took in clock.items()}
    return {
        "key": workload.key,
        "resolution": workload.resolution,
        "pictures_per_second": speeds,
        "trainer_over_plain": round(over("plain", "trainer", clock), 3),
        "overhead_over_bare": round(over("trainer", "bare", clock) - 1.0, 4),
        "overhead_over_bare_by_processor_time": round(over("trainer", "bare", spent) - 1.0, 4),
        "peak_megabytes": memory,
        "memory_over_plain": round(memory["trainer"] / memory["plain"], 3),
    }


def _memory(workload: Workload, loop: str, threads: int) -> int:
    command = [sys.executable, "-m", "benchmarks.training", "--only", workload.key]
    command += ["--memory-of", loop, "--threads", str(threads)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
    return round(float(done.stdout.split()[-1]))


def _peak_megabytes() -> float:
    # Not getrusage: on Linux a child starts with the peak of the process that started it.
    status = Path("/proc/self/status").read_text()
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM:")]
    return float(line.split()[1]) / 1e3


def _data(workload: Workload) -> PictureData:
    rng = np.random.default_rng(0)
    shape = (PICTURES, workload.resolution, workload.resolution, 3)
    return PictureData("random", "0", rng.integers(0, 256, shape, np.uint8), ((),) * PICTURES)


def _recipe(workload: Workload) -> Recipe:
    torch.manual_seed(0)
    return find_recipe(workload.key).build(Spec(workload.resolution, size=PICTURES))


def plain(workload: Workload) -> Iterator[int]:
    """The loop as tutorials write it. Yields the pictures of each generator step."""
    recipe = _recipe(workload)
    generator = recipe.networks["generator"].train()
    discriminator = recipe.networks["discriminator"].train()
    steps = recipe.phases[0].steps
    g_optimizer, d_optimizer = (
        torch.optim.Adam(network.parameters(), lr=workload.rate, betas=workload.beta)
        for network in (generator, discriminator)
    )
    pictures = torch.from_numpy(_data(workload).pictures).permute(0, 3, 1, 2)
    batch = recipe.batch_size
    loader = DataLoader(TensorDataset(pictures), batch_size=batch, shuffle=True, drop_last=True)

    def endless() -> Iterator[Tensor]:
        while True:
            for (chosen,) in loader:
                yield chosen.float() / 127.5 - 1.0

    reals = endless()
    nothing = torch.zeros(batch, 0)

    def draw() -> Tensor:
        noise = torch.randn(batch, generator.noise_dim)
        drawn: Tensor = generator(nothing, noise).pictures[-1]
        return drawn

    def score(x: Tensor) -> Tensor:
        logits: Tensor = discriminator(x, nothing).logits
        return logits

    while True:
        for _ in range(steps):
            real, fake = next(reals), draw().detach()
            on_real, on_fake = score(real), score(fake)
            if workload.penalised:
                share = torch.rand(batch, 1, 1, 1)
                between = (share * real + (1 - share) * fake).requires_grad_()
                (slope,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
                penalty = (slope.flatten(1).norm(2, dim=1) - 1).square().mean()
                loss = on_fake.mean() - on_real.mean() + 10 * penalty
            elif workload.hinge:
                loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
            else:
                loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            d_optimizer.zero_grad()
            loss.backward()
            d_optimizer.step()
        on_fake = score(draw())
        plain_loss = workload.penalised or workload.hinge
        loss = -on_fake.mean() if plain_loss else F.softplus(-on_fake).mean()
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
        yield steps * batch


def bare(workload: Workload) -> Iterator[int]:
    """The recipe's own losses on ready batches: forward, backward, step, and nothing else."""
    recipe = _recipe(workload)
    networks: dict[str, nn.Module] = {
        name: network.to(memory_format=torch.channels_last)
        for name, network in recipe.networks.items()
    }
    optimizers = {
        phase.name: phase.optimizer.build(
            [w for player in phase.players for w in networks[player].parameters()]
        )
        for phase in recipe.phases
    }
    (batch,) = SampleStream(_data(workload)).batches(0, recipe.batch_size, 1, torch.device("cpu"))
    while True:
        for phase in recipe.phases:
            for name, network in networks.items():
                network.requires_grad_(name in phase.players)
            for _ in range(phase.steps):
                optimizers[phase.name].zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    losses = phase.loss(networks, batch)
                losses.total.backward()  # type: ignore[no-untyped-call]
                optimizers[phase.name].step()
        yield max(phase.steps for phase in recipe.phases) * recipe.batch_size


def trainer(workload: Workload) -> Iterator[int]:
    """The trainer's rounds."""
    recipe = copy.deepcopy(_recipe(workload))
    with tempfile.TemporaryDirectory() as out:
        settings = Settings(out=Path(out), kimg=1e6)
        running = Trainer(recipe, SampleStream(_data(workload)), settings)
        while True:
            running.play_round()
            yield running.pictures_per_round


LOOPS: dict[str, Loop] = {"plain": plain, "bare": bare, "trainer": trainer}

if __name__ == "__main__":
    main()
