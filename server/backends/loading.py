"""From a bundle's name or folder to what draws, in whichever process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.backends import Described

if TYPE_CHECKING:
    from t2i.bundle import Bundle
    from t2i.pipeline import Pipeline, PipelineInfo

__all__ = ["draws_on_cpu", "inspect_bundle", "load_pipeline"]


def load_pipeline(model: str, device: str | None) -> tuple[Pipeline, Described]:
    """Load a model, ready to draw at full speed; nothing of its folder is needed after that.

    Returns:
        What draws, and what it is.

    Raises:
        T2IError: it cannot be loaded.
    """
    from t2i.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(model, device=device, share_encoder=True)
    pipeline.read_all()
    described = _described(pipeline.bundle, pipeline.info)
    pipeline.warm_up()
    return pipeline, described


def inspect_bundle(model: str) -> Described:
    """Check every file of a bundle and describe it.

    Raises:
        T2IError: it cannot be used.
    """
    from t2i.bundle import Bundle
    from t2i.pipeline import describe_bundle

    bundle = Bundle.load(model)
    return _described(bundle, describe_bundle(bundle))


def _described(bundle: Bundle, info: PipelineInfo) -> Described:
    from t2i.encoders.loading import text_encoder_bytes

    encoder = bundle.config.encoder if "text" in bundle.config.conditions else None
    name = "" if encoder is None else encoder.id
    return Described(info, bundle.weight_bytes, name, text_encoder_bytes(name) if name else 0)


def draws_on_cpu(device: str | None) -> bool:
    """Tell whether pipelines that are given this device draw on the CPU."""
    import torch

    if device is None:
        return not torch.cuda.is_available()
    return device.partition(":")[0] == "cpu"
