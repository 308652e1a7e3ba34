"""Improved techniques for training GANs: five switches, and learning from few labels."""

from __future__ import annotations

import dataclasses

from t2i.networks import Critic, MlpGenerator, PictureGenerator
from t2i.networks.class_critic import ClassCritic
from t2i.networks.minibatch import MinibatchCritic
from t2i.networks.noisy import NoisyCritic
from t2i.networks.virtual_norm import VirtualNormGenerator
from training.compose import compose
from training.historical import CriticsHistoricalAverage, HistoricalAverage
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating, smoothed
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register
from training.regularizers import FeatureMatching, Regularizer
from training.supervised import Supervised


@register(section="A", data="mnist")
def improved_gan(
    spec: Spec,
    *,
    semi_supervised: bool = True,
    feature_matching: bool = True,
    minibatch: bool = False,
    history: float = 0.0,
    smooth: float = 1.0,
    virtual_norm: bool = False,
    convolutional: bool = False,
    learning_rate: float = 3e-3,
    noise_dim: int = 100,
    width: int = 1000,
    batch_size: int = 100,
) -> Recipe:
    """Improved techniques for training GANs: five switches, and a discriminator of K + 1 classes.

    Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, 2016, arXiv:1606.03498.

    feature_matching   G minimises ‖E f(x) - E f(G(z))‖² instead                   (section 3.1)
    minibatch          D sees how close a sample is to the others of its batch     (section 3.2)
    history            + λ ‖θ - 1/t Σ θ[i]‖² for each player                       (section 3.3)
    smooth             D's target for real samples, 0.9 for one; that of fakes is 0        (3.4)
    virtual_norm       G normalises by a fixed batch and the sample itself         (section 3.5)
    semi_supervised    L_D = -E log p(y | x, y < K + 1)
                             - E log(1 - p(K + 1 | x)) - E log p(K + 1 | G(z))     (section 5)

    The logit of class K + 1 is held at 0, so D(x) = Z / (Z + 1) for Z = Σ exp l_k. Feature matching
    and the K + 1 classes together are what the paper learns from few labels with; its pictures
    from minibatch discrimination look better, and its classifier is worse (section 6.1).

    Deviations: G's hidden units are rectified and its last layer has no weight normalisation; the
    noise is normal; D's weights are not initialised from data.

    Args:
        spec: What the data is.
        semi_supervised: D classifies, and learns from the labels that there are.
        feature_matching: G matches D's mean features and nothing else.
        minibatch: Minibatch discrimination in D.
        history: λ of historical averaging; 0 goes without.
        smooth: D's target for real samples; 1 does not smooth.
        virtual_norm: Virtual instead of ordinary BatchNorm in G.
        convolutional: DCGAN's networks for pictures (section 5.1); for points no BatchNorm in G.
        learning_rate: Of Adam with betas 0.5 and 0.999, for both players.
        noise_dim: Length of the noise.
        width: Of D's first linear layer; G's are half as wide. Channels of DCGAN's outer layer.
        batch_size: Samples a step over all processes.
    """
    spec.expect("points", "pictures")
    generator: PictureGenerator = MlpGenerator(
        sample_shape=spec.sample_shape, noise_dim=noise_dim, width=width // 2, depth=2, norm=True
    )
    critic: Critic
    if convolutional or spec.kind == "points":
        critic = usual_critic(spec, width=width)
        if convolutional:
            generator = usual_generator(spec, noise_dim=noise_dim, width=width)
    else:
        widths = [max(width // share, 8) for share in (1, 2, 4, 4, 4)]
        critic = NoisyCritic(sample_shape=spec.sample_shape, widths=widths)
    if minibatch:
        critic = MinibatchCritic(critic)
    if semi_supervised:
        critic = ClassCritic(critic, spec.classes(all_labelled=False))
    if virtual_norm:
        generator = VirtualNormGenerator.like(generator, batch_size)
    objective = smoothed(non_saturating, smooth)
    terms: list[Regularizer] = [Supervised()] if semi_supervised else []
    if feature_matching:
        terms.append(FeatureMatching(1.0))
        objective = dataclasses.replace(objective, generator=lambda logits: 0.0 * logits.sum())
    if history:
        terms += [HistoricalAverage(history, of=generator)]
        terms += [CriticsHistoricalAverage(history, of=critic)]
    return compose(
        generator=generator,
        discriminator=critic,
        objective=objective,
        regularizers=terms,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
