"""From a condition to pictures, in one call and in this process: what people ask a model for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from t2i.codes import check_steps, sweep_codes
from t2i.conditions import Code, Condition, as_condition_or_none
from t2i.errors import InvalidInput, shown
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
from t2i.loaded_model import LoadedModel, check_scale, describe_bundle
from t2i.pictures import GeneratedImage
from t2i.seeds import (
    MAX_COUNT,
    candidate_seeds,
    check_seed,
    places,
    random_seed,
    read_ends,
    read_seeds,
)
from t2i.takes import check_attention, check_best_of, fine_stage

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

_CANDIDATES_AT_ONCE = 64


class Pipeline(LoadedModel):
    """A loaded model that answers with pictures in one call: of a condition, a way, a sweep.

    `from_pretrained` makes one of a bundle's name or folder, and `Pipeline(bundle)` of a `Bundle`;
    `LoadedModel` tells the other arguments, and the steps that these calls are made of. Safe to
    call from several threads.
    """

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
        asked, later = as_condition_or_none(condition), as_condition_or_none(fine)
        chosen = read_seeds(count, seeds)
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
        first, last = as_condition_or_none(a), as_condition_or_none(a if b is None else b)
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

    def _warnings(self, *conditions: Condition | None) -> tuple[GenerationWarning, ...]:
        """Return what to know about some conditions, each warning once."""
        found = (warning for each in dict.fromkeys(conditions) for warning in self.warnings(each))
        return tuple(dict.fromkeys(found))

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
