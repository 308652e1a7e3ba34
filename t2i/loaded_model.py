"""A bundle in memory: the steps from conditions to pictures, each for any number of askers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i.attention import WordMap, maps_of_words
from t2i.bundle import Bundle
from t2i.compute import core_count, run_apart
from t2i.conditions import Condition, Text, as_condition_or_none
from t2i.drawing import Generator, Inputs, draw_pictures
from t2i.encoders.bundled import BundleEncoders
from t2i.errors import BundleError, InvalidInput, shown
from t2i.generation import Draw, GenerationWarning, PipelineInfo
from t2i.interpolation import between
from t2i.invariant import Proof, pad_rows
from t2i.networks.blocks import precompute
from t2i.noise import draw_noise
from t2i.scoring import Scorer, score_pictures
from t2i.seeds import MAX_BEST_OF, check_seed
from t2i.takes import check_attention, check_best_of

if TYPE_CHECKING:
    from t2i.encoders.text import TextEncoder
    from t2i.networks import AttentionGenerator

__all__ = ["LoadedModel", "check_scale", "describe_bundle"]


class LoadedModel:
    """Encodes conditions, draws embeddings with their seeds, and scores pictures.

    Each is a step of its own, so that pictures of several askers can share it, as those of a
    server's callers do; whoever wants a condition's pictures in one call takes the `Pipeline`.
    Safe to call from several threads.

    The same bundle, condition, seed and options give the same bytes, whatever else is drawn
    together with them; t2i/drawing.py tells how.

    Args:
        bundle: the model.
        device: where the generator and the text encoder compute; None for CUDA where there is
            one, else the CPU.
        encoder: the text encoder; None loads the one that the bundle names.
        share_encoder: use the text model of another loaded model of this process that shares its
            own, where it is the same: several bundles then take its memory once.

    Attributes:
        bundle: the model as it lies on the disk.
        device: where the generator computes.
        info: what it is, and what it can be asked with.

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
    ) -> Self:
        """Load a bundle; see `Bundle.load` for what names one, and the class for the rest."""
        bundle = Bundle.load(path_or_name)
        return cls(bundle, device=device, encoder=encoder, share_encoder=share_encoder)

    def encode(self, conditions: Sequence[Condition | str | None]) -> Tensor:
        """Return the embeddings of conditions, `(n, dim)` float32 on the CPU.

        Args:
            conditions: of kinds that the bundle takes, or captions; None, whose embedding is
                `(0,)`, for a bundle that draws by seed alone, and for no other.

        Raises:
            InvalidInput: if a condition is missing or of a kind that the bundle does not take, or
                its values (a label, a number of a code, an attribute) are not the bundle's.
        """
        return self._encoders.encode([as_condition_or_none(condition) for condition in conditions])

    def warnings(self, condition: Condition | str | None) -> tuple[GenerationWarning, ...]:
        """Return what to know about a condition before drawing it.

        A caption far from the captions that the model was trained on is named with its distance,
        if the bundle knows its training captions.
        """
        return self._encoders.warnings(as_condition_or_none(condition))

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
        captions, inputs = list[str](), list[Inputs]()
        for index, (condition, draw) in enumerate(zip(conditions, draws, strict=True)):
            asked = as_condition_or_none(condition)
            alone = draw.towards is None and draw.fine is None
            check_attention(self.info, True, asked, alone=alone)
            assert isinstance(asked, Text)
            captions.append(asked.text)
            inputs.append(self._inputs(draw, f"draws[{index}]", draw.embedding, draw.seed))
        assert text is not None

        def looked(one: Inputs) -> NDArray[np.float32]:
            vectors = (one.embedding, one.noise, one.conditioning_noise)
            rows = (vector.clone()[None].to(self.device) for vector in vectors)
            maps: NDArray[np.float32] = network.attention_maps(*rows)[-1][0].cpu().numpy()
            return maps

        tokens = [text.tokens(caption) for caption in captions]
        maps = run_apart(looked, inputs)
        return [maps_of_words(*pair) for pair in zip(tokens, maps, strict=True)]

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

    @cached_property
    def _scorer(self) -> Scorer:
        # Loaded when it is first needed: most models never choose between pictures.
        return cast("Scorer", self.bundle.scorer())

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


def describe_bundle(bundle: Bundle) -> PipelineInfo:
    """Return what `LoadedModel.info` would say of a bundle, without its text encoder being loaded.

    `encoder` is as the bundle names it; a loaded model tells the checksum of what reads captions
    with it.

    Raises:
        BundleError: if the generator does not fit its description.
    """
    encoder = bundle.config.encoder if "text" in bundle.config.conditions else None
    generator = _generator(bundle, torch.device("cpu"))
    return _info(bundle, generator, "" if encoder is None else encoder.id)


def check_scale(field: str, value: object) -> None:
    """Check a truncation, or a place on a way.

    Raises:
        InvalidInput: if it is not a number from 0 to 1.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InvalidInput(field, value, f"{shown(value)} is out of range", "give 0 to 1")


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
