"""What every peer does with a batch."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Drawer"]


class Drawer:
    """Draws batches of captions and seeds on one core, and packs them.

    Args:
        model: name or folder of a bundle.
    """

    def __init__(self, model: str) -> None:
        from t2i.compute import limit_cores
        from t2i.memory import keep_memory
        from t2i.pipeline import Pipeline

        keep_memory()
        limit_cores(1)
        self._pipeline = Pipeline.from_pretrained(model, device="cpu")
        self._pipeline.warm_up()

    def __call__(self, asked: Sequence[tuple[str, int]]) -> list[bytes]:
        """Return a PNG file for each caption and seed."""
        from t2i.conditions import Text
        from t2i.pictures import encode_picture
        from t2i.pipeline import Draw

        # The encoder remembers captions, as it does in our server.
        embeddings = self._pipeline.encode([Text(caption) for caption, _ in asked])
        draws = [Draw(row, seed) for row, (_, seed) in zip(embeddings, asked, strict=True)]
        return [encode_picture(stages[-1]) for stages in self._pipeline.draw(draws)]
