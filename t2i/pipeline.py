"""From a bundle to pictures, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.bundle import STATISTICS, Bundle
from t2i.compute import core_count
from t2i.conditions import Condition, ConditionKind, Label, Text, as_condition
from t2i.drawing import Generator, Inputs, draw_pictures
from t2i.encoders.labels import LabelEncoder
from t2i.errors import BundleError, InvalidInput, shown
from t2i.noise import check_seed, draw_noise, random_seed, slerp
from t2i.pictures import GeneratedImage

if TYPE_CHECKING:
    from t2i.encoders.familiarity import Familiarity
    from t2i.encoders.text import TextEncoder

__all__ = ["MAX_COUNT", "Draw", "Generation", "GenerationWarning", "Pipeline", "PipelineInfo"]

MAX_COUNT = 1024
MAX_STEPS = 1024

Stages = Literal["final", "all"] | Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One picture to draw.

    Attributes:
        embedding: `(dim,)` float32, a row of what `Pipeline.encode` returned.
        seed: 0 to 2**63 - 1.
        truncation: scale of the noise, 0 to 1.
        conditioning_truncation: scale of the conditioning augmentation's noise, 0 to 1.
    """

    embedding: Tensor
    seed: int
    truncation: float = 1.0
    conditioning_truncation: float = 1.0


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
    """

    images: tuple[GeneratedImage, ...]
    previews: tuple[tuple[GeneratedImage, ...], ...]
    warnings: tuple[GenerationWarning, ...]
    model: str
    checksum: str

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each picture."""
        return tuple(image.seed for image in self.images)


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A loaded model.

    Attributes:
        name: what people call it.
        version: the author's version.
        checksum: SHA-256 over the bundle's manifest, hexadecimal.
        conditions: kinds of condition that it takes.
        resolutions: side of each stage's picture in pixels, ascending.
        encoder: id of the text encoder; empty when it takes no text.
        embedding_size: numbers in an embedding.
        labels: names of its classes by number; empty when it has none.
        parameters: number of the generator's parameters.
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


class Pipeline:
    """Draws pictures with one bundle. Safe to call from several threads.

    The same bundle, condition, seed and options give the same bytes, whatever else is drawn
    together with them; t2i/drawing.py tells how.

    Args:
        bundle: the model.
        device: where the generator and the text encoder compute; None for CUDA where there is
            one, else the CPU.
        encoder: the text encoder; None loads the one that the bundle names.

    Raises:
        BundleError: if the bundle's parts do not fit each other.
        EncoderUnavailable: if the text encoder cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str | torch.device | None = None,
        encoder: TextEncoder | None = None,
    ) -> None:
        config = bundle.config
        self.bundle = bundle
        self.device = _device(device)
        self._generator = _generator(bundle, self.device)
        self._labels = LabelEncoder(config.labels) if "label" in config.conditions else None
        self._encoder: TextEncoder | None = None
        self._familiarity: Familiarity | None = None
        if "text" in config.conditions:
            self._encoder = encoder or _text_encoder(bundle, self.device)
            self._familiarity = _familiarity(bundle)
        for encoder_dim in (part.dim for part in (self._encoder, self._labels) if part):
            if encoder_dim != self._generator.condition_dim:
                raise BundleError(
                    f"bundle {bundle.folder}: its encoder gives {encoder_dim} numbers and its "
                    f"generator takes {self._generator.condition_dim}; make it again"
                )
        self.info = PipelineInfo(
            name=config.name,
            version=config.version,
            checksum=bundle.checksum,
            conditions=config.conditions,
            resolutions=config.resolutions,
            encoder=self._encoder.id if self._encoder else "",
            embedding_size=self._generator.condition_dim,
            labels=config.labels,
            parameters=sum(p.numel() for p in self._generator.parameters()),
        )

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | os.PathLike[str] = "default",
        device: str | torch.device | None = None,
        *,
        encoder: TextEncoder | None = None,
    ) -> Pipeline:
        """Load a bundle; see `Bundle.load` for what names one, and the class for the rest."""
        return cls(Bundle.load(path_or_name), device=device, encoder=encoder)

    def generate(
        self,
        condition: Condition | str,
        *,
        count: int = 1,
        seeds: Sequence[int] | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        stages: Stages = "final",
    ) -> Generation:
        """Draw pictures of one condition.

        Args:
            condition: a condition of a kind that the bundle takes, or a caption.
            count: number of pictures, 1 to `MAX_COUNT`; with seeds, their number.
            seeds: one seed a picture, 0 to 2**63 - 1; None draws new ones, and the result tells
                them.
            truncation: scale of the noise, 0 to 1: 1 as in training; less gives more alike and
                usually cleaner pictures; 0 one picture for each condition.
            conditioning_truncation: the same for the noise of the conditioning augmentation.
            stages: `"final"`, `"all"`, or the resolutions to return, each of the bundle's.

        Raises:
            InvalidInput: if an argument is not valid; names it.
        """
        condition = as_condition(condition)
        chosen = self._seeds(count, seeds)
        places = self._stages(stages)
        check_scale("truncation", truncation)
        check_scale("conditioning_truncation", conditioning_truncation)
        embedding = self.encode([condition])[0]
        drawn = self.draw(
            [Draw(embedding, seed, truncation, conditioning_truncation) for seed in chosen]
        )
        return self._generation(drawn, chosen, places, self.warnings(condition))

    def interpolate(
        self,
        a: Condition | str,
        b: Condition | str | None = None,
        *,
        steps: int = 8,
        seed: int | tuple[int, int] | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
    ) -> Generation:
        """Draw the way from one picture to another.

        Embeddings change along the straight line between the captions, as generators trained by
        GAN-INT have seen them (Reed et al., 2016, arXiv:1605.05396, section 4.3); noise changes
        along the great arc between the seeds.

        Args:
            a: the first picture's condition.
            b: the last picture's condition; None for the same.
            steps: number of pictures, the first and the last included, 2 to `MAX_STEPS`.
            seed: one seed for all pictures, or the first picture's and the last's; None draws one.
            truncation: as in `generate`.
            conditioning_truncation: as in `generate`.

        Returns:
            The pictures in order. The first and the last are those that `generate` draws; the
            seed of a picture between two different seeds is None.

        Raises:
            InvalidInput: if an argument is not valid; names it.
        """
        if not isinstance(steps, int) or isinstance(steps, bool) or not 2 <= steps <= MAX_STEPS:
            raise InvalidInput(
                "steps", steps, f"{shown(steps)} is out of range", f"give 2 to {MAX_STEPS}"
            )
        check_scale("truncation", truncation)
        check_scale("conditioning_truncation", conditioning_truncation)
        first, last = as_condition(a), as_condition(a if b is None else b)
        ends = self._ends(seed)
        start, stop = self.encode([first, last])
        noises = [self._noise(s, truncation, conditioning_truncation) for s in ends]
        inputs: list[Inputs] = []
        seeds: list[int | None] = []
        for step in range(steps):
            t = step / (steps - 1)
            same = ends[0] == ends[1]
            noise, conditioning_noise = (
                start_noise if same else slerp(start_noise, stop_noise, t)
                for start_noise, stop_noise in zip(*noises, strict=True)
            )
            inputs.append(Inputs(torch.lerp(start, stop, t), noise, conditioning_noise))
            seeds.append(ends[0] if same or step == 0 else ends[1] if step == steps - 1 else None)
        drawn = draw_pictures(self._generator, inputs, self.device, self._value_range)
        warnings = self.warnings(first)
        warnings += tuple(w for w in self.warnings(last) if w not in warnings)
        return self._generation(drawn, seeds, (len(self.info.resolutions) - 1,), warnings)

    def encode(self, conditions: Sequence[Condition | str]) -> Tensor:
        """Return the embeddings of conditions, `(n, dim)` float32 on the CPU.

        Raises:
            InvalidInput: if a condition is of a kind that the bundle does not take, or a label is
                not known.
        """
        embeddings = torch.empty(len(conditions), self.info.embedding_size)
        texts: dict[int, str] = {}
        for index, condition in enumerate(map(as_condition, conditions)):
            if isinstance(condition, Text) and self._encoder:
                texts[index] = condition.text
            elif isinstance(condition, Label) and self._labels:
                embeddings[index] = self._labels.encode([condition])[0]
            else:
                raise InvalidInput(
                    "condition",
                    condition,
                    f"{self.info.name} takes no {condition.kind}",
                    f"give {' or '.join(self.info.conditions)}",
                )
        if texts and self._encoder:
            embeddings[list(texts)] = self._encoder.encode(list(texts.values()))
        return embeddings

    def draw(self, draws: Sequence[Draw]) -> list[tuple[NDArray[np.uint8], ...]]:
        """Draw pictures of any conditions, seeds and options together.

        Returns:
            For each draw one `(r, r, 3)` uint8 array a stage, coarse to fine. They do not depend
            on the other draws.

        Raises:
            InvalidInput: if a draw is not valid; names it.
        """
        inputs: list[Inputs] = []
        for index, draw in enumerate(draws):
            field = f"draws[{index}]"
            if draw.embedding.shape != (self.info.embedding_size,):
                raise InvalidInput(
                    f"{field}.embedding",
                    tuple(draw.embedding.shape),
                    f"has shape {tuple(draw.embedding.shape)}",
                    f"give ({self.info.embedding_size},)",
                )
            check_seed(f"{field}.seed", draw.seed)
            check_scale(f"{field}.truncation", draw.truncation)
            check_scale(f"{field}.conditioning_truncation", draw.conditioning_truncation)
            noise = self._noise(draw.seed, draw.truncation, draw.conditioning_truncation)
            inputs.append(Inputs(draw.embedding, *noise))
        return draw_pictures(self._generator, inputs, self.device, self._value_range)

    def warnings(self, condition: Condition | str) -> tuple[GenerationWarning, ...]:
        """Return what to know about a condition before drawing it.

        A caption far from the captions that the model was trained on is named with its distance,
        if the bundle knows its training captions.
        """
        condition = as_condition(condition)
        if not isinstance(condition, Text) or self._encoder is None or self._familiarity is None:
            return ()
        sentence = self._encoder.sentences([condition.text])
        distance = float(self._familiarity.distances(sentence)[0])
        threshold = self._familiarity.threshold
        if distance <= threshold:
            return ()
        message = (
            f"The caption is unlike those that {self.info.name} was trained on (distance "
            f"{distance:.2f}, ordinary up to {threshold:.2f}): the picture may not follow it."
        )
        return (GenerationWarning("UNFAMILIAR_CONDITION", message, distance, threshold),)

    def warm_up(self) -> None:
        """Draw a picture of nothing, so that the first real one is not slower than the rest."""
        self.draw(
            [Draw(torch.zeros(self.info.embedding_size), seed) for seed in range(core_count())]
        )
        if self._encoder is not None:
            self._encoder.encode(["a picture"])

    @property
    def _value_range(self) -> tuple[float, float]:
        return self.bundle.config.value_range

    def _noise(
        self, seed: int, truncation: float, conditioning_truncation: float
    ) -> tuple[Tensor, Tensor]:
        noise, conditioning_noise = draw_noise(
            seed, self._generator.noise_dim, self._generator.conditioning_dim
        )
        return noise * truncation, conditioning_noise * conditioning_truncation

    def _seeds(self, count: int, seeds: Sequence[int] | None) -> list[int]:
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
            raise InvalidInput(
                "count", count, f"{shown(count)} is out of range", f"give 1 to {MAX_COUNT}"
            )
        if seeds is None:
            return [random_seed() for _ in range(count)]
        if isinstance(seeds, str) or not isinstance(seeds, Sequence):
            raise InvalidInput("seeds", seeds, f"{shown(seeds)} is no list", "give a list of seeds")
        if count not in (1, len(seeds)) or not 1 <= len(seeds) <= MAX_COUNT:
            wanted = f"{count}" if count != 1 else f"1 to {MAX_COUNT}"
            raise InvalidInput("seeds", seeds, f"has {len(seeds)} seeds", f"give {wanted}")
        return [check_seed(f"seeds[{index}]", seed) for index, seed in enumerate(seeds)]

    def _ends(self, seed: int | tuple[int, int] | None) -> tuple[int, int]:
        if isinstance(seed, tuple | list):
            if len(seed) != 2:
                raise InvalidInput("seed", seed, f"has {len(seed)} seeds", "give one or two")
            return check_seed("seed[0]", seed[0]), check_seed("seed[1]", seed[1])
        one = random_seed() if seed is None else check_seed("seed", seed)
        return one, one

    def _stages(self, stages: Stages) -> tuple[int, ...]:
        """Return the places of the stages asked for, ascending."""
        known = self.info.resolutions
        if stages == "final":
            return (len(known) - 1,)
        if stages == "all":
            return tuple(range(len(known)))
        remedy = f"give final, all, or some of {', '.join(map(str, known))}"
        if isinstance(stages, str) or not isinstance(stages, Sequence) or not stages:
            raise InvalidInput("stages", stages, f"{shown(stages)} is not known", remedy)
        for stage in stages:
            if stage not in known:
                raise InvalidInput("stages", stage, f"{shown(stage)} is no stage", remedy)
        return tuple(sorted({known.index(stage) for stage in stages}))

    def _generation(
        self,
        drawn: Sequence[tuple[NDArray[np.uint8], ...]],
        seeds: Sequence[int | None],
        places: tuple[int, ...],
        warnings: tuple[GenerationWarning, ...],
    ) -> Generation:
        images = [
            tuple(GeneratedImage(pictures[place], seed) for place in places)
            for pictures, seed in zip(drawn, seeds, strict=True)
        ]
        return Generation(
            images=tuple(image[-1] for image in images),
            previews=tuple(image[:-1] for image in images),
            warnings=warnings,
            model=self.info.name,
            checksum=self.info.checksum,
        )


def check_scale(field: str, value: object) -> None:
    """Check a truncation.

    Raises:
        InvalidInput: if it is not a number from 0 to 1.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InvalidInput(field, value, f"{shown(value)} is out of range", "give 0 to 1")


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InvalidInput(
            "device", device, f"{shown(str(device))} cannot be used ({reason})", "give cpu or cuda"
        ) from error
    return chosen


def _generator(bundle: Bundle, device: torch.device) -> Generator:
    network = bundle.generator(device).to(memory_format=torch.channels_last)
    for name in ("condition_dim", "noise_dim", "conditioning_dim", "resolutions"):
        if not hasattr(network, name):
            raise BundleError(
                f"bundle {bundle.folder}: {bundle.config.network.class_name} draws no pictures; "
                "name a generator in config.json"
            )
    generator = cast("Generator", network)
    if tuple(generator.resolutions) != bundle.config.resolutions:
        raise BundleError(
            f"bundle {bundle.folder}: its generator draws at {tuple(generator.resolutions)} and "
            f"config.json says {bundle.config.resolutions}; make it again"
        )
    return generator


def _text_encoder(bundle: Bundle, device: torch.device) -> TextEncoder:
    from t2i.encoders.loading import load_text_encoder

    config = bundle.config.encoder
    assert config is not None
    words = load_text_encoder(config.id, device)
    network = bundle.encoder_network(device)
    if network is None:
        return words
    from t2i.encoders.captions import CaptionEncoder
    from t2i.networks import CaptionNetwork

    if not isinstance(network, CaptionNetwork):
        raise BundleError(
            f"bundle {bundle.folder}: encoder.network {type(network).__name__} reads no captions; "
            "name CaptionNetwork in config.json"
        )
    return CaptionEncoder(words, network)


def _familiarity(bundle: Bundle) -> Familiarity | None:
    if not bundle.has_state(STATISTICS):
        return None
    from t2i.encoders.familiarity import Familiarity

    try:
        return Familiarity.from_statistics(bundle.state(STATISTICS))
    except InvalidInput as error:
        raise BundleError(f"bundle {bundle.folder}: {error}") from error
