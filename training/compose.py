"""Most papers: two players, an objective, regularizers. The rest build their own phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from t2i.networks.autoencoder import Autoencoder
from t2i.networks.base import Critic, Drawn, PictureGenerator
from t2i.networks.caption_critic import CaptionCritic
from t2i.networks.minibatch import MinibatchDiscrimination
from training.augment import DiffAugment
from training.ema import Ema
from training.errors import TrainingError
from training.objectives import Adversarial, Objective
from training.recipe import Adam, Batch, Losses, Networks, Optimizer, Phase, Recipe, Update
from training.regularizers import Play, Regularizer

# From a batch to the (n, condition_dim) that both players are given.
Condition = Callable[[Batch], Tensor]
# What a player pays, from all networks and a batch.
Loss = Callable[[Networks, Batch], Losses]


def unconditional(batch: Batch) -> Tensor:
    """No condition: ``(n, 0)``."""
    return batch.pictures.new_zeros(len(batch), 0, dtype=torch.float32)


def by_label(classes: int) -> Condition:
    """The label of each real picture as ``(n, classes)`` one-hot rows."""
    return lambda batch: batch.one_hot(classes)


def by_caption(batch: Batch) -> Tensor:
    """The embedding of a caption that is true of each real picture, ``(n, d)``."""
    return batch.right


def shown_one_hot(vocabulary: int) -> Callable[[Networks, Batch], Batch]:
    """What players of texts are shown: ``(n, length)`` tokens as ``(n, length, vocabulary)``."""

    def shown(networks: Networks, batch: Batch) -> Batch:
        return replace(batch, pictures=F.one_hot(batch.pictures.long(), vocabulary).float())

    return shown


def by_wrong_caption(batch: Batch) -> Tensor:
    """The embedding of a caption that is not true of each real picture, ``(n, d)``."""
    return batch.wrong


def draw(networks: Networks, batch: Batch, name: str, condition: Tensor | None = None) -> Tensor:
    """Draw as many samples as the batch has.

    Args:
        networks: The generator is among them.
        batch: Gives the noise.
        name: Of the noise; different names draw apart.
        condition: ``(n, condition_dim)``; None draws without.

    Returns:
        ``(n, ...)`` samples, with gradient where it is on.
    """
    generator = cast(PictureGenerator, networks["generator"])
    if condition is None:
        condition = unconditional(batch)
    noise = batch.noise.normal(name, generator.noise_dim)
    return draw_all(generator, batch, name, condition, noise).pictures[-1]


def draw_all(
    generator: PictureGenerator, batch: Batch, name: str, condition: Tensor, noise: Tensor
) -> Drawn:
    """Draw every stage, and the conditioning around its mean where the generator has one.

    Args:
        generator: Draws.
        batch: Gives the noise of the conditioning.
        name: Of that noise; different names draw apart.
        condition: ``(n, condition_dim)``.
        noise: ``(n, noise_dim)``.
    """
    dim = generator.conditioning_dim
    around = batch.noise.normal(f"{name}-conditioning", dim) if dim else None
    return cast(Drawn, generator(condition, noise, around))


def compose(
    *,
    generator: PictureGenerator,
    discriminator: Critic | Autoencoder,
    objective: Adversarial,
    optimizer: Optimizer = Adam(2e-4, betas=(0.5, 0.999)),  # noqa: B008
    generator_optimizer: Optimizer | None = None,
    n_dis: int = 1,
    regularizers: Sequence[Regularizer] = (),
    augment: DiffAugment | None = None,
    after: Callable[[Networks, Update], None] | None = None,
    condition: Condition | None = None,
    wrong: Condition | None = None,
    shown: Callable[[Networks, Batch], Batch] | None = None,
    batch_size: int = 64,
    ema: Ema | None = None,
    fit: Callable[[Tensor], None] | None = None,
    watched: tuple[str, ...] = (),
    key: str = "",
) -> Recipe:
    """Compose a recipe of two players; everything else follows.

    Reported are ``D/adversarial`` and ``G/adversarial``, the critic's mean logits ``D/real`` and
    ``D/fake``, and each regularizer before its weight as ``D/<name>`` or ``G/<name>``. With a wrong
    condition the discriminator judges pairs (`Objective.matching_aware_loss`), and ``D/wrong`` is
    its mean logit of real samples under it.

    Args:
        generator: Draws samples from embedding and noise.
        discriminator: Scores samples under the embedding.
        objective: What both want of the logits.
        optimizer: How they learn.
        generator_optimizer: How the generator learns, where it differs (two time scales).
        n_dis: Discriminator steps a generator step.
        regularizers: Further terms, each of the player that it names.
        augment: What the critic sees real and fake samples through.
        after: Called after each discriminator step, such as `clip_weights`.
        condition: From a batch to the embedding; None takes labels where the generator has a
            condition, else nothing.
        wrong: From a batch to an embedding that is not true of the real samples; None has none. It
            takes a `CaptionCritic` and an `Objective`.
        shown: What of a batch the players are shown, such as pictures no finer than a growing
            generator draws; None shows it as it is.
        batch_size: Samples a step over all processes.
        ema: Average of the generator's weights; None serves the last weights.
        fit: Called once with ``(n, d)`` embeddings of the training captions; see `Recipe`.
        watched: Losses that stop the run when they stay near zero.
        key: Name of the recipe; empty takes the name that it is registered under.

    Raises:
        TrainingError: Parts do not belong together.
    """
    _check(generator, discriminator, regularizers, n_dis)
    if wrong is not None:
        _check_pairs(discriminator, objective)
    if condition is None:
        classes = generator.condition_dim
        condition = by_label(classes) if classes else unconditional
    chosen: Condition = condition
    critics = [r for r in regularizers if r.player == "discriminator"]
    drawers = [r for r in regularizers if r.player == "generator"]

    def play(players: Networks, batch: Batch, name: str) -> Play:
        if shown is not None:
            batch = shown(players, batch)
        embedding = chosen(batch)
        noise = batch.noise.normal(name, generator.noise_dim)
        drawer = cast(PictureGenerator, players["generator"])
        drawn = draw_all(drawer, batch, name, embedding, noise)
        untrue = None if wrong is None else wrong(batch)
        fake = drawn.pictures[-1]
        return Play(players, batch, fake, embedding, noise, augment, untrue, drawn)

    def discriminator_loss(players: Networks, batch: Batch) -> Losses:
        with torch.no_grad():
            move = play(players, batch, "discriminator")
        real, fake = move.real_scores.logits, move.fake_scores.logits
        parts = {"D/real": real.mean().detach(), "D/fake": fake.mean().detach()}
        if move.wrong is None:
            adversarial = objective.discriminator_loss(real, fake)
        else:
            untrue = move.wrong_scores.logits
            adversarial = cast(Objective, objective).matching_aware_loss(real, untrue, fake)
            parts["D/wrong"] = untrue.mean().detach()
        parts["D/adversarial"] = adversarial.detach()
        return _with(critics, move, adversarial, parts, "D")

    def generator_loss(players: Networks, batch: Batch) -> Losses:
        move = play(players, batch, "generator")
        real = move.real_scores.logits if objective.compares else None
        adversarial = objective.generator_loss(move.fake_scores.logits, real)
        return _with(drawers, move, adversarial, {"G/adversarial": adversarial.detach()}, "G")

    remembered = {r.name: s for r in regularizers if (s := r.state()) is not None}

    def after_step(networks: Networks, update: Update) -> None:
        if after is not None:
            after(networks, update)
        _remember(critics, networks, update)

    def after_generator_step(networks: Networks, update: Update) -> None:
        _remember(drawers, networks, update)

    return Recipe(
        key=key,
        networks={"generator": generator, "discriminator": discriminator, **remembered},
        phases=(
            Phase(
                "discriminator",
                optimizer,
                discriminator_loss,
                steps=n_dis,
                after=after_step if after is not None or remembered else None,
            ),
            Phase(
                "generator",
                generator_optimizer or optimizer,
                generator_loss,
                after=after_generator_step if any(r.name in remembered for r in drawers) else None,
            ),
        ),
        batch_size=batch_size,
        ema=ema,
        fit=fit,
        watched=watched,
        joins_late=False,
        differentiates_twice=any(r.differentiates_twice for r in regularizers),
    )


def two_players(
    *,
    generator: nn.Module,
    discriminator: nn.Module,
    generator_loss: Loss,
    discriminator_loss: Loss,
    optimizer: Optimizer,
    generator_optimizer: Optimizer | None = None,
    batch_size: int = 64,
    ema: Ema | None = None,
    fit: Callable[[Tensor], None] | None = None,
    joins_late: bool = False,
    differentiates_twice: bool = False,
) -> Recipe:
    """Compose a recipe of two players with losses of their own, a step of D and then one of G.

    Args:
        generator: Draws samples.
        discriminator: Judges them.
        generator_loss: The generator's loss on a batch.
        discriminator_loss: The discriminator's.
        optimizer: How they learn.
        generator_optimizer: How the generator learns, where it differs.
        batch_size: Samples a step over all processes.
        ema: Average of the generator's weights; None serves the last weights.
        fit: Called once with ``(n, d)`` embeddings of the training captions; see `Recipe`.
        joins_late: Some weights have no gradient in some steps.
        differentiates_twice: A loss holds the gradient of a gradient.
    """
    return Recipe(
        key="",
        networks={"generator": generator, "discriminator": discriminator},
        phases=(
            Phase("discriminator", optimizer, discriminator_loss),
            Phase("generator", generator_optimizer or optimizer, generator_loss),
        ),
        batch_size=batch_size,
        ema=ema,
        fit=fit,
        joins_late=joins_late,
        differentiates_twice=differentiates_twice,
    )


def _remember(regularizers: Sequence[Regularizer], networks: Networks, update: Update) -> None:
    for regularizer in regularizers:
        if regularizer.name in networks:
            regularizer.after(networks[regularizer.name], update)


def _with(
    regularizers: Sequence[Regularizer],
    play: Play,
    total: Tensor,
    parts: dict[str, Tensor],
    prefix: str,
) -> Losses:
    for regularizer in regularizers:
        if play.batch.step % regularizer.every == 0:
            term = regularizer.loss(play)
            parts[f"{prefix}/{regularizer.name}"] = term.detach()
            total = total + regularizer.weight * regularizer.every * term
    return Losses(total, parts)


def _check(
    generator: PictureGenerator,
    discriminator: Critic | Autoencoder,
    regularizers: Sequence[Regularizer],
    n_dis: int,
) -> None:
    if n_dis < 1:
        raise TrainingError(f"n_dis: is {n_dis}; give 1 or more")
    if discriminator.condition_dim not in (0, generator.condition_dim):
        raise TrainingError(
            f"condition_dim: the discriminator takes {discriminator.condition_dim}, the generator "
            f"draws from {generator.condition_dim}; build both from the same data"
        )
    names = [r.name for r in regularizers]
    for regularizer in regularizers:
        if regularizer.every < 1:
            raise TrainingError(f"{regularizer.name}: every is {regularizer.every}; give 1 or more")
        if names.count(regularizer.name) > 1:
            raise TrainingError(f"{regularizer.name}: is given twice; add up the weights")
        if regularizer.reads_classes and getattr(discriminator, "head", None) is None:
            raise TrainingError(
                f"{regularizer.name}: reads the critic's second head, and this critic has none; "
                "build the critic with outputs=N, one a class or a number to tell"
            )
        tie = _what_ties(discriminator)
        if regularizer.per_sample and tie:
            raise TrainingError(
                f"{regularizer.name}: takes each sample's own gradient, but the critic's {tie} "
                f"ties the samples of a batch together; build the critic without {tie}"
            )


def _check_pairs(discriminator: Critic | Autoencoder, objective: Adversarial) -> None:
    if not isinstance(discriminator, CaptionCritic):
        raise TrainingError(
            f"wrong: {type(discriminator).__name__} judges no pairs of picture and caption; build "
            "a CaptionCritic"
        )
    if not isinstance(objective, Objective):
        raise TrainingError(
            f"wrong: {type(objective).__name__} has no term of its own for each kind of pair; "
            "give an Objective, such as hinge"
        )


def _what_ties(network: nn.Module) -> str:
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            return "BatchNorm"
        if isinstance(module, MinibatchDiscrimination):
            return "minibatch discrimination"
    return ""
