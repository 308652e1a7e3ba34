"""The training loop: rounds of phases over batches, whatever the paper."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training import checkpoint, ema
from training.errors import TrainingError
from training.health import Health
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update
from training.stream import Stream

Precision = Literal["bf16", "no"]


@dataclass(frozen=True)
class Settings:
    """How long and how a run trains, apart from the recipe.

    Attributes:
        out: Folder of the run.
        kimg: Length of the run in thousands of real pictures shown.
        seed: Seed of everything random.
        precision: ``bf16`` runs the networks in bfloat16, ``no`` in float32.
        micro_batches: Parts that a process takes its share of a batch in.
        checkpoint_kimg: Distance of checkpoints in kimg.
        core_minutes: Processor time, over all processes and all goes at the run, after which it
            ends before its length; what went before training counts. None for no such end.
        keep: How many checkpoints stay.
        report_rounds: Rounds between two reports of losses.
    """

    out: Path
    kimg: float
    seed: int = 0
    precision: Precision = "bf16"
    micro_batches: int = 1
    checkpoint_kimg: float = 10.0
    core_minutes: float | None = None
    keep: int = 2
    report_rounds: int = 10


@dataclass(frozen=True)
class Report:
    """What happened since the last report.

    Attributes:
        round: Rounds done.
        kimg: Thousands of real pictures shown.
        losses: Means by name.
        pictures_per_second: Speed, over all processes.
        seconds_left: Until the end of the run at that speed.
    """

    round: int
    kimg: float
    losses: Mapping[str, float]
    pictures_per_second: float
    seconds_left: float


class Trainer:
    """Trains a recipe on a stream of batches.

    Args:
        recipe: What to train.
        stream: Where batches come from.
        settings: How long and how.
        accelerator: Accelerate's handle; made from ``settings`` when not given.
        spent_before: Seconds of processor time that goes took which ended before a checkpoint.
    """

    def __init__(
        self,
        recipe: Recipe,
        stream: Stream,
        settings: Settings,
        accelerator: Accelerator | None = None,
        *,
        spent_before: float = 0.0,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self._stream = stream
        self.accelerator = accelerator or accelerator_for(settings.precision, settings.out)
        self.round = 0
        self.average = copy.deepcopy(recipe.networks["generator"]).requires_grad_(False)
        # Drawn from, never trained: layers that normalise use what they have gathered.
        self.average.to(self.accelerator.device).eval()
        if recipe.differentiates_twice and self.accelerator.mixed_precision == "fp16":
            raise TrainingError(
                f"precision: fp16 overflows in the penalty of recipe {recipe.key}; take bf16 or no"
            )
        self.networks: dict[str, nn.Module] = {
            name: network.to(self.accelerator.device).to(memory_format=torch.channels_last)
            for name, network in recipe.networks.items()
        }
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            phase.name: self.accelerator.prepare(
                phase.optimizer.build(
                    [w for player in phase.players for w in self.networks[player].parameters()]
                )
            )
            for phase in recipe.phases
        }
        # Buffers are the same on every process, or made so (`_share_statistics`).
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(
            broadcast_buffers=False, find_unused_parameters=recipe.joins_late
        )
        # One a set of players, not one a phase: the wrappers of two phases would count each other's
        # gradients, and where the phases use different weights wait for some that never come.
        self._steps: dict[tuple[str, ...], nn.Module] = {
            players: self.accelerator.prepare(_Step(players, self.networks))
            for players in dict.fromkeys(phase.players for phase in recipe.phases)
        }
        self._health = Health(recipe.watched)
        self.stopped = False
        # Of goes before this one; a checkpoint knows better.
        self._spent_before = spent_before

    def stop(self) -> None:
        """Ask `train` to end after the current round, with a checkpoint."""
        self.stopped = True

    @property
    def shown(self) -> int:
        """Real pictures shown so far, over all processes."""
        return self.round * self.pictures_per_round

    @property
    def kimg(self) -> float:
        """Thousands of real pictures shown so far."""
        return self.shown / 1000.0

    @property
    def _batches_per_round(self) -> int:
        return max(phase.steps for phase in self.recipe.phases)

    @property
    def pictures_per_round(self) -> int:
        """Real pictures shown in a round, over all processes."""
        return self._batches_per_round * self.recipe.batch_size

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.settings.out / "checkpoints"

    def train(self) -> Iterator[Report]:
        """Train to the end, from the last checkpoint where there is one.

        Yields a report every few rounds; a checkpoint is written on the way and at the end. When
        the caller stops iterating, nothing is lost: call `save`.

        Raises:
            TrainingError: A loss is not finite, the discriminator has won, or the processor time
                was spent before there was anything to train.
        """
        sums: dict[str, tuple[Tensor, int]] = {}
        rounds, started = 0, time.perf_counter()
        saved = self.shown
        length = round(self.settings.kimg * 1000)
        if self._spent_all():
            if self.round:
                return
            raise TrainingError(
                f"core_minutes: {self.settings.core_minutes:g} were spent before the first step; "
                "give more"
            )
        while self.shown < length:
            for name, value in self.play_round().items():
                total, count = sums.get(name, (torch.zeros_like(value), 0))
                sums[name] = total + value, count + 1
            rounds += 1
            finished = self.shown >= length or self._stop_everywhere() or self._spent_all()
            due = self.shown - saved >= round(self.settings.checkpoint_kimg * 1000)
            if rounds < self.settings.report_rounds and not finished and not due:
                continue
            losses = {
                name: float(self.accelerator.reduce(total, "mean")) / count
                for name, (total, count) in sums.items()
            }
            self._health.observe(self.kimg, losses)
            elapsed = time.perf_counter() - started
            speed = rounds * self.pictures_per_round / elapsed
            left = max(0, length - self.shown) / speed
            if due or finished:
                self.save()
                saved = self.shown
            yield Report(self.round, self.kimg, losses, speed, left)
            sums, rounds, started = {}, 0, time.perf_counter()
            if finished:
                return

    def _stop_everywhere(self) -> bool:
        """Tell whether any process was asked to stop; all must leave after the same round."""
        if self.accelerator.num_processes > 1:
            asked = torch.tensor(float(self.stopped), device=self.accelerator.device)
            self.stopped = bool(self.accelerator.reduce(asked, "sum") > 0)
        return self.stopped

    @property
    def core_seconds(self) -> float:
        """Processor time that the run has taken so far, over all processes and goes, in seconds."""
        mine = torch.tensor(time.process_time(), dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            mine = self.accelerator.reduce(mine.to(self.accelerator.device, torch.float32), "sum")
        return self._spent_before + float(mine)

    def _spent_all(self) -> bool:
        given = self.settings.core_minutes
        return given is not None and self.core_seconds >= 60.0 * given

    def play_round(self) -> dict[str, Tensor]:
        """Run every phase once (or as often as it asks) and move the average.

        Returns:
            Detached mean of each reported loss over this process's micro-batches.
        """
        # Layers that draw for themselves (dropout) draw the same after a resume.
        torch.manual_seed(self.settings.seed * 1_000_003 + self.round)
        losses: dict[str, Tensor] = {}
        for phase in self.recipe.phases:
            if phase.active is not None and not phase.active(self.kimg):
                continue
            for step in range(phase.steps):
                number = self.round * self._batches_per_round + step
                losses |= self._update(phase, self._batches(number))
        self.round += 1
        self._share_statistics()
        average = self.recipe.ema
        decay = 0.0 if average is None else average.decay(self.kimg, self.pictures_per_round)
        ema.update(self.average, self.networks["generator"], decay)
        return losses

    def _batches(self, number: int) -> list[Batch]:
        return self._stream.batches(
            number,
            self.recipe.batch_size,
            self.settings.micro_batches,
            self.accelerator.device,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    def _update(self, phase: Phase, batches: list[Batch]) -> dict[str, Tensor]:
        """Take one optimiser step of one phase, over all micro-batches."""
        for name, network in self.networks.items():
            network.requires_grad_(name in phase.players)
        step, optimizer = self._steps[phase.players], self._optimizers[phase.name]
        if phase.optimizer.schedule is not None:
            rate = phase.optimizer.learning_rate * phase.optimizer.schedule(batches[0].kimg)
            for group in optimizer.param_groups:
                group["lr"] = rate
        optimizer.zero_grad()
        means: dict[str, Tensor] = {}
        for position, batch in enumerate(batches):
            last = position == len(batches) - 1
            alone = contextlib.nullcontext() if last else self.accelerator.no_sync(step)
            with alone:
                losses: Losses = step(phase, batch)
                self.accelerator.backward(losses.total / len(batches))
            for name, value in losses.parts.items():
                share = value.detach().float() / len(batches)
                means[name] = means[name] + share if name in means else share
        optimizer.step()
        if phase.after is not None:
            # What follows from the losses must be the same on every process.
            whole = {name: self.accelerator.reduce(v, "mean") for name, v in means.items()}
            with torch.no_grad():
                phase.after(self.networks, Update(batches[0].kimg, batches[0].step, whole))
        return means

    def _share_statistics(self) -> None:
        """Give every process the mean of what BatchNorm has gathered on each."""
        if self.accelerator.num_processes == 1:
            return
        for network in self.networks.values():
            for module in network.modules():
                if isinstance(module, _BatchNorm) and module.running_mean is not None:
                    for gathered in (module.running_mean, module.running_var):
                        assert gathered is not None
                        gathered.copy_(self.accelerator.reduce(gathered, "mean"))

    def save(self) -> Path | None:
        """Write a checkpoint of this moment (on the main process)."""
        self.accelerator.wait_for_everyone()
        core_seconds = self.core_seconds
        if not self.accelerator.is_main_process:
            return None
        return checkpoint.save(
            self.checkpoints,
            self.shown,
            networks=self._kept(),
            optimizers=self._plain_optimizers(),
            state={
                "round": self.round,
                "kimg": self.kimg,
                "core_seconds": round(core_seconds, 1),
                "batch_size": self.recipe.batch_size,
                "recipe": self.recipe.key,
                "seed": self.settings.seed,
                "data": self._stream.data.fingerprint,
            },
            keep=self.settings.keep,
        )

    def start_from(self, folder: Path) -> None:
        """Take networks over from a checkpoint of another run, counting anew.

        The generator may have stages more than it had there, and the discriminator other critics:
        what is new begins as it is. Optimisers go on only where nothing is.

        Args:
            folder: A checkpoint, or a run's folder, whose last checkpoint is taken.

        Raises:
            TrainingError: There is none, it is broken, or its generator is no part of this one.
        """
        inside = checkpoint.complete(folder / "checkpoints")
        chosen = inside[-1] if inside else folder
        checkpoint.read_state(chosen)
        whole = ("generator", "average")
        if checkpoint.take_over(chosen, networks=self._kept(), whole=whole):
            checkpoint.restore(chosen, self._plain_optimizers())

    def resume(self) -> bool:
        """Go on from the last complete checkpoint; False when there is none.

        Raises:
            TrainingError: It belongs to another recipe, seed, batch size or data set, or is broken.
        """
        found = checkpoint.complete(self.checkpoints)
        if not found:
            return False
        state = checkpoint.read_state(found[-1])
        now = {
            "recipe": self.recipe.key,
            "seed": self.settings.seed,
            "batch_size": self.recipe.batch_size,
            "data": self._stream.data.fingerprint,
        }
        for name, value in now.items():
            if state[name] != value:
                raise TrainingError(
                    f"{name}: the run in {self.settings.out} was made with {state[name]}, now it "
                    f"is {value}; use the same, or another --out"
                )
        checkpoint.load(found[-1], networks=self._kept(), optimizers=self._plain_optimizers())
        self.round = int(str(state["round"]))
        self._spent_before = float(str(state.get("core_seconds", 0.0)))
        return True

    def _kept(self) -> dict[str, nn.Module]:
        """What a checkpoint holds: all but what comes with the recipe each time."""
        given = self.recipe.given
        kept = {name: net for name, net in self.networks.items() if name not in given}
        return {**kept, "average": self.average}

    def _plain_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            name: getattr(optimizer, "optimizer", optimizer)
            for name, optimizer in self._optimizers.items()
        }


def accelerator_for(precision: Precision, out: Path) -> Accelerator:
    """Make Accelerate's handle; processes and devices come from ``accelerate launch``.

    Args:
        precision: ``bf16`` or ``no``.
        out: The run's folder; TensorBoard's files go there.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        # A process may train twice, in other precision: processes and devices stay as they are.
        AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=precision,
        log_with="tensorboard",
        project_dir=out,
    )


class _Step(nn.Module):
    """The losses of some players behind one forward.

    A data-parallel wrapper shares the gradients of the one forward that it sees. Wrapped like this
    a loss may call its network as often as it likes, several networks may learn together, and
    penalties may differentiate within.
    """

    def __init__(self, players: tuple[str, ...], networks: Networks) -> None:
        super().__init__()
        self._networks = networks
        self.learning = nn.ModuleDict({name: networks[name] for name in players})

    def forward(self, phase: Phase, batch: Batch) -> Losses:
        return phase.loss(self._networks, batch)
