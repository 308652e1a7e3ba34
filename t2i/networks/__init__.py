"""Generators, discriminators and their blocks: pure torch, no losses, no optimisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from t2i.networks.autoencoder import Autoencoder, DcganAutoencoder, MlpAutoencoder
from t2i.networks.base import Critic, Drawn, PictureGenerator, Scores
from t2i.networks.bayesian import BayesianGenerator
from t2i.networks.began import BeganAutoencoder, BeganGenerator
from t2i.networks.bottleneck import DeepCritic, DeepGenerator
from t2i.networks.caption_critic import CaptionCritic, DcganCaptionCritic
from t2i.networks.caption_generator import DcganCaptionGenerator
from t2i.networks.captions import CaptionNetwork
from t2i.networks.dcgan import DcganCritic, DcganGenerator
from t2i.networks.deep_fusion import FusionCritic, FusionGenerator
from t2i.networks.discriminator import StageDiscriminator, StageScores
from t2i.networks.fixed_point import FixedPoint
from t2i.networks.generator import StageGenerator, StageOutput
from t2i.networks.ladder import LadderCritic, LadderGenerator
from t2i.networks.laplacian import LaplacianCritic, LaplacianGenerator
from t2i.networks.levels import LevelGenerator
from t2i.networks.mixture import MixtureGenerator
from t2i.networks.mlp import MlpCritic, MlpGenerator
from t2i.networks.progressive import ProgressiveCritic, ProgressiveGenerator
from t2i.networks.recurrent import RecurrentGenerator
from t2i.networks.residual import ResidualCritic, ResidualGenerator
from t2i.networks.scorer import Scorer
from t2i.networks.stack import StackGenerator
from t2i.networks.text import TextCritic, TextGenerator
from t2i.networks.translation import PairCritic, Translator
from t2i.networks.tree import TreeGenerator
from t2i.networks.virtual_norm import VirtualNormGenerator
from t2i.networks.word_attention import AttentionGenerator

# The networks that a bundle may name. A bundle is data: it must not be able to name any class.
NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "AttentionGenerator": AttentionGenerator,
    "BeganGenerator": BeganGenerator,
    "CaptionNetwork": CaptionNetwork,
    "DcganCaptionGenerator": DcganCaptionGenerator,
    "DcganCritic": DcganCritic,
    "DcganGenerator": DcganGenerator,
    "DeepCritic": DeepCritic,
    "DeepGenerator": DeepGenerator,
    "LevelGenerator": LevelGenerator,
    "BayesianGenerator": BayesianGenerator,
    "FixedPoint": FixedPoint,
    "FusionGenerator": FusionGenerator,
    "MixtureGenerator": MixtureGenerator,
    "LadderCritic": LadderCritic,
    "LadderGenerator": LadderGenerator,
    "LaplacianCritic": LaplacianCritic,
    "LaplacianGenerator": LaplacianGenerator,
    "MlpCritic": MlpCritic,
    "MlpGenerator": MlpGenerator,
    "ProgressiveCritic": ProgressiveCritic,
    "ProgressiveGenerator": ProgressiveGenerator,
    "RecurrentGenerator": RecurrentGenerator,
    "ResidualCritic": ResidualCritic,
    "ResidualGenerator": ResidualGenerator,
    "Scorer": Scorer,
    "StackGenerator": StackGenerator,
    "StageGenerator": StageGenerator,
    "StageDiscriminator": StageDiscriminator,
    "TextCritic": TextCritic,
    "TextGenerator": TextGenerator,
    "TreeGenerator": TreeGenerator,
    "VirtualNormGenerator": VirtualNormGenerator,
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
    "AttentionGenerator",
    "Autoencoder",
    "BayesianGenerator",
    "BeganAutoencoder",
    "BeganGenerator",
    "CaptionCritic",
    "CaptionNetwork",
    "Critic",
    "DcganAutoencoder",
    "DcganCaptionCritic",
    "DcganCaptionGenerator",
    "DcganCritic",
    "DcganGenerator",
    "DeepCritic",
    "DeepGenerator",
    "Drawn",
    "FixedPoint",
    "FusionCritic",
    "FusionGenerator",
    "LadderCritic",
    "LadderGenerator",
    "LaplacianCritic",
    "LaplacianGenerator",
    "LevelGenerator",
    "MixtureGenerator",
    "MlpAutoencoder",
    "MlpCritic",
    "MlpGenerator",
    "PairCritic",
    "PictureGenerator",
    "ProgressiveCritic",
    "ProgressiveGenerator",
    "RecurrentGenerator",
    "ResidualCritic",
    "ResidualGenerator",
    "Scorer",
    "Scores",
    "StackGenerator",
    "StageDiscriminator",
    "StageGenerator",
    "StageOutput",
    "StageScores",
    "TextCritic",
    "TextGenerator",
    "Translator",
    "TreeGenerator",
    "VirtualNormGenerator",
    "build",
]
