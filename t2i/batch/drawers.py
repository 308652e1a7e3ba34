"""Who draws the pictures of a job: this process, or a service."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from t2i.batch.errors import BatchError
from t2i.batch.plan import Model
from t2i.batch.shard import Ask, Drawn, ShardReport, ShardTask, draw_shard
from t2i.conditions import Text
from t2i.extras import needs_extra

if TYPE_CHECKING:
    from t2i.client import GenerationResult
    from t2i.client.results import ServedImage
    from t2i.pictures import GeneratedImage
    from t2i.pipeline import Pipeline

__all__ = ["Drawer", "PipelineDrawer", "ServiceDrawer", "ShardDrawer", "by_shards"]

# While the last pictures of one shard are packed and brought to the disk, another one draws.
_SHARDS_AT_ONCE = 2

_MOST_AT_ONCE = 64
# Raw pixels of all stages of a batch, roughly, that wait to be packed.
_PIXELS_AT_ONCE = 1 << 22

# What the service takes in a request, and how many requests of one shard are under way.
_IN_A_REQUEST = 16
_CANDIDATES_IN_A_REQUEST = 64
_REQUESTS = 8
# A job is patient: other callers of the service go first, and a service may be started again.
_TIMEOUT_S = 600.0
_RETRIES = 10_000


class Drawer(Protocol):
    """Draws for a job.

    Attributes:
        model: what draws.
        at_once: pictures to ask for together.
    """

    model: Model
    at_once: int

    def draw(self, asks: Sequence[Ask]) -> Sequence[Drawn]:
        """Draw pictures, in order; may be called by several threads.

        Raises:
            T2IError: if the model cannot draw.
        """

    def close(self) -> None:
        """Give up what is still being drawn."""


@runtime_checkable
class ShardDrawer(Protocol):
    """Draws whole shards for a job, and writes their files where it draws.

    Attributes:
        model: what draws.
        shards_at_once: how many shards it is to be given together.
    """

    model: Model
    shards_at_once: int

    def draw_shard(self, task: ShardTask) -> ShardReport:
        """Draw a shard; called by as many threads. See `t2i.batch.draw_shard`."""

    def close(self) -> None:
        """Give up what is still being drawn."""


def by_shards(drawer: Drawer | ShardDrawer) -> ShardDrawer:
    """Return a drawer as one that is given shards; that of pictures then packs and writes here."""
    return drawer if isinstance(drawer, ShardDrawer) else _Packed(drawer)


class _Packed:
    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        self.model = drawer.model
        self.shards_at_once = _SHARDS_AT_ONCE

    def draw_shard(self, task: ShardTask) -> ShardReport:
        return draw_shard(task, self._drawer.draw, at_once=self._drawer.at_once)

    def close(self) -> None:
        self._drawer.close()


class PipelineDrawer:
    """Draws in this process.

    Args:
        pipeline: the model.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.model: Model = pipeline.info
        pixels = pipeline.info.resolutions[-1] ** 2
        self.at_once = max(8, min(_MOST_AT_ONCE, _PIXELS_AT_ONCE // pixels))

    @classmethod
    def load(cls, model: str = "default", device: str | None = None) -> Self:
        """Load a bundle.

        Raises:
            ExtraMissing: if torch is not installed.
            T2IError: if the bundle cannot be used.
        """
        with needs_extra("inference", or_else="ask a service with --server ADDRESS"):
            from t2i.pipeline import Pipeline

            return cls(Pipeline.from_pretrained(model, device))

    def draw(self, asks: Sequence[Ask]) -> list[_DrawnHere]:
        """Draw on all cores, or on the device.

        Each caption is encoded alone, as `Pipeline.generate` does: in a batch the last bits of its
        embedding would depend on its neighbours, and with them the picture. The longest go first,
        so that no core is left with a long one at the end; the encoder remembers some thousands.
        """
        from t2i.pictures import GeneratedImage
        from t2i.pipeline import Draw

        conditions = dict.fromkeys(ask.condition for ask in asks)
        order = sorted(conditions, key=_length, reverse=True)
        places = {condition: place for place, condition in enumerate(order)}
        embeddings = self._pipeline.encode(order)
        results: list[_DrawnHere] = []
        for best_of, alike in groupby(asks, lambda ask: ask.best_of):
            drawn = self._pipeline.draw_best(
                [
                    Draw(
                        embeddings[places[ask.condition]],
                        ask.seed,
                        ask.truncation,
                        ask.conditioning_truncation,
                    )
                    for ask in alike
                ],
                best_of,
            )
            results += [
                _DrawnHere(GeneratedImage(best.pictures[-1], best.seed, best.score))
                for best in drawn
            ]
        return results

    def close(self) -> None:
        """Do nothing: a batch of this process ends soon."""


class ServiceDrawer:
    """Draws on a service.

    Args:
        address: where it is; token and certificate come from the environment, as of any `Client`.
        model: its name there; None for the service's default.

    Raises:
        T2IError: if the service cannot be reached or has no such model.
    """

    def __init__(self, address: str, model: str | None = None) -> None:
        from t2i.client import Client

        self._client = Client(address, timeout=_TIMEOUT_S, max_retries=_RETRIES, priority="batch")
        try:
            # Patience is for a service that is full, not for one that is not there at all.
            with Client(address) as asking:
                self._info = asking.get_model(model)
        except BaseException:
            self._client.close()
            raise
        self.model: Model = self._info
        self.at_once = _IN_A_REQUEST * _REQUESTS
        self._threads = ThreadPoolExecutor(2 * _REQUESTS, thread_name_prefix="t2i-ask")

    def draw(self, asks: Sequence[Ask]) -> list[_DrawnThere]:
        """Draw with several requests at once; the pictures of one condition share one."""
        requests: list[list[Ask]] = []
        for _, alike in groupby(asks, lambda ask: (ask.condition, *_scales(ask), ask.best_of)):
            same = list(alike)
            most = min(_IN_A_REQUEST, _CANDIDATES_IN_A_REQUEST // same[0].best_of)
            requests += [same[start : start + most] for start in range(0, len(same), most)]
        return [
            _DrawnThere(image)
            for result in self._threads.map(self._request, requests)
            for image in result.images
        ]

    def close(self) -> None:
        """Cancel requests that are under way."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _request(self, asks: Sequence[Ask]) -> GenerationResult:
        truncation, conditioning_truncation = _scales(asks[0])
        result = self._client.generate_images(
            asks[0].condition,
            seeds=[ask.seed for ask in asks],
            model=self._info.name,
            truncation=truncation,
            conditioning_truncation=conditioning_truncation,
            best_of=asks[0].best_of if asks[0].best_of > 1 else None,
        )
        if result.model.checksum != self._info.checksum:
            raise BatchError(
                f"{self._client.address}: another {self._info.name} answers there now "
                f"({result.model.checksum[:12]} instead of {self._info.checksum[:12]}); finish the "
                "job with the model that it was begun with"
            )
        return result


class _DrawnHere:
    def __init__(self, image: GeneratedImage) -> None:
        self._image = image

    @property
    def seed(self) -> int | None:
        return self._image.seed

    @property
    def score(self) -> float | None:
        return self._image.score

    def png(self) -> bytes:
        return self._image.encode("png")


class _DrawnThere:
    def __init__(self, image: ServedImage) -> None:
        self._image = image

    @property
    def seed(self) -> int:
        return self._image.seed

    @property
    def score(self) -> float | None:
        return self._image.score

    def png(self) -> bytes:
        return self._image.data


def _length(condition: object) -> int:
    return len(condition.text) if isinstance(condition, Text) else 0


def _scales(ask: Ask) -> tuple[float, float]:
    return ask.truncation, ask.conditioning_truncation
