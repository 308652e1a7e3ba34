"""What a pipeline is asked for and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from t2i.attributes import Attribute
from t2i.codes import CodePart
from t2i.conditions import Condition, ConditionKind
from t2i.pictures import GeneratedImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "Best",
    "Draw",
    "Fine",
    "Generation",
    "GenerationWarning",
    "PipelineInfo",
    "Stages",
    "Towards",
]

Stages = Literal["final", "all"] | Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Towards:
    """What a picture is on the way to; t2i/interpolation.py tells which way.

    Attributes:
        embedding: `(dim,)` float32, of the end.
        seed: of the end.
        place: of the picture, 0 for the beginning to 1 for the end.
    """

    embedding: Tensor
    seed: int
    place: float


@dataclass(frozen=True, slots=True, eq=False)
class Fine:
    """What the later stages of a picture follow.

    Attributes:
        embedding: `(dim,)` float32.
        stage: number of the first stage that follows it, from 1.
    """

    embedding: Tensor
    stage: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One picture to draw.

    Attributes:
        embedding: `(dim,)` float32, a row of what `Pipeline.encode` returned.
        seed: 0 to 2**63 - 1.
        truncation: scale of the noise, 0 to 1.
        conditioning_truncation: scale of the conditioning augmentation's noise, 0 to 1.
        towards: what it is on the way to; None for no way.
        fine: what its later stages follow; None for the same embedding. Not together with a way.
    """

    embedding: Tensor
    seed: int
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    towards: Towards | None = None
    fine: Fine | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """What was drawn for one `Draw`.

    Attributes:
        pictures: one `(r, r, 3)` uint8 array a stage, coarse to fine.
        seed: of these pictures; with one candidate that of the draw.
        score: of the last stage, -1 to 1; None where there was one candidate.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    seed: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class GenerationWarning:
    """Something to know about a generation that was carried out all the same.

    Attributes:
        reason: a stable name for programs: `"UNFAMILIAR_CONDITION"`.
        message: one sentence for people.
        distance: cosine distance to the nearest training caption, 0 to 2.
        threshold: the distance from which on this warning is given.
    """

    reason: Literal["UNFAMILIAR_CONDITION"]
    message: str
    distance: float
    threshold: float

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What was drawn.

    Attributes:
        images: the pictures at the finest stage asked for, one for each seed.
        previews: for each picture the earlier stages asked for, coarse to fine; often empty.
        warnings: what to know about the condition.
        model: name of the bundle.
        checksum: SHA-256 over the bundle's manifest; same checksum, condition, seed and options:
            same bytes.
        conditions: what each picture was asked with; None for one drawn by seed alone, and for one
            between two conditions.
    """

    images: tuple[GeneratedImage, ...]
    previews: tuple[tuple[GeneratedImage, ...], ...]
    warnings: tuple[GenerationWarning, ...]
    model: str
    checksum: str
    conditions: tuple[Condition | None, ...] = ()

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each picture."""
        return tuple(image.seed for image in self.images)

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The score of each picture; None where it is not the best of several."""
        return tuple(image.score for image in self.images)


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A loaded model.

    Attributes:
        name: what people call it.
        version: the author's version.
        checksum: SHA-256 over the bundle's manifest, hexadecimal.
        conditions: kinds of condition that it takes; empty when it draws by seed alone.
        resolutions: side of each stage's picture in pixels, ascending.
        encoder: id of the text encoder; empty when it takes no text.
        embedding_size: numbers in an embedding; 0 when it draws by seed alone.
        labels: names of its classes by number; empty when it has none.
        parameters: number of the generator's parameters.
        code: the parts of its code; empty when it takes none.
        attributes: its attributes; empty when it takes none.
        takes_fine: whether its later stages can follow another condition than the first.
        has_scorer: whether it can tell the best of several candidates.
        attention_words: how many tokens of a caption it attends to one by one; 0 when it reads
            captions as a whole.
    """

    name: str
    version: str
    checksum: str
    conditions: tuple[ConditionKind, ...]
    resolutions: tuple[int, ...]
    encoder: str
    embedding_size: int
    labels: tuple[str, ...]
    parameters: int
    code: tuple[CodePart, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    takes_fine: bool = False
    has_scorer: bool = False
    attention_words: int = 0
