"""Generators, discriminators and their blocks: pure torch, no losses, no optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from t2i.networks.base import Critic, Drawn, PictureGenerator, Scores
from t2i.networks.captions import CaptionNetwork
from t2i.networks.dcgan import DcganCritic, DcganGenerator
from t2i.networks.discriminator import StageDiscriminator, StageScores
from t2i.networks.generator import StageGenerator, StageOutput
from t2i.networks.mlp import MlpCritic, MlpGenerator
from t2i.networks.residual import ResidualCritic, ResidualGenerator
from t2i.networks.translation import PairCritic, Translator

# The networks that a bundle may name. A bundle is data: it must not be able to name any class.
NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "CaptionNetwork": CaptionNetwork,
    "DcganCritic": DcganCritic,
    "DcganGenerator": DcganGenerator,
    "MlpCritic": MlpCritic,
    "MlpGenerator": MlpGenerator,
    "ResidualCritic": ResidualCritic,
    "ResidualGenerator": ResidualGenerator,
    "StageGenerator": StageGenerator,
    "StageDiscriminator": StageDiscriminator,
    "Translator": Translator,
}


def build(class_name: str, arguments: Mapping[str, object]) -> nn.Module:
    """Build a registered network from its class name and constructor arguments.

    Raises:
        KeyError: The class is not registered.
    """
    return NETWORKS[class_name](**arguments)


__all__ = [
    "NETWORKS",
    "CaptionNetwork",
    "Critic",
    "DcganCritic",
    "DcganGenerator",
    "Drawn",
    "MlpCritic",
    "MlpGenerator",
    "PairCritic",
    "PictureGenerator",
    "ResidualCritic",
    "ResidualGenerator",
    "Scores",
    "StageDiscriminator",
    "StageGenerator",
    "StageOutput",
    "StageScores",
    "Translator",
    "build",
]
