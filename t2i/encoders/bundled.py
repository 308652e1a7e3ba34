"""The encoders of a bundle: each kind of condition that it takes, to an embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from t2i.bundle import STATISTICS, Bundle
from t2i.conditions import Condition, ConditionKind, Text
from t2i.encoders.attributes import AttributesEncoder
from t2i.encoders.codes import CodeEncoder
from t2i.encoders.familiarity import Familiarity
from t2i.encoders.labels import LabelEncoder
from t2i.encoders.text import TextEncoder
from t2i.errors import BundleError, InvalidInput
from t2i.generation import GenerationWarning
from t2i.takes import refusal

__all__ = ["BundleEncoders", "ConditionEncoder"]


class ConditionEncoder(Protocol):
    """Turns conditions of one kind into embeddings."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    def encode(self, conditions: Sequence[Any], /) -> Tensor:
        """Return embeddings `(n, dim)` float32 on the CPU."""


class _Captions:
    """A text encoder, asked with `Text`."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.dim = encoder.dim

    def encode(self, conditions: Sequence[Text], /) -> Tensor:
        return self._encoder.encode([condition.text for condition in conditions])


class BundleEncoders:
    """Encodes the conditions that a bundle takes.

    Args:
        bundle: the model.
        device: where a text encoder computes.
        text: the text encoder; None loads the one that the bundle names, if it takes text.
        share: use the text model that another bundle of this process has loaded, where it is the
            same.

    Attributes:
        text: the text encoder; None when the bundle takes no text.
        dim: length of an embedding; 0 when the bundle draws by seed alone.

    Raises:
        BundleError: if the bundle takes a kind of condition that nothing here encodes, or its
            encoders give embeddings of different lengths.
        EncoderUnavailable: if the text encoder cannot be loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device,
        text: TextEncoder | None = None,
        *,
        share: bool = False,
    ) -> None:
        self._config = bundle.config
        self.text: TextEncoder | None = None
        self._familiarity: Familiarity | None = None
        if "text" in self._config.conditions:
            self.text = text or _text_encoder(bundle, device, share)
            self._familiarity = _familiarity(bundle)
        makers: Mapping[ConditionKind, Callable[[], ConditionEncoder]] = {
            "text": self._captions,
            "label": lambda: LabelEncoder(self._config.labels),
            "attributes": lambda: AttributesEncoder(self._config.attributes),
            "code": lambda: CodeEncoder(self._config.code),
        }
        for kind in self._config.conditions:
            if kind not in makers:
                raise BundleError(
                    f"bundle {bundle.folder}: conditions has {kind}, for which this version of t2i "
                    f"has no encoder (it has {', '.join(makers)}); install a newer version"
                )
        self._encoders = {kind: makers[kind]() for kind in self._config.conditions}
        lengths = {kind: encoder.dim for kind, encoder in self._encoders.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{dim} for {kind}" for kind, dim in lengths.items())
            raise BundleError(
                f"bundle {bundle.folder}: its encoders give embeddings of different lengths "
                f"({told}); make it again"
            )
        self.dim = next(iter(lengths.values()), 0)

    def encode(self, conditions: Sequence[Condition | None]) -> Tensor:
        """Return the embeddings of conditions, `(n, dim)` float32 on the CPU.

        Args:
            conditions: of the kinds that the bundle takes; None for a bundle that takes none.

        Raises:
            InvalidInput: if a condition is missing or of another kind, or its values are not the
                bundle's.
        """
        embeddings = torch.empty(len(conditions), self.dim)
        places: dict[ConditionKind, list[int]] = {}
        for place, condition in enumerate(conditions):
            refused = refusal(self._config, condition)
            if refused is not None:
                raise InvalidInput("condition", condition, *refused)
            if condition is not None:
                places.setdefault(condition.kind, []).append(place)
        for kind, of_kind in places.items():
            embeddings[of_kind] = self._encoders[kind].encode([conditions[n] for n in of_kind])
        return embeddings

    def warnings(self, condition: Condition | None) -> tuple[GenerationWarning, ...]:
        """Return what to know about a condition: a caption far from the training captions."""
        if not isinstance(condition, Text) or self.text is None or self._familiarity is None:
            return ()
        sentence = self.text.sentences([condition.text])
        distance = float(self._familiarity.distances(sentence)[0])
        threshold = self._familiarity.threshold
        if distance <= threshold:
            return ()
        message = (
            f"The caption is unlike those that {self._config.name} was trained on (distance "
            f"{distance:.2f}, ordinary up to {threshold:.2f}): the picture may not follow it."
        )
        return (GenerationWarning("UNFAMILIAR_CONDITION", message, distance, threshold),)

    def _captions(self) -> _Captions:
        assert self.text is not None
        return _Captions(self.text)


def _text_encoder(bundle: Bundle, device: torch.device, share: bool) -> TextEncoder:
    from t2i.encoders.loading import load_text_encoder, shared_text_encoder

    config = bundle.config.encoder
    assert config is not None
    find = shared_text_encoder if share else load_text_encoder
    encoder = find(config.id, device)
    network = bundle.encoder_network(device)
    if network is not None:
        from t2i.encoders.captions import CaptionEncoder
        from t2i.networks import CaptionNetwork

        if not isinstance(network, CaptionNetwork):
            raise BundleError(
                f"bundle {bundle.folder}: encoder.network {type(network).__name__} reads no "
                "captions; name CaptionNetwork in config.json"
            )
        encoder = CaptionEncoder(encoder, network)
    if config.words:
        from t2i.encoders.words import WordsEncoder

        return WordsEncoder(encoder, config.words)
    return encoder


def _familiarity(bundle: Bundle) -> Familiarity | None:
    if not bundle.has_state(STATISTICS):
        return None
    from t2i.encoders.familiarity import Familiarity

    try:
        return Familiarity.from_statistics(bundle.state(STATISTICS))
    except InvalidInput as error:
        raise BundleError(f"bundle {bundle.folder}: {error}") from error
