"""What a run would take, measured on a few of its own steps."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from training.data.pictures import PictureData
from training.prepare import Options, learning_for, prepare
from training.registry import Entry
from training.trainer import Settings, Trainer, accelerator_for

MEASURED_ROUNDS = 3


def plan(entry: Entry, options: Options, knobs: Mapping[str, object]) -> None:
    """Print networks, parameters, memory, speed and hours of a run, and leave nothing behind.

    Caption network and matcher are not trained for the plan: their architectures alone matter here.

    Args:
        entry: The recipe's entry in the zoo.
        options: The run's options.
        knobs: The recipe's arguments.
    """
    with tempfile.TemporaryDirectory() as scratch:
        steps = 0 if options.caption_steps == 0 else 1
        tried = replace(options, out=Path(scratch), caption_steps=steps, matcher_steps=1)
        ready = prepare(entry, tried, knobs, shown=True)
        settings = Settings(
            out=tried.out,
            kimg=tried.kimg,
            seed=tried.seed,
            precision=tried.precision,
            micro_batches=tried.micro_batches,
        )
        trainer = Trainer(
            ready.recipe, ready.stream, settings, accelerator_for(tried.precision, tried.out)
        )
        trainer.play_round()
        started = time.perf_counter()
        for _ in range(MEASURED_ROUNDS):
            trainer.play_round()
        shown = MEASURED_ROUNDS * trainer.pictures_per_round
        speed = shown / (time.perf_counter() - started)
    table = Table(title=f"Plan of {entry.key} on {ready.data.name}", show_header=False)
    data = ready.data
    if isinstance(data, PictureData):
        table.add_row("pictures", f"{len(data):,} of {data.resolution} pixels")
    else:
        table.add_row("samples", f"{len(data.samples):,} of {data.samples.shape[1:]}")
    if isinstance(data, PictureData) and data.flat_captions:
        table.add_row("captions", f"{len(data.flat_captions):,}")
    if data.label_names:
        table.add_row("classes", f"{len(data.label_names):,}")
    for name, network in ready.recipe.networks.items():
        count = sum(parameter.numel() for parameter in network.parameters())
        table.add_row(name, f"{type(network).__name__}, {count / 1e6:.2f} M parameters")
    # ru_maxrss counts kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    table.add_row("memory", f"{peak:.1f} GB")
    table.add_row("speed", f"{speed:.0f} pictures/s, measured on {MEASURED_ROUNDS} rounds")
    table.add_row("length", f"{options.kimg:.0f} kimg, about {options.kimg / speed / 3.6:.1f} h")
    if steps and isinstance(data, PictureData) and entry.learns == "captions":
        taken = learning_for(options, data)
        steps_before = f"{taken.caption_steps} steps of the caption network"
        if "matcher" in entry.needs:
            steps_before += f", {taken.matcher_steps} of the matcher"
        table.add_row("before that", steps_before)
    Console().print(table)
