"""Run by `test_two_processes.py` on every rank: trains a little and saves what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.training.conftest import small_trainer


def main(out: Path, precision: str, micro_batches: int) -> None:
    torch.set_num_threads(1)
    trainer = small_trainer(
        out / "run",
        precision=precision,
        micro_batches=micro_batches,
        kimg=0.048,
        knobs={"stage_start": (0.0, 0.016)},
    )
    list(trainer.train())
    state = {
        f"{name}.{key}": value.contiguous().clone()
        for name, network in {**trainer.networks, "average": trainer.average}.items()
        for key, value in network.state_dict().items()
    }
    save_file(state, out / f"rank{trainer.accelerator.process_index}.safetensors")
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
