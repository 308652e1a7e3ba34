"""Run by `test_two_processes.py` on every rank: trains papers and saves what came of them."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate.state import AcceleratorState
from safetensors.torch import save_file

from tests.training.zoo.samples import build_recipe, sample_for, trainer_of
from training.registry import find_recipe


def main(out: Path, precision: str, micro_batches: int, keys: list[str]) -> None:
    torch.set_num_threads(1)
    for key in keys:
        AcceleratorState._reset_state()
        entry = find_recipe(key)
        data = sample_for(entry)
        trainer = trainer_of(
            build_recipe(entry, data),
            data,
            out / f"run-{key}",
            precision=precision,
            micro_batches=micro_batches,
            kimg=0.032,
        )
        list(trainer.train())
        state = {
            f"{name}.{entry}": value.contiguous().clone()
            for name, network in {**trainer.networks, "average": trainer.average}.items()
            for entry, value in network.state_dict().items()
        }
        save_file(state, out / f"{key}-rank{trainer.accelerator.process_index}.safetensors")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(","))
