"""Where pictures are drawn: what the engine asks of a backend, and what it gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from t2i.conditions import Condition
from t2i.errors import T2IError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2i.attention import WordMap
    from t2i.pictures import ImageFormat
    from t2i.pipeline import GenerationWarning, PipelineInfo

__all__ = [
    "Backend",
    "Batch",
    "Described",
    "Drawn",
    "Fine",
    "Item",
    "Packed",
    "Packing",
    "Towards",
    "WorkerLost",
    "model_key",
]


class WorkerLost(Exception):
    """A worker ended with the batch that it held. Drawing it again is worth trying."""


class _Version(Protocol):
    """What tells a version of a model from all others."""

    @property
    def name(self) -> str: ...

    @property
    def checksum(self) -> str: ...


def model_key(model: _Version) -> str:
    """Return what a backend and the engine call this very version of a model."""
    return f"{model.name}@{model.checksum}"


@dataclass(frozen=True, slots=True)
class Described:
    """A bundle whose files were checked, loaded or not.

    Attributes:
        info: what a pipeline of it says; the encoder's checksum only once it is loaded.
        weight_bytes: what the weights of its own networks take once loaded.
        encoder: id of its text model, which bundles share; empty without one.
        encoder_bytes: what the weights of that take; 0 where it is not known yet.
    """

    info: PipelineInfo
    weight_bytes: int
    encoder: str
    encoder_bytes: int


@dataclass(frozen=True, slots=True)
class Towards:
    """What a picture is on the way to.

    Attributes:
        condition: of the end; None for a model that draws by seed alone.
        seed: of the end.
        place: of the picture, 0 for the beginning to 1 for the end.
    """

    condition: Condition | None
    seed: int
    place: float


@dataclass(frozen=True, slots=True)
class Fine:
    """What the later stages of a picture follow.

    Attributes:
        condition: what.
        stage: number of the first stage that follows it, from 1.
    """

    condition: Condition
    stage: int


@dataclass(frozen=True, slots=True)
class Packing:
    """How a picture is sent.

    Attributes:
        format: of the file.
        quality: 1 to 100; None for the format's own.
        previews: whether the earlier stages are sent as well.
    """

    format: ImageFormat
    quality: int | None = None
    previews: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """One stage of a picture, as it is sent.

    Attributes:
        stage: its number, from 0.
        width: in pixels.
        height: in pixels.
        data: the file's bytes.
    """

    stage: int
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Item:
    """One picture to draw.

    Attributes:
        condition: what to draw; None for a model that draws by seed alone.
        seed: 0 to 2**63 - 1.
        truncation: scale of the noise, 0 to 1.
        conditioning_truncation: scale of the conditioning augmentation's noise, 0 to 1.
        towards: what it is on the way to; None for no way.
        fine: what its later stages follow; None for the condition.
        scored: whether to tell how well it agrees with its condition.
        attention: whether to tell where it looks at each word.
        packing: how the worker is to pack it; None where it is wanted as it is, as a candidate is
            that may not be chosen.
    """

    condition: Condition | None
    seed: int
    truncation: float = 1.0
    conditioning_truncation: float = 1.0
    towards: Towards | None = None
    fine: Fine | None = None
    scored: bool = False
    attention: bool = False
    packing: Packing | None = None

    @property
    def conditions(self) -> tuple[Condition | None, ...]:
        """All that it is asked with, its own condition first."""
        further = (self.towards, self.fine)
        return (self.condition, *(each.condition for each in further if each is not None))


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture at every stage.

    Attributes:
        pictures: one `(r, r, 3)` uint8 array a stage, coarse to fine; none where it is packed.
        warnings: what the person who asked should know.
        score: of the last stage; None where it was not asked for.
        attention: where it looked at each word; empty where it was not asked for.
        packed: the stages that are sent, coarse to fine; none where no packing was asked for.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    warnings: tuple[GenerationWarning, ...] = ()
    score: float | None = None
    attention: tuple[WordMap, ...] = ()
    packed: tuple[Packed, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some items that ran together.

    Attributes:
        outcomes: for each item its pictures, or why this item alone could not be drawn, or None
            when it was not wanted any more.
        encode_seconds: from conditions to embeddings.
        generate_seconds: what a worker took from embeddings to pictures.
        pack_seconds: and what it took to pack them.
    """

    outcomes: Sequence[Drawn | T2IError | None]
    encode_seconds: float
    generate_seconds: float
    pack_seconds: float = 0.0


GPU_BATCH = 16
# As many as share a forward pass on one core.
CPU_BATCH = 8


class Backend(Protocol):
    """Draws batches, `workers` of them at the same time.

    One batch more than that may be asked for. It is to be got ready (its conditions encoded) while
    the others are drawn, so that a worker starts on it as soon as it is free.
    """

    @property
    def workers(self) -> int:
        """How many batches may run at once; known once loaded."""

    @property
    def best_batch(self) -> int:
        """How many pictures a batch should have unless the settings say; known once loaded."""

    @property
    def copies(self) -> int:
        """How often a loaded model is in memory."""

    async def inspect(self, model: str) -> Described:
        """Check every file of a bundle, by its name or folder, and describe it; load nothing.

        Raises:
            T2IError: there is no such bundle, or it is damaged.
            WorkerLost: there was nobody to do it.
        """

    async def load(self, models: Sequence[str]) -> Sequence[Described]:
        """Load models by name or folder and warm them up; describe them in the same order.

        May be called again for more of them, while others draw.

        Raises:
            T2IError: a model cannot be loaded.
            WorkerLost: there was nobody to do it.
        """

    def moved(self, model: str, path: str) -> None:
        """Take note that a loaded model, by its `model_key`, is found in another folder now.

        Whoever has to load this very version once more takes it from there.
        """

    async def unload(self, model: str) -> None:
        """Give back the memory of a loaded model that nothing draws with; by its `model_key`."""

    async def run(
        self, model: str, items: Sequence[Item], begin: Callable[[], Sequence[bool]]
    ) -> Batch:
        """Draw items with a loaded model.

        Args:
            model: its `model_key`.
            items: what to draw.
            begin: to be called once, from any thread, when a worker starts on them; tells for each
                whether it is still wanted. What is not is not drawn.

        Raises:
            WorkerLost: the worker ended.
        """

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Have it told, on the event loop, when nothing can draw any more, and when it can again.

        Args:
            changed: called with whether anything can draw.
        """

    async def close(self) -> None:
        """Release the workers; batches that run are waited for."""
