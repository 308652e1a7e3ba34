"""Networks that look at pictures, and tell how well they agree with captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.blocks import Standardize
from training.eyes import Eyes, make_eyes

SHIFT = 4
# A caption says what its code tells as surely as this; the rest it leaves open.
SURE = 0.8


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
        eyes: What the picture network is.
        heeded: Which attributes count in `misses`; None for all.
    """

    def __init__(
        self,
        code_dim: int = 256,
        attribute_sizes: Sequence[int] = (),
        eyes: Eyes = "learned",
        heeded: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        self.pictures = make_eyes(eyes, code_dim)
        self.standardize = Standardize(code_dim)
        self.said = nn.Sequential(
            nn.Linear(code_dim, 2 * code_dim), nn.GELU(), nn.Linear(2 * code_dim, code_dim)
        )
        self.log_scale = nn.Parameter(torch.tensor(3.0))
        self.shown_attributes = AttributeReader(code_dim, attribute_sizes)
        self.said_attributes = AttributeReader(code_dim, attribute_sizes, hidden=2 * code_dim)
        self._heeded = tuple(heeded or (True,) * len(attribute_sizes))

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

    def glance(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps alone of what `look` sees."""
        return self.pictures.features(_shifted(pictures))

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
        """How far pictures miss the heeded attributes that their captions state.

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
        for stated, drawn, heeded in zip(said, shown, self._heeded, strict=True):
            if not heeded:
                continue
            likely, value = stated.softmax(dim=1).max(dim=1)
            sure = (likely > SURE).float()
            missed = F.cross_entropy(drawn, value, reduction="none")
            total = total + (missed * sure).sum() / sure.sum().clamp(min=1.0)
            attributes = attributes + sure.max()
        return total / attributes.clamp(min=1.0)


def _shifted(pictures: Tensor) -> Tensor:
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    return window(pictures, down, right)


def window(pictures: Tensor, down: int, right: int) -> Tensor:
    """Cut ``(n, 3, r, r)`` out of itself with `SHIFT` pixels repeated around, from there on."""
    side = pictures.shape[-1]
    padded = F.pad(pictures, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
    return padded[:, :, down : down + side, right : right + side]
