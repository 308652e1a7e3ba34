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

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from t2i.networks.blocks import Standardize
from t2i.networks.captions import CaptionNetwork
from training.data.pictures import PictureData
from training.data.wrong_captions import WrongCaptions
from training.errors import TrainingError
from training.progress import progress_bar
from training.tokens import TokenStates

READ_CAPTIONS, READ_HARD = 3, 2
SEEN_CAPTIONS, SEEN_HARD = 5, 8
SHIFT = 4
CODES_AT_ONCE = 512
SHORTEST_SCHEDULE = 20
# A caption says what its code tells as surely as this; the rest it leaves open.
SURE = 0.8


class PictureNetwork(nn.Module):
    """A picture's code.

    Parts move with the pose, so the network learns where to look: `places` maps of weights over
    each of its two deeper resolutions, and what is seen there makes up the code.

    Args:
        code_dim: Length of the code.
        width: Channels at half the resolution; they double at every halving.
        places: Places looked at, at each of the two resolutions.
    """

    def __init__(self, code_dim: int = 256, width: int = 32, places: int = 24) -> None:
        super().__init__()
        self.width = width
        self.fine = nn.Sequential(
            *_down(3, width),
            _Residual(width),
            *_down(width, 2 * width),
            _Residual(2 * width),
            _Residual(2 * width),
        )
        self.coarse = nn.Sequential(*_down(2 * width, 4 * width), _Residual(4 * width))
        self.look_fine = nn.Conv2d(2 * width, places, 1)
        self.look_coarse = nn.Conv2d(4 * width, places, 1)
        self.code = nn.Linear(places * 6 * width + 4 * width, code_dim)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(n, 3, r, r)`` in [-1, 1] to ``(n, code_dim)``."""
        return self.maps(pictures)[1]

    def maps(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the feature maps of both resolutions, fine and coarse, and the code."""
        fine = self.fine(pictures)
        coarse = self.coarse(fine)
        seen = [
            _looked_at(fine, self.look_fine(fine)),
            _looked_at(coarse, self.look_coarse(coarse)),
            coarse.mean(dim=(2, 3)),
        ]
        return (fine, coarse), self.code(torch.cat(seen, dim=1))

    def map_shapes(self, resolution: int) -> tuple[tuple[int, int], ...]:
        """Return channels and side of each of the `maps` of pictures of that side."""
        return ((2 * self.width, resolution // 4), (4 * self.width, resolution // 8))


def _looked_at(x: Tensor, places: Tensor) -> Tensor:
    """Average ``(n, c, h, w)`` by softmax weights over each of ``(n, k, h, w)``: ``(n, k * c)``."""
    weights = places.flatten(2).float().softmax(dim=2).to(x.dtype)
    return torch.einsum("nkp,ncp->nkc", weights, x.flatten(2)).flatten(1)


class AttributeReader(nn.Module):
    """Tells attributes from a code.

    Args:
        code_dim: Length of the code.
        sizes: How many values each attribute can take; there may be none.
        hidden: Width of a layer between code and attributes; 0 for none. A caption leaves most
            attributes open, and that cannot be told apart from a guess by a linear map.
    """

    def __init__(self, code_dim: int, sizes: Sequence[int], hidden: int = 0) -> None:
        super().__init__()
        self.enter = nn.Sequential()
        if hidden:
            self.enter.extend([nn.Linear(code_dim, hidden), nn.GELU()])
        self.heads = nn.ModuleList(nn.Linear(hidden or code_dim, size) for size in sizes)

    def forward(self, codes: Tensor) -> list[Tensor]:
        """Map ``(n, code_dim)`` to logits ``(n, size)``, one tensor an attribute."""
        x = self.enter(codes)
        return [head(x).float() for head in self.heads]

    def loss(self, codes: Tensor, values: Tensor) -> Tensor:
        """Cross-entropy of the attributes that are known.

        Args:
            codes: ``(n, code_dim)``.
            values: ``(n, n_attributes)``, -1 where a value is not known.

        Returns:
            Scalar, in nats, mean over all that is known; 0 where nothing is.
        """
        total = codes.new_zeros(())
        for logits, value in zip(self(codes), values.t(), strict=True):
            total = total + F.cross_entropy(logits, value, ignore_index=-1, reduction="sum")
        return total / (values >= 0).sum().clamp(min=1)


class Matcher(nn.Module):
    """A picture network and a head over caption codes, whose outputs can be compared.

    Args:
        code_dim: Length of the captions' codes, and of what is compared.
        attribute_sizes: How many values each attribute can take that is known of the pictures.
    """

    def __init__(self, code_dim: int = 256, attribute_sizes: Sequence[int] = ()) -> None:
        super().__init__()
        self.pictures = PictureNetwork(code_dim)
        self.standardize = Standardize(code_dim)
        self.said = nn.Sequential(
            nn.Linear(code_dim, 2 * code_dim), nn.GELU(), nn.Linear(2 * code_dim, code_dim)
        )
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.shown_attributes = AttributeReader(code_dim, attribute_sizes)
        self.said_attributes = AttributeReader(code_dim, attribute_sizes, hidden=2 * code_dim)

    @property
    def scale(self) -> Tensor:
        """What multiplies cosines to make them logits."""
        return self.log_scale.exp().clamp(max=50.0)

    def directions(self, codes: Tensor) -> Tensor:
        """Map captions' codes ``(m, code_dim)`` to unit vectors, comparable with pictures'."""
        return F.normalize(self.said(self.standardize(codes)).float(), dim=1)

    def look(self, pictures: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return feature maps and code of pictures moved by a few pixels at random.

        The move is one for the whole batch; with it no single pixel can please the matcher.

        Args:
            pictures: ``(n, 3, r, r)`` in [-1, 1].
        """
        return self.pictures.maps(_shifted(pictures))

    def disagreement(self, seen: Tensor, right: Tensor, wrong: Tensor, also_true: Tensor) -> Tensor:
        """How badly pictures and their captions find each other.

        DAMSM's sentence loss (AttnGAN, 1711.10485, eq. 10 and 12 to 14): picture i must pick
        caption i among those of the batch and its own wrong caption, and caption i picture i.

        Args:
            seen: ``(n, code_dim)`` codes of pictures.
            right: ``(n, code_dim)`` codes of the captions that they were drawn for.
            wrong: ``(n, code_dim)`` codes of one caption a picture that is not to be true.
            also_true: ``(n, n)`` booleans: caption j may be true of picture i; such pairs count
                neither for nor against. The diagonal is ignored.

        Returns:
            Scalar, in nats.
        """
        seen = F.normalize(seen.float(), dim=1)
        own, other = self.directions(right), self.directions(wrong)
        diagonal = torch.eye(len(seen), dtype=torch.bool, device=seen.device)
        logits = (self.scale * (seen @ own.t())).masked_fill(also_true & ~diagonal, -1e4)
        beside = self.scale * (seen * other).sum(dim=1, keepdim=True)
        target = torch.arange(len(seen), device=seen.device)
        among_captions = F.cross_entropy(torch.cat([logits, beside], dim=1), target)
        return 0.5 * (among_captions + F.cross_entropy(logits.t(), target))

    def attribute_loss(self, seen: Tensor, codes: Tensor, values: Tensor) -> Tensor:
        """Cross-entropy of telling what is known from pictures, and from their captions.

        Args:
            seen: ``(n, code_dim)`` codes of pictures.
            codes: ``(m, code_dim)`` codes of captions, for each picture ``m / n`` in a row.
            values: ``(n, n_attributes)`` of the pictures, -1 where a value is not known.

        Returns:
            Scalar, in nats a known attribute.
        """
        said = values.repeat_interleave(len(codes) // len(values), dim=0)
        shown = self.shown_attributes.loss(seen.float(), values)
        return shown + self.said_attributes.loss(self.standardize(codes), said)

    def misses(self, seen: Tensor, codes: Tensor) -> Tensor:
        """How far pictures miss the attributes that their captions state.

        Args:
            seen: ``(n, code_dim)`` codes of pictures.
            codes: ``(n, code_dim)`` codes of the captions that they were drawn for.

        Returns:
            Scalar: cross-entropy in nats, mean over the captions that surely state an attribute,
            then over the attributes that any of them states: a mark that one caption in twenty
            names counts as much as the colour that most name. 0 where nothing is stated.
        """
        seen = seen.float()
        total, attributes = seen.new_zeros(()), seen.new_zeros(())
        said, shown = self.said_attributes(self.standardize(codes)), self.shown_attributes(seen)
        for stated, drawn in zip(said, shown, strict=True):
            likely, value = stated.softmax(dim=1).max(dim=1)
            sure = (likely > SURE).float()
            missed = F.cross_entropy(drawn, value, reduction="none")
            total = total + (missed * sure).sum() / sure.sum().clamp(min=1.0)
            attributes = attributes + sure.max()
        return total / attributes.clamp(min=1.0)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


def _down(inward: int, outward: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(inward, outward, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outward),
        nn.ReLU(),
    )


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
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    code_dim: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> CaptionNetwork:
    """Train a caption network, or read the one that an earlier call left at ``path``.

    Args:
        data: Pictures and captions.
        tokens: Token states of the captions, in flat order.
        truth: Knows which captions are true of which pictures, and which nearly are.
        path: A ``.safetensors`` file; appears when training is done.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with three of its captions and two hard wrong ones.
        learning_rate: Peak of the one-cycle schedule.
        code_dim: Length of the code.
        seed: Seed of weights and batches.
        progress: Show a progress bar.
    """
    torch.manual_seed(seed)
    network = CaptionNetwork(token_dim=tokens.token_dim, code_dim=code_dim)
    if path.is_file():
        network.load_state_dict(load_file(path))
        return network.eval()
    pictures = PictureNetwork(code_dim).to(memory_format=torch.channels_last)
    log_scale = nn.Parameter(torch.tensor(2.5))
    known, sizes = data.known
    shown_attributes, said_attributes = (AttributeReader(code_dim, sizes) for _ in range(2))
    networks = (network, pictures, shown_attributes, said_attributes)
    learned = [log_scale, *(each for part in networks for each in part.parameters())]
    batches = _Batches(data, truth, batch_size, READ_CAPTIONS, READ_HARD, seed)

    def loss() -> Tensor:
        chosen, captions, true = batches.draw()
        shown, states, present = batches.pictures(chosen), *tokens.batch(captions)
        # On CPUs the backward of the flash kernel is many times slower than plain products.
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            seen, read = (code.float() for code in (pictures(shown), network(states, present)))
        matching = several_captions_loss(
            F.normalize(seen, dim=1),
            F.normalize(read, dim=1),
            batches.owner,
            true,
            log_scale.exp().clamp(max=50.0),
        )
        owners = data.caption_owners[captions]
        telling = shown_attributes.loss(seen, torch.from_numpy(known[chosen]))
        return matching + telling + said_attributes.loss(read, torch.from_numpy(known[owners]))

    _optimize(learned, loss, steps, learning_rate, "Learning to read captions", progress)
    _save(network, path)
    return network.eval()


def fit_matcher(
    data: PictureData,
    codes: NDArray[np.float32],
    truth: WrongCaptions,
    path: Path,
    *,
    steps: int = 1500,
    batch_size: int = 128,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: bool = True,
) -> Matcher:
    """Train a matcher, or read the one that an earlier call left at ``path``.

    Args:
        data: Pictures and captions.
        codes: ``(n_captions, code_dim)`` codes of the captions, in flat order.
        truth: Knows which captions are true of which pictures, and which nearly are.
        path: A ``.safetensors`` file; appears when training is done.
        steps: Optimiser steps.
        batch_size: Pictures a step; each comes with five of its captions and eight hard wrong ones.
        learning_rate: Peak of the one-cycle schedule.
        seed: Seed of weights and batches.
        progress: Show a progress bar.

    Returns:
        The matcher, frozen.
    """
    torch.manual_seed(seed)
    known, sizes = data.known
    matcher = Matcher(codes.shape[1], sizes).to(memory_format=torch.channels_last)
    if path.is_file():
        try:
            matcher.load_state_dict(load_file(path))
        except RuntimeError as error:
            raise TrainingError(
                f"{path}: this matcher was learned from data with other attributes or captions' "
                "codes of another length; remove it, and it is learned anew"
            ) from error
        return matcher.eval().requires_grad_(False)
    matcher.standardize.fit(torch.from_numpy(np.array(codes)))
    batches = _Batches(data, truth, batch_size, SEEN_CAPTIONS, SEEN_HARD, seed)

    def loss() -> Tensor:
        chosen, captions, true = batches.draw()
        read, values = torch.from_numpy(codes[captions]), torch.from_numpy(known[chosen])
        with torch.autocast("cpu", torch.bfloat16):
            seen = matcher.pictures(batches.pictures(chosen)).float()
            said = matcher.directions(read)
        matching = several_captions_loss(
            F.normalize(seen, dim=1), said, batches.owner, true, matcher.scale
        )
        own = read[: len(batches.owner)]
        return matching + matcher.attribute_loss(seen, own, values)

    learned = list(matcher.parameters())
    _optimize(learned, loss, steps, learning_rate, "Learning to see what captions say", progress)
    _save(matcher, path)
    return matcher.eval().requires_grad_(False)


class _Batches:
    """Pictures, some captions of each, then wrong captions that are almost true of them.

    Args:
        data: Pictures and captions.
        truth: Knows which captions are true of which pictures, and which nearly are.
        size: Pictures in a batch.
        own: Captions of each picture.
        hard: Wrong captions of each picture.
        seed: Seed of the order.
    """

    def __init__(
        self, data: PictureData, truth: WrongCaptions, size: int, own: int, hard: int, seed: int
    ) -> None:
        self._data, self._truth = data, truth
        self._size, self._own, self._hard = size, own, hard
        self._counts = np.diff(data.caption_starts)
        self._rng = np.random.default_rng(seed)
        self.owner = torch.arange(size).repeat_interleave(own)

    def draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
        """Return numbers of pictures and of captions, and which captions are true of which."""
        rng = self._rng
        chosen = rng.integers(0, len(self._data), self._size)
        owners = np.repeat(chosen, self._own)
        own = self._data.caption_starts[owners] + rng.integers(0, self._counts[owners])
        hard = self._truth.draw_hard(np.repeat(chosen, self._hard), rng)
        captions = np.concatenate([own, hard])
        true = torch.from_numpy(self._truth.true_pairs(chosen, captions))
        return chosen, captions, true

    def pictures(self, chosen: NDArray[np.int64]) -> Tensor:
        """Return pictures ``(n, 3, r, r)`` in [-1, 1], moved and mirrored at random."""
        raw = np.ascontiguousarray(self._data.pictures[chosen])
        flips = self._rng.random(len(raw)) < 0.5
        raw[flips] = raw[flips, :, ::-1]
        x = torch.from_numpy(raw).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
        down, right = self._rng.integers(0, 2 * SHIFT + 1, 2)
        return _window(x, int(down), int(right)).contiguous(memory_format=torch.channels_last)


def _optimize(
    learned: list[nn.Parameter],
    loss: Callable[[], Tensor],
    steps: int,
    learning_rate: float,
    title: str,
    progress: bool,
) -> None:
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=1e-2)
    # Below this the schedule divides by zero; so few steps are only ever a trial.
    scheduled = max(steps, SHORTEST_SCHEDULE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=scheduled, pct_start=0.1
    )
    with progress_bar(title, steps, shown=progress) as advance:
        for _ in range(steps):
            value = loss()
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1, f"loss {value.item():.3f}")


def _save(network: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, partial)
    partial.replace(path)


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


def _shifted(pictures: Tensor) -> Tensor:
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    return _window(pictures, down, right)


def _window(pictures: Tensor, down: int, right: int) -> Tensor:
    side = pictures.shape[-1]
    padded = F.pad(pictures, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
    return padded[:, :, down : down + side, right : right + side]
