"""Networks for a paper that is about something else: the usual ones for the kind of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from t2i.networks import (
    Autoencoder,
    BeganAutoencoder,
    BeganGenerator,
    DcganAutoencoder,
    DcganCaptionCritic,
    DcganCritic,
    DcganGenerator,
    LadderCritic,
    LadderGenerator,
    LevelGenerator,
    MlpAutoencoder,
    MlpCritic,
    MlpGenerator,
    ResidualCritic,
    ResidualGenerator,
    Translator,
)
from t2i.networks.base import Critic, Joining, PictureGenerator
from t2i.networks.residual import CriticNorm
from training.errors import TrainingError
from training.registry import Spec

Network = TypeVar("Network", bound=PictureGenerator | Critic)


@contextmanager
def fits() -> Iterator[None]:
    """Turn what a network says of arguments that do not fit the data into a `TrainingError`."""
    try:
        yield
    except ValueError as error:
        raise TrainingError(str(error)) from error


def usual_generator(
    spec: Spec,
    *,
    condition_dim: int = 0,
    noise_dim: int = 64,
    width: int = 64,
    norm: bool = True,
    hidden: int = 0,
) -> PictureGenerator:
    """Return linear layers for points and DCGAN for pictures.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding; 0 draws without a condition.
        noise_dim: Length of the noise.
        width: Channels of DCGAN's last hidden layer; points have twice as many hidden units.
        norm: BatchNorm in DCGAN; points have none.
        hidden: Width of a linear layer before DCGAN's convolutions; 0 for none.

    Raises:
        TrainingError: The data is of another kind, or its side is not 4 to 7 doubled.
    """
    spec.expect("points", "pictures")
    if spec.kind == "points":
        return MlpGenerator(
            sample_shape=spec.sample_shape,
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            width=2 * width,
        )
    with fits():
        return DcganGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            width=width,
            norm=norm,
            hidden=hidden,
        )


def usual_critic(
    spec: Spec,
    *,
    condition_dim: int = 0,
    joining: Joining = "concat",
    outputs: int = 0,
    width: int = 64,
    norm: bool = True,
    spectral: bool = False,
    hidden: int = 0,
    head_hidden: int = 0,
) -> Critic:
    """Return linear layers for points and DCGAN's discriminator for pictures.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding; 0 judges without a condition.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of DCGAN's first layer; points have twice as many hidden units.
        norm: BatchNorm in DCGAN; points have none.
        spectral: Normalise every weight spectrally.
        hidden: Width of a linear layer after DCGAN's convolutions; 0 for none.
        head_hidden: Width of a linear layer of DCGAN's second head; 0 for none.

    Raises:
        TrainingError: The data is of another kind, or its side is not 4 to 7 doubled.
    """
    spec.expect("points", "pictures")
    if spec.kind == "points":
        return MlpCritic(
            sample_shape=spec.sample_shape,
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
            width=2 * width,
            spectral=spectral,
        )
    with fits():
        return DcganCritic(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
            width=width,
            norm=norm,
            spectral=spectral,
            hidden=hidden,
            head_hidden=head_hidden,
        )


def usual_autoencoder(
    spec: Spec, *, width: int = 64, code_dim: int = 64, norm: bool = True
) -> Autoencoder:
    """Return the autoencoder whose mean squared error judges: linear for points, else strided.

    Args:
        spec: What the data is.
        width: Channels of the outer convolution; points have twice as many hidden units.
        code_dim: Length of the code of points; that of pictures follows from the layers.
        norm: BatchNorm between convolutions; points have none.

    Raises:
        TrainingError: The data is of another kind, or its side is not 5 to 8 doubled.
    """
    spec.expect("points", "pictures")
    if spec.kind == "points":
        return MlpAutoencoder(sample_shape=spec.sample_shape, width=2 * width, code_dim=code_dim)
    with fits():
        return DcganAutoencoder(
            resolution=spec.resolution, channels=spec.channels, width=width, norm=norm
        )


def residual_generator(
    spec: Spec, *, condition_dim: int = 0, noise_dim: int = 128, width: int = 256
) -> PictureGenerator:
    """Return the residual generator of SNGAN; its BatchNorm follows the condition.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding; 0 draws without a condition.
        noise_dim: Length of the noise.
        width: Channels of every block.

    Raises:
        TrainingError: The data is no pictures, or their side is not 4 to 7 doubled.
    """
    spec.expect("pictures")
    with fits():
        return ResidualGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            width=width,
        )


def residual_critic(
    spec: Spec,
    *,
    condition_dim: int = 0,
    joining: Joining = "projection",
    outputs: int = 0,
    width: int = 128,
    norm: CriticNorm = "none",
    pooling: Literal["sum", "mean"] = "sum",
) -> Critic:
    """Return the residual critic of SNGAN and WGAN-GP.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding; 0 judges without a condition.
        joining: How the condition enters.
        outputs: Outputs of a second head; 0 has none.
        width: Channels of every block.
        norm: What normalises the features or weights.
        pooling: How the features of all places become one.

    Raises:
        TrainingError: The data is no pictures, or their side is not 4 to 7 doubled.
    """
    spec.expect("pictures")
    with fits():
        return ResidualCritic(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            joining=joining,
            outputs=outputs,
            width=width,
            norm=norm,
            pooling=pooling,
        )


def level_generator(
    spec: Spec, *, levels: int = 2, source_dim: int = 64, width: int = 64, norm: bool = True
) -> LevelGenerator:
    """Return DCGAN's layers to the chances of each pixel's levels.

    Args:
        spec: What the data is.
        levels: Different values of a pixel.
        source_dim: Length of the noise that chances are drawn from.
        width: Channels of the last hidden layer.
        norm: BatchNorm in the hidden layers.

    Raises:
        TrainingError: The data is of another kind, its side is not 4 to 7 doubled, or there are
            fewer than two levels.
    """
    if levels < 2:
        raise TrainingError(f"levels: is {levels}; give 2 or more")
    spec.expect("pictures")
    with fits():
        return LevelGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            levels=levels,
            source_dim=source_dim,
            width=width,
            norm=norm,
        )


def began_generator(spec: Spec, *, noise_dim: int = 64, width: int = 64) -> PictureGenerator:
    """Return BEGAN's generator for pictures and linear layers for points.

    Args:
        spec: What the data is.
        noise_dim: Length of the noise.
        width: Channels of every layer; points have twice as many hidden units.

    Raises:
        TrainingError: The data is of another kind, or its side is not 5 to 8 doubled.
    """
    spec.expect("points", "pictures")
    if spec.kind == "points":
        return usual_generator(spec, noise_dim=noise_dim, width=width)
    with fits():
        return BeganGenerator(
            resolution=spec.resolution, channels=spec.channels, noise_dim=noise_dim, width=width
        )


def began_autoencoder(spec: Spec, *, code_dim: int = 64, width: int = 64) -> Autoencoder:
    """Return the autoencoder whose mean absolute error judges, as in BEGAN.

    Args:
        spec: What the data is.
        code_dim: Length of the code.
        width: Channels of the first layer; points have twice as many hidden units.

    Raises:
        TrainingError: The data is of another kind, or its side is not 5 to 8 doubled.
    """
    spec.expect("points", "pictures")
    if spec.kind == "points":
        return MlpAutoencoder(
            sample_shape=spec.sample_shape, width=2 * width, code_dim=code_dim, exponent=1
        )
    with fits():
        return BeganAutoencoder(
            resolution=spec.resolution, channels=spec.channels, code_dim=code_dim, width=width
        )


def ladder_generator(
    spec: Spec,
    *,
    condition_dim: int = 0,
    noise_dim: int = 128,
    width: int = 64,
    attention: int = 4,
    shared_dim: int = 0,
    hierarchical: bool = False,
    orthogonal: bool = False,
) -> PictureGenerator:
    """Return the generator of SAGAN and BigGAN, spectrally normalised.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding; 0 draws without a condition.
        noise_dim: Length of the noise.
        width: Channels of the last block; they double as the side halves.
        attention: The picture's side over that of the features that attend; 0 leaves it out.
        shared_dim: Length of one embedding of the condition for all blocks; 0 for one a block.
        hierarchical: The noise goes in equal parts to the start and to each block.
        orthogonal: First weights are orthogonal.

    Raises:
        TrainingError: The data is no pictures, or their side does not fit.
    """
    spec.expect("pictures")
    with fits():
        return LadderGenerator(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            noise_dim=noise_dim,
            width=width,
            attention=spec.resolution // attention if attention else 0,
            shared_dim=shared_dim,
            hierarchical=hierarchical,
            spectral=True,
            orthogonal=orthogonal,
        )


def ladder_critic(
    spec: Spec,
    *,
    condition_dim: int = 0,
    width: int = 64,
    attention: int = 4,
    orthogonal: bool = False,
) -> Critic:
    """Return the critic of SAGAN and BigGAN.

    Args:
        spec: What the data is.
        condition_dim: Length of the embedding, which enters by projection; 0 for none.
        width: Channels of the first block.
        attention: The picture's side over that of the features that attend; 0 leaves it out.
        orthogonal: First weights are orthogonal.

    Raises:
        TrainingError: The data is no pictures, or their side does not fit.
    """
    spec.expect("pictures")
    with fits():
        return LadderCritic(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            width=width,
            attention=spec.resolution // attention if attention else 0,
            orthogonal=orthogonal,
        )


def usual_translator(spec: Spec, *, width: int = 128) -> Translator:
    """Return the recurrent translator with attention.

    Args:
        spec: What the data is: sentences with the ones that they translate.
        width: Width of its layers.

    Raises:
        TrainingError: The data is of another kind, or no translations.
    """
    spec.expect("tokens")
    if not spec.source_length:
        raise TrainingError("data: holds no sources; give translations, such as parallel-text")
    return Translator(
        vocabulary=spec.vocabulary,
        length=spec.sample_shape[0],
        source_vocabulary=spec.source_vocabulary,
        source_length=spec.source_length,
        width=width,
    )


def for_captions(network: Callable[..., Network], spec: Spec, **arguments: object) -> Network:
    """Return a player of captions and pictures of the data's side.

    Args:
        network: Its class, which takes ``resolution``, ``channels`` and ``condition_dim``.
        spec: What the data is.
        **arguments: Its other arguments.

    Raises:
        TrainingError: The data has no captions, or the arguments do not fit its side.
    """
    condition_dim = spec.captioned()
    with fits():
        return network(
            resolution=spec.resolution,
            channels=spec.channels,
            condition_dim=condition_dim,
            **arguments,
        )


def caption_critic(
    spec: Spec,
    *,
    resolution: int | None = None,
    condition_dim: int | None = None,
    code_dim: int = 128,
    width: int = 64,
    kernel: int = 1,
    alone: bool = False,
) -> DcganCaptionCritic:
    """Return DCGAN's critic of pairs of picture and caption.

    Args:
        spec: What the data is.
        resolution: Side of the pictures; None for the data's.
        condition_dim: Length of what stands for a caption; None for its embedding's.
        code_dim: Length of the caption's code; 0 takes it as it is.
        width: Channels of the first layer.
        kernel: Side of the convolution over picture and caption.
        alone: Have a second score, of the picture without any caption.

    Raises:
        TrainingError: The data has no captions, or the side is not 4 to 7 doubled.
    """
    embedding_dim = spec.captioned()
    with fits():
        return DcganCaptionCritic(
            resolution=spec.resolution if resolution is None else resolution,
            channels=spec.channels,
            condition_dim=embedding_dim if condition_dim is None else condition_dim,
            code_dim=code_dim,
            width=width,
            kernel=kernel,
            alone=alone,
        )
