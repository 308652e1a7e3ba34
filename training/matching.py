"""Learning what of a caption can be seen, by matching captions with their pictures.

Two steps before a generator learns to draw. First a `CaptionNetwork` learns to read: with a picture
network beside it, it learns codes by which pictures and captions of a batch find each other. Then a
`Matcher` learns to see: against the codes that stand now, its picture network meets many captions
at little cost. Frozen, it tells the generator how well a drawn picture agrees with its caption, as
DAMSM does in AttnGAN (1711.10485), with whole captions instead of words.

Random captions of other pictures are told apart by head and setting alone. So each picture also
meets captions that are almost true of it, as CLIP meets sentences with one changed word in NegCLIP
(2210.01936).

Matching finds a colour long before it finds the part that wears it. Where the data know attributes
or labels of their pictures, both networks also learn to tell those from their codes, and the
generator is told how far its pictures show what their captions say. Labels served the text encoder
of GAN-CLS in the same way (structured joint embedding, 1605.05395).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from t2i.networks.captions import CaptionNetwork
from t2i.weights import write_tensors
from training import checkpoint
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.effort import BATCH
from training.errors import TrainingError
from training.eyes import Eyes, make_eyes
from training.matcher import SHIFT, AttributeReader, Matcher, window
from training.progress import progress_bar
from training.tokens import TokenStates

READ_CAPTIONS, READ_HARD = 3, 2
SEEN_CAPTIONS, SEEN_HARD = 5, 8
CODES_AT_ONCE = 512
SHORTEST_SCHEDULE = 20
# Steps after which what was learned is kept: some ten seconds to two minutes on two cores.
KEPT_EVERY = 100
CPU = torch.device("cpu")


def several_captions_loss(
    pictures: Tensor, captions: Tensor, owner: Tensor, true: Tensor, scale: Tensor
) -> Tensor:
    """Match pictures with several captions each, in both directions.

    For each caption of a picture: cross-entropy of picking its picture among those it is not true
    of; and of its picture picking it among all captions that are not true of the picture.

    Args:
        pictures: ``(n, d)`` unit vectors.
        captions: ``(m, d)`` unit vectors; those beyond ``len(owner)`` belong to no picture.
        owner: ``(k,)`` picture of each of the first k captions.
        true: ``(n, m)`` booleans: the caption is true of the picture.
        scale: Scalar that multiplies the cosines.

    Returns:
        Scalar, in nats.
    """
    logits = scale * (pictures @ captions.t())
    owned = len(owner)
    own = logits[owner, torch.arange(owned, device=owner.device)]
    false = logits.masked_fill(true, float("-inf"))
    among_pictures = F.softplus(torch.logsumexp(false[:, :owned], dim=0) - own).mean()
    among_captions = F.softplus(torch.logsumexp(false, dim=1)[owner] - own).mean()
    return 0.5 * (among_pictures + among_captions)


def fit_caption_network(
    data: PictureData,
    tokens: TokenStates,
    truth: WrongCaptions,
    path: Path,
    *,
    steps: int = 2500,
    batch_size: int = BATCH,
    learning_rate: float = 2e-3,
    code_dim: int = 256,
    eyes: Eyes = "learned",
    seed: int = 0,
    device: torch.device = CPU,
    progress: bool = True,
    on_kept: Callable[[], None] = lambda: None,
) -> CaptionNetwork:
    """Train a caption network, or read the one that an earlier call left at ``path``.

    A call that is stopped leaves what it has learned beside ``path``, and the next goes on there.

    Args:
        data: Pictures and captions.
        tokens: Token states of the captions, in flat order.
        truth: Knows which captions are true of which pictures, and which nearly are.
        path: A ``.safetensors`` file; appears when training is done.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with three of its captions and two hard wrong ones.
        learning_rate: Peak of the one-cycle schedule.
        code_dim: Length of the code.
        eyes: What looks at the pictures meanwhile.
        seed: Seed of weights and batches.
        device: Where it learns; the result is on the CPU.
        progress: Show a progress bar.
        on_kept: Called whenever something of it was kept.
    """
    torch.manual_seed(seed)
    network = CaptionNetwork(token_dim=tokens.token_dim, code_dim=code_dim)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    values, sizes = data.known
    reading = _Reading(network, sizes, eyes).to(device)
    batches = MatchingBatches(data, truth, batch_size, READ_CAPTIONS, READ_HARD, seed, device)

    def loss(step: int) -> Tensor:
        chosen, captions, true = batches.draw(step)
        states, present = (each.to(device) for each in tokens.batch(captions))
        # On CPUs the backward of the flash kernel is many times slower than plain products.
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            seen, read = reading(batches.pictures(chosen), states, present)
        return reading.loss(
            seen.float(),
            read.float(),
            batches.owner,
            true,
            torch.from_numpy(values[chosen]).to(device),
            torch.from_numpy(values[data.caption_owners[captions]]).to(device),
        )

    title = "Learning to read captions"
    kept = _unfinished(path)
    optimize(reading, loss, steps, learning_rate, title, progress, kept=kept, on_kept=on_kept)
    _save(network.cpu(), path)
    on_kept()
    return network.eval()


def fit_matcher(
    data: PictureData,
    codes: NDArray[np.float32],
    truth: WrongCaptions,
    path: Path,
    *,
    steps: int = 1500,
    batch_size: int = BATCH,
    learning_rate: float = 2e-3,
    eyes: Eyes = "learned",
    seed: int = 0,
    device: torch.device = CPU,
    progress: bool = True,
    on_kept: Callable[[], None] = lambda: None,
) -> Matcher:
    """Train a matcher, or read the one that an earlier call left at ``path``.

    A call that is stopped leaves what it has learned beside ``path``, and the next goes on there.

    Args:
        data: Pictures and captions.
        codes: ``(n_captions, code_dim)`` codes of the captions, in flat order.
        truth: Knows which captions are true of which pictures, and which nearly are.
        path: A ``.safetensors`` file; appears when training is done.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with five of its captions and eight hard wrong ones.
        learning_rate: Peak of the one-cycle schedule.
        eyes: What it looks at pictures with.
        seed: Seed of weights and batches.
        device: Where it learns; the result is on the CPU.
        progress: Show a progress bar.
        on_kept: Called whenever something of it was kept.

    Returns:
        The matcher, frozen.

    Raises:
        TrainingError: The one at ``path`` is another kind of matcher.
    """
    torch.manual_seed(seed)
    values, sizes = data.known
    # Told to draw 471 species, of four photographs each, a generator ended twice as far from real
    # pictures; reading gets better by their names all the same.
    matcher = Matcher(codes.shape[1], sizes, eyes, data.often_shown)
    matcher.to(memory_format=torch.channels_last)
    if path.is_file():
        try:
            matcher.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise TrainingError(
                f"{path}: this matcher was learned with other eyes, or from data with other "
                "attributes or captions' codes of another length; remove it, and it is learned anew"
            ) from error
        return matcher.eval().requires_grad_(False)
    matcher.standardize.fit(torch.from_numpy(np.array(codes)))
    matcher.to(device)
    batches = MatchingBatches(data, truth, batch_size, SEEN_CAPTIONS, SEEN_HARD, seed, device)

    def loss(step: int) -> Tensor:
        chosen, captions, true = batches.draw(step)
        read = torch.from_numpy(codes[captions]).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            seen = matcher.pictures(batches.pictures(chosen)).float()
            said = matcher.directions(read)
        matching = several_captions_loss(
            F.normalize(seen, dim=1), said, batches.owner, true, matcher.scale
        )
        own = read[: len(batches.owner)]
        known = torch.from_numpy(values[chosen]).to(device)
        return matching + matcher.attribute_loss(seen, own, known)

    title = "Learning to see what captions say"
    kept = _unfinished(path)
    optimize(matcher, loss, steps, learning_rate, title, progress, kept=kept, on_kept=on_kept)
    _save(matcher.cpu(), path, matcher_told(eyes, data.resolution))
    on_kept()
    return matcher.eval().requires_grad_(False)


class _Reading(nn.Module):
    """A caption network with all that it learns beside.

    Args:
        captions: The caption network.
        sizes: How many values each attribute can take that is known of the pictures.
        eyes: What the picture network is.
    """

    def __init__(self, captions: CaptionNetwork, sizes: Sequence[int], eyes: Eyes) -> None:
        super().__init__()
        self.captions = captions
        self.pictures = make_eyes(eyes, captions.code_dim)
        self.log_scale = nn.Parameter(torch.tensor(2.5))
        self.shown = AttributeReader(captions.code_dim, sizes)
        self.said = AttributeReader(captions.code_dim, sizes)

    def forward(self, pictures: Tensor, states: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes of pictures and of captions."""
        return self.pictures(pictures), self.captions(states, present)

    def loss(
        self, seen: Tensor, read: Tensor, owner: Tensor, true: Tensor, shown: Tensor, said: Tensor
    ) -> Tensor:
        """Matching, and telling what is known of the pictures from either side.

        Args:
            seen: ``(n, code_dim)`` codes of pictures.
            read: ``(m, code_dim)`` codes of captions.
            owner: Picture of each of the first captions.
            true: ``(n, m)`` booleans: the caption is true of the picture.
            shown: ``(n, n_attributes)`` of the pictures, -1 where a value is not known.
            said: ``(m, n_attributes)`` of the pictures that the captions came with.
        """
        scale = self.log_scale.exp().clamp(max=50.0)
        units = F.normalize(seen, dim=1), F.normalize(read, dim=1)
        matching = several_captions_loss(*units, owner, true, scale)
        return matching + self.shown.loss(seen, shown) + self.said.loss(read, said)


class MatchingBatches:
    """Pictures, some captions of each, then wrong captions that are almost true of them.

    Args:
        data: Pictures and captions.
        truth: Knows which captions are true of which pictures, and which nearly are.
        size: Pictures in a batch.
        own: Captions of each picture.
        hard: Wrong captions of each picture.
        seed: Seed of the batches, each a function of it and of the step's number.
        device: Where tensors go.
    """

    def __init__(
        self,
        data: PictureData,
        truth: WrongCaptions,
        size: int,
        own: int,
        hard: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._data, self._truth = data, truth
        self._size, self._own, self._hard = size, own, hard
        self._counts = np.diff(data.caption_starts)
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._device = device
        self.owner = torch.arange(size, device=device).repeat_interleave(own)

    def draw(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
        """Return numbers of pictures and of captions, and which captions are true of which."""
        rng = self._rng = np.random.default_rng((self._seed, step))
        chosen = rng.integers(0, len(self._data), self._size)
        owners = np.repeat(chosen, self._own)
        own = self._data.caption_starts[owners] + rng.integers(0, self._counts[owners])
        hard = self._truth.draw_hard(np.repeat(chosen, self._hard), rng)
        captions = np.concatenate([own, hard])
        true = torch.from_numpy(self._truth.true_pairs(chosen, captions))
        return chosen, captions, true.to(self._device)

    def pictures(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return what was drawn, ``(n, 3, r, r)`` in [-1, 1], moved and mirrored at random."""
        raw = np.ascontiguousarray(self._data.pictures[chosen])
        flips = self._rng.random(len(raw)) < 0.5
        raw[flips] = raw[flips, :, ::-1]
        raw_pictures = torch.from_numpy(raw).to(self._device)
        x = raw_pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        down, right = self._rng.integers(0, 2 * SHIFT + 1, 2)
        return window(x, int(down), int(right)).contiguous(memory_format=torch.channels_last)


def optimize(
    learner: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    title: str,
    progress: bool,
    *,
    kept: Path | None = None,
    on_kept: Callable[[], None] = lambda: None,
) -> None:
    """Take steps of AdamW under a one-cycle schedule.

    Args:
        learner: What learns.
        loss: Draws the batch of a step, by its number, and returns its loss, a scalar.
        steps: Optimiser steps.
        learning_rate: Peak of the schedule.
        title: What the progress bar says.
        progress: Show it.
        kept: Folder of checkpoints: what a call that was stopped has left there is gone on from,
            to the same bits as without the stop. None keeps nothing.
        on_kept: Called whenever something was kept there.

    Raises:
        TrainingError: What is kept there cannot be read, or belongs to another learner.
    """
    optimizer = torch.optim.AdamW(learner.parameters(), lr=learning_rate, weight_decay=1e-2)
    # Below this the schedule divides by zero; so few steps are only ever a trial.
    scheduled = max(steps, SHORTEST_SCHEDULE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=scheduled, pct_start=0.1
    )
    networks, optimizers = {"learner": learner}, {"learner": optimizer}
    plan = {"steps": steps, "learning_rate": learning_rate}
    done = 0
    for folder in checkpoint.complete(kept)[-1:] if kept else ():
        state = checkpoint.read_state(folder)
        if state["plan"] == plan:
            checkpoint.load(folder, networks=networks, optimizers=optimizers)
            done = int(folder.name)
            schedule.load_state_dict(state["schedule"])  # type: ignore[arg-type]
            optimizer.param_groups[0].update(state["pace"])  # type: ignore[call-overload]
    with progress_bar(title, steps, shown=progress) as advance:
        advance(done)
        for step in range(done, steps):
            value = loss(step)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1, f"loss {value.item():.3f}")
            if kept and (step + 1) % KEPT_EVERY == 0:
                pace = {name: optimizer.param_groups[0][name] for name in ("lr", "betas")}
                state = {"plan": plan, "schedule": schedule.state_dict(), "pace": pace}
                checkpoint.save(
                    kept, step + 1, networks=networks, optimizers=optimizers, state=state, keep=1
                )
                on_kept()


def matcher_told(eyes: Eyes, resolution: int) -> dict[str, str]:
    """Return what a matcher's file tells of it: what it looks with, and at what side."""
    return {"eyes": eyes, "resolution": str(resolution)}


def _unfinished(path: Path) -> Path:
    """Return the folder of what is learned of a network until it is whole."""
    return path.with_suffix(".unfinished")


def _save(network: nn.Module, path: Path, told: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    write_tensors(partial, network.state_dict(), told)
    partial.replace(path)
    shutil.rmtree(_unfinished(path), ignore_errors=True)


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
