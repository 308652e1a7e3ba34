"""From a bundle to pictures, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.attention import WordMap, maps_of_words
from t2i.bundle import Bundle
from t2i.codes import check_steps, sweep_codes
from t2i.compute import core_count, run_apart
from t2i.conditions import Code, Condition, Text, as_condition
from t2i.drawing import Generator, Inputs, draw_pictures
from t2i.encoders.bundled import BundleEncoders
from t2i.errors import BundleError, InvalidInput, shown
from t2i.generation import (
    Best,
    Draw,
    Fine,
    Generation,
    GenerationWarning,
    PipelineInfo,
    Stages,
    Towards,
)
from t2i.interpolation import between
from t2i.invariant import Proof, pad_rows
from t2i.networks.blocks import precompute
from t2i.noise import draw_noise
from t2i.pictures import GeneratedImage
from t2i.scoring import Scorer, score_pictures
from t2i.seeds import (
    MAX_BEST_OF,
    candidate_seeds,
    check_seed,
    places,
    random_seed,
    read_ends,
)
from t2i.takes import check_attention, check_best_of, fine_stage

if TYPE_CHECKING:
    from t2i.encoders.text import TextEncoder
    from t2i.networks import AttentionGenerator

__all__ = [
    "MAX_COUNT",
    "Best",
    "Draw",
    "Fine",
    "Generation",
    "GenerationWarning",
    "Pipeline",
    "PipelineInfo",
    "Towards",
    "describe_bundle",
]

MAX_COUNT = 1024
_CANDIDATES_AT_ONCE = 64


class Pipeline:
    """Draws pictures with one bundle. Safe to call from several threads.

    The same bundle, condition, seed and options give the same bytes, whatever else is drawn
    together with them; t2i/drawing.py tells how.

    Args:
        bundle: the model.
        device: where the generator and the text encoder compute; None for CUDA where there is
            one, else the CPU.
        encoder: the text encoder; None loads the one that the bundle names.
        share_encoder: use the text model of another pipeline of this process that shares its own,
            where it is the same: several bundles then take its memory once.

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
        share_encoder: bool = False,
    ) -> None:
        self.bundle = bundle
        self.device = _device(device)
        self._generator = _generator(bundle, self.device)
        self._proof = Proof(self._generator)
        self._encoders = BundleEncoders(bundle, self.device, encoder, share=share_encoder)
        if self._encoders.dim != self._generator.condition_dim:
            raise BundleError(
                f"bundle {bundle.folder}: its encoder gives {self._encoders.dim} numbers and its "
                f"generator takes {self._generator.condition_dim}; make it again"
            )
        text = self._encoders.text
        self.info = _info(bundle, self._generator, text.id if text else "")

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | os.PathLike[str] = "default",
        device: str | torch.device | None = None,
        *,
        encoder: TextEncoder | None = None,
        share_encoder: bool = False,
    ) -> Pipeline:
        """Load a bundle; see `Bundle.load` for what names one, and the class for the rest."""
        bundle = Bundle.load(path_or_name)
        return cls(bundle, device=device, encoder=encoder, share_encoder=share_encoder)

    def generate(
        self,
        condition: Condition | str | None = None,
        *,
        count: int = 1,
        seeds: Sequence[int] | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
        stages: Stages = "final",
        fine: Condition | str | None = None,
        fine_from: int | None = None,
        best_of: int = 1,
        attention: bool = False,
    ) -> Generation:
        """Draw pictures of one condition.

        Args:
            condition: a condition of a kind that the bundle takes, or a caption; None for a bundle
                that draws by seed alone, and for no other.
            count: number of pictures, 1 to `MAX_COUNT`; with seeds, their number.
            seeds: one seed a picture, 0 to 2**63 - 1; None draws new ones, and the result tells
                them.
            truncation: scale of the noise, 0 to 1: 1 as in training; less gives more alike and
                usually cleaner pictures; 0 one picture for each condition.
            conditioning_truncation: the same for the noise of the conditioning augmentation.
            stages: `"final"`, `"all"`, or the resolutions to return, each of the bundle's.
            fine: what the later stages follow; None for the condition. Only with a bundle whose
                `info.takes_fine` is true.
            fine_from: resolution of the first stage that follows `fine`, one of the bundle's but
                the first; None for the second.
            best_of: candidates for each picture, 1 to 16: the one that agrees best with the
                condition is kept, with its own seed and its score. The first candidate has the
                picture's seed, the others seeds that follow from it. Only with a bundle whose
                `info.has_scorer` is true, and not together with `fine`.
            attention: tell of each picture where it looked at each word of the caption, in
                `image.attention`. Only with a bundle whose `info.attention_words` is above 0, and
                not together with `fine`.

        Raises:
            InvalidInput: if an argument is not valid; names it.
        """
        asked, later = _condition(condition), _condition(fine)
        chosen = self._seeds(count, seeds)
        wanted = self._stages(stages)
        check_scale("truncation", truncation)
        check_scale("conditioning_truncation", conditioning_truncation)
        embedding = self.encode([asked])[0]
        followed: Fine | None = None
        if later is not None or fine_from is not None:
            stage = fine_stage(self.info, later, fine_from)
            followed = Fine(self.encode([later])[0], stage)
        check_best_of(self.info, best_of, alone=followed is None)
        check_attention(self.info, attention, asked, alone=followed is None)
        found = self.draw_best(
            [
                Draw(embedding, seed, truncation, conditioning_truncation, fine=followed)
                for seed in chosen
            ],
            best_of,
        )
        generation = self._generation(
            [best.pictures for best in found],
            [asked] * len(found),
            [best.seed for best in found],
            wanted,
            self._warnings(asked, later),
        )
        if best_of == 1 and not attention:
            return generation
        told = zip(generation.images, found, strict=True)
        images = tuple(replace(image, score=best.score) for image, best in told)
        if attention:
            draws = [
                Draw(embedding, best.seed, truncation, conditioning_truncation) for best in found
            ]
            maps = self.attention([asked] * len(draws), draws)
            images = tuple(
                replace(image, attention=each) for image, each in zip(images, maps, strict=True)
            )
        return replace(generation, images=images)

    def interpolate(
        self,
        a: Condition | str | None = None,
        b: Condition | str | None = None,
        *,
        steps: int = 8,
        seed: int | tuple[int, int] | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
    ) -> Generation:
        """Draw the way from one picture to another; t2i/interpolation.py tells which.

        Args:
            a: the first picture's condition; None for a bundle that draws by seed alone.
            b: the last picture's condition; None for the same.
            steps: number of pictures, the first and the last included, 2 to 1,024.
            seed: one seed for all pictures, or the first picture's and the last's; None draws one.
            truncation: as in `generate`.
            conditioning_truncation: as in `generate`.

        Returns:
            The pictures in order. The first and the last are those that `generate` draws; the
            seed of a picture between two different seeds is None.

        Raises:
            InvalidInput: if an argument is not valid; names it.
        """
        check_steps(steps)
        check_scale("truncation", truncation)
        check_scale("conditioning_truncation", conditioning_truncation)
        first, last = _condition(a), _condition(a if b is None else b)
        one, other = read_ends(seed)
        start, stop = self.encode([first, last])
        drawn = self.draw(
            [
                Draw(start, one, truncation, conditioning_truncation, Towards(stop, other, place))
                for place in places(steps)
            ]
        )
        asks = [first, *[first if first == last else None] * (steps - 2), last]
        seeds = [one, *[one if one == other else None] * (steps - 2), other]
        warnings = self._warnings(first, last)
        return self._generation(drawn, asks, seeds, self._stages("final"), warnings)

    def sweep(
        self,
        part: str,
        *,
        start: Code | None = None,
        steps: int | None = None,
        seed: int | None = None,
        truncation: float = 1.0,
        conditioning_truncation: float = 1.0,
    ) -> Generation:
        """Draw what one part of the code does: all its categories, or its range, at one seed.

        Args:
            part: name of the part; of a part of several numbers one of them, such as `"pose[1]"`.
            start: the values of the other parts; None for the first categories and the middles.
            steps: pictures along a continuous part, its ends included, 2 to 1,024; None for 8. A
                categorical part has one picture for each category.
            seed: of all pictures; None draws one.
            truncation: as in `generate`.
            conditioning_truncation: as in `generate`.

        Returns:
            The pictures in order; `conditions` are their codes, and each is the picture that
            `generate` draws of its code and the seed.

        Raises:
            InvalidInput: if the bundle takes no code or an argument is not valid; names it.
        """
        codes = sweep_codes(self.info.code, part, start=start, steps=steps)
        chosen = random_seed() if seed is None else check_seed("seed", seed)
        check_scale("truncation", truncation)
        check_scale("conditioning_truncation", conditioning_truncation)
        drawn = self.draw(
            [
                Draw(embedding, chosen, truncation, conditioning_truncation)
                for embedding in self.encode(codes)
            ]
        )
        return self._generation(drawn, codes, [chosen] * len(codes), self._stages("final"), ())

    def encode(self, conditions: Sequence[Condition | str | None]) -> Tensor:
        """Return the embeddings of conditions, `(n, dim)` float32 on the CPU.

        Args:
            conditions: of kinds that the bundle takes, or captions; None, whose embedding is
                `(0,)`, for a bundle that draws by seed alone, and for no other.

        Raises:
            InvalidInput: if a condition is missing or of a kind that the bundle does not take, or
                its values (a label, a number of a code, an attribute) are not the bundle's.
        """
        return self._encoders.encode([_condition(condition) for condition in conditions])

    def draw(
        self, draws: Sequence[Draw], *, cores: int | None = None
    ) -> list[tuple[NDArray[np.uint8], ...]]:
        """Draw pictures of any conditions, seeds and options together.

        Args:
            draws: what to draw.
            cores: how many of the CPU's cores to keep busy; None for all. Give 1 where several
                threads draw at once. The pictures are the same.

        Returns:
            For each draw one `(r, r, 3)` uint8 array a stage, coarse to fine. They do not depend
            on the other draws.

        Raises:
            InvalidInput: if a draw is not valid; names it.
        """
        inputs: list[Inputs] = []
        for index, draw in enumerate(draws):
            field = f"draws[{index}]"
            check_scale(f"{field}.truncation", draw.truncation)
            check_scale(f"{field}.conditioning_truncation", draw.conditioning_truncation)
            one = self._inputs(draw, field, draw.embedding, draw.seed)
            if draw.towards is not None:
                end, field = draw.towards, f"{field}.towards"
                check_scale(f"{field}.place", end.place)
                last = self._inputs(draw, field, end.embedding, end.seed)
                one = between(one, last, end.place)
            elif draw.fine is not None:
                fine = draw.fine
                self._check_embedding(f"{field}.fine", fine.embedding)
                if not self.info.takes_fine or not 1 <= fine.stage < len(self.info.resolutions):
                    raise InvalidInput(
                        f"{field}.fine.stage",
                        fine.stage,
                        f"{self.info.name} has no stage {fine.stage} that can follow it",
                        "give 1 or the number of a later stage, where info.takes_fine is true",
                    )
                one = replace(one, fine=fine.embedding, fine_from=fine.stage)
            inputs.append(one)
        return draw_pictures(
            self._generator,
            inputs,
            self.device,
            self._value_range,
            proof=self._proof,
            cores=cores,
        )

    def draw_best(self, draws: Sequence[Draw], best_of: int) -> list[Best]:
        """Draw several candidates for each draw and keep the one that scores best.

        Args:
            draws: what to draw; with more than one candidate neither on a way nor with `fine`.
            best_of: candidates for each, 1 to 16; with 1 nothing is scored.

        Raises:
            InvalidInput: if a draw is not valid, or there is no scorer; names it.
        """
        check_best_of(
            self.info, best_of, alone=all(not draw.towards and not draw.fine for draw in draws)
        )
        if best_of == 1:
            drawn = self.draw(draws)
            return [Best(each, draw.seed) for each, draw in zip(drawn, draws, strict=True)]
        best: list[Best] = []
        # Candidates of a few pictures at a time: all of them would fill the memory.
        at_once = max(1, _CANDIDATES_AT_ONCE // best_of)
        for start in range(0, len(draws), at_once):
            candidates = [
                replace(draw, seed=seed)
                for draw in draws[start : start + at_once]
                for seed in candidate_seeds(check_seed("seed", draw.seed), best_of)
            ]
            drawn = self.draw(candidates)
            scores = self.score(
                [stages[-1] for stages in drawn], [draw.embedding for draw in candidates]
            )
            for first in range(0, len(candidates), best_of):
                place = max(range(first, first + best_of), key=scores.__getitem__)
                best.append(Best(drawn[place], candidates[place].seed, scores[place]))
        return best

    def score(
        self,
        pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        embeddings: Sequence[Tensor],
    ) -> list[float]:
        """Return how well pictures agree with conditions in the eyes of the bundle's scorer.

        Args:
            pictures: `(r, r, 3)` uint8 each.
            embeddings: `(dim,)` each, of what the picture should show, from `encode`.

        Returns:
            For each picture -1 to 1, higher is better. Only the scores of pictures of one condition
            can be compared. They do not depend on the other pictures.

        Raises:
            InvalidInput: if the bundle has no scorer.
        """
        check_best_of(self.info, MAX_BEST_OF)
        return score_pictures(self._scorer, zip(pictures, embeddings, strict=True))

    def attention(
        self, conditions: Sequence[Condition | str | None], draws: Sequence[Draw]
    ) -> list[tuple[WordMap, ...]]:
        """Return where pictures look at each word, at the last stage that attends to words.

        Args:
            conditions: the captions.
            draws: what is drawn of each, on no way and without `fine`; their embeddings are those
                of the captions.

        Raises:
            InvalidInput: if the bundle reads captions as a whole, a condition is no caption, or a
                draw is not valid.
        """
        network, text = cast("AttentionGenerator", self._generator), self._encoders.text
        inputs = []
        for index, (condition, draw) in enumerate(zip(conditions, draws, strict=True)):
            alone = draw.towards is None and draw.fine is None
            check_attention(self.info, True, _condition(condition), alone=alone)
            inputs.append(self._inputs(draw, f"draws[{index}]", draw.embedding, draw.seed))
        assert text is not None

        def looked(one: Inputs) -> NDArray[np.float32]:
            vectors = (one.embedding, one.noise, one.conditioning_noise)
            rows = (vector.clone()[None].to(self.device) for vector in vectors)
            maps: NDArray[np.float32] = network.attention_maps(*rows)[-1][0].cpu().numpy()
            return maps

        tokens = [text.tokens(_text(condition)) for condition in conditions]
        maps = run_apart(looked, inputs)
        return [maps_of_words(*pair) for pair in zip(tokens, maps, strict=True)]

    @cached_property
    def _scorer(self) -> Scorer:
        # Loaded when it is first needed: most pipelines never choose between pictures.
        return cast("Scorer", self.bundle.scorer())

    def warnings(self, condition: Condition | str | None) -> tuple[GenerationWarning, ...]:
        """Return what to know about a condition before drawing it.

        A caption far from the captions that the model was trained on is named with its distance,
        if the bundle knows its training captions.
        """
        return self._encoders.warnings(_condition(condition))

    def warm_up(self) -> None:
        """Draw a picture of nothing, so that the first real one is not slower than the rest.

        On the CPU this also finds out whether pictures may be drawn together.
        """
        self.draw(
            [Draw(torch.zeros(self.info.embedding_size), seed) for seed in range(core_count())]
        )
        _ = self.draws_together
        if self._encoders.text is not None:
            self._encoders.text.encode(["a picture"])

    def read_all(self) -> None:
        """Read what of the bundle is otherwise read when it is first needed.

        After that the bundle's folder may be replaced by another version.
        """
        if self.bundle.config.scorer is not None:
            _ = self._scorer

    @property
    def draws_together(self) -> bool:
        """Whether pictures are drawn several at a time; the first to ask on the CPU waits for it.

        There the generator is tried first: if a picture's numbers changed with its company, each
        would be drawn alone, slower and with the same bytes. Always true on CUDA.
        """
        return self.device.type != "cpu" or self._proof.holds()

    @property
    def _value_range(self) -> tuple[float, float]:
        return self.bundle.config.value_range

    def _inputs(self, draw: Draw, field: str, embedding: Tensor, seed: int) -> Inputs:
        """Return what an embedding and a seed are drawn from with the options of a draw."""
        self._check_embedding(field, embedding)
        noise, conditioning_noise = draw_noise(
            check_seed(f"{field}.seed", seed),
            self._generator.noise_dim,
            self._generator.conditioning_dim,
        )
        return Inputs(
            embedding,
            noise * draw.truncation,
            conditioning_noise * draw.conditioning_truncation,
        )

    def _check_embedding(self, field: str, embedding: Tensor) -> None:
        if embedding.shape != (self.info.embedding_size,):
            raise InvalidInput(
                f"{field}.embedding",
                tuple(embedding.shape),
                f"has shape {tuple(embedding.shape)}",
                f"give ({self.info.embedding_size},)",
            )

    def _warnings(self, *conditions: Condition | None) -> tuple[GenerationWarning, ...]:
        """Return what to know about some conditions, each warning once."""
        found = (warning for each in dict.fromkeys(conditions) for warning in self.warnings(each))
        return tuple(dict.fromkeys(found))

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
        conditions: Sequence[Condition | None],
        seeds: Sequence[int | None],
        wanted: tuple[int, ...],
        warnings: tuple[GenerationWarning, ...],
    ) -> Generation:
        images = [
            tuple(GeneratedImage(pictures[place], seed) for place in wanted)
            for pictures, seed in zip(drawn, seeds, strict=True)
        ]
        return Generation(
            images=tuple(image[-1] for image in images),
            previews=tuple(image[:-1] for image in images),
            warnings=warnings,
            model=self.info.name,
            checksum=self.info.checksum,
            conditions=tuple(conditions),
        )


def describe_bundle(bundle: Bundle) -> PipelineInfo:
    """Return what a pipeline of a bundle would say of it, without its text encoder being loaded.

    `encoder` is as the bundle names it; a loaded pipeline tells the checksum of what reads captions
    with it.

    Raises:
        BundleError: if the generator does not fit its description.
    """
    encoder = bundle.config.encoder if "text" in bundle.config.conditions else None
    generator = _generator(bundle, torch.device("cpu"))
    return _info(bundle, generator, "" if encoder is None else encoder.id)


def _info(bundle: Bundle, generator: Generator, encoder: str) -> PipelineInfo:
    config = bundle.config
    words = 0 if config.encoder is None else config.encoder.words
    return PipelineInfo(
        name=config.name,
        version=config.version,
        checksum=bundle.checksum,
        conditions=config.conditions,
        resolutions=config.resolutions,
        encoder=encoder,
        embedding_size=generator.condition_dim,
        labels=config.labels,
        parameters=sum(p.numel() for p in generator.parameters()),
        code=config.code,
        attributes=config.attributes,
        takes_fine=bool(config.conditions)
        and len(config.resolutions) > 1
        and bool(getattr(generator, "takes_fine", False)),
        has_scorer=bool(config.conditions) and config.scorer is not None,
        attention_words=words if hasattr(generator, "attention_maps") else 0,
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
    precompute(network)
    if device.type == "cpu":
        pad_rows(network)
    return generator


def _condition(value: Condition | str | None) -> Condition | None:
    return None if value is None else as_condition(value)


def _text(condition: Condition | str | None) -> str:
    asked = _condition(condition)
    assert isinstance(asked, Text)
    return asked.text
