"""ProGAN: both players grow, from coarse pictures to fine ones."""

from __future__ import annotations

import dataclasses

from t2i.networks import ProgressiveCritic, ProgressiveGenerator
from t2i.networks.progressive import doublings_of
from training.compose import compose
from training.ema import Ema
from training.growth import growing, shown_as_grown
from training.networks import fits
from training.objectives import wasserstein
from training.optimizers import Adam
from training.recipe import Recipe, Update
from training.registry import Spec, register
from training.regularizers import Drift, GradientPenalty


@register(section="B", data="cifar10")
def progan(
    spec: Spec,
    *,
    stage_kimg: float = 800.0,
    grows: bool = True,
    deviation: bool = True,
    penalty: float = 10.0,
    drift: float = 1e-3,
    n_dis: int = 1,
    learning_rate: float = 1e-3,
    noise_dim: int = 512,
    width: int = 512,
    ema_half_life: float = 10.0,
    batch_size: int = 16,
) -> Recipe:
    """Progressive growing: learn what is large first, and fade finer sides in.

    Karras, Aila, Laine and Lehtinen, 2018, arXiv:1710.10196.

    Section 2: a side is trained for 800 thousand pictures, then the next is faded in over as many:
    both players mix the new blocks with the old ones by α, which goes from 0 to 1, and real
    pictures are mixed alike. Section 3: D's last block sees the deviation over the batch. Section
    4: weights from N(0, 1) scaled as they run, features of each place normalised in G. Appendix A:
    WGAN-GP's loss with λ = 10 and 0.001·E D(x)², one D step a G step, Adam of 1e-3 with betas 0 and
    0.99, an average of G's weights (decay 0.999 in batches of 16: half is new after 11 kimg).

    Deviations: pictures have the full side at all times, enlarged when drawn and pooled when looked
    at, so gradient penalties count full-size pixels; one batch size for all sides; Adam's ε is 1e-8
    and its state goes on from stage to stage.

    Args:
        spec: What the data is.
        stage_kimg: Length of a fade, and of the time that each side trains before the next.
        grows: Grow; else train at the full side from the start.
        deviation: Show D the deviation over the batch.
        penalty: λ, the weight of the gradient penalty.
        drift: Weight of D's squared logits of real pictures.
        n_dis: Critic steps a generator step.
        learning_rate: Of Adam with betas 0 and 0.99, for both players.
        noise_dim: Length of the noise.
        width: Channels of coarse features; fine ones have at most 16384 / side.
        ema_half_life: In kimg.
        batch_size: Pictures a step over all processes.
    """
    spec.expect("pictures")
    side = {"resolution": spec.resolution, "channels": spec.channels, "width": width}
    with fits():
        generator = ProgressiveGenerator(noise_dim=noise_dim, **side)
        critic = ProgressiveCritic(deviation=deviation, **side)
    grow = growing(stage_kimg, top=doublings_of(spec.resolution), grows=grows)
    grow({"generator": generator, "discriminator": critic}, Update(0.0, 0, {}))
    recipe = compose(
        generator=generator,
        discriminator=critic,
        objective=wasserstein,
        optimizer=Adam(learning_rate, betas=(0.0, 0.99)),
        n_dis=n_dis,
        regularizers=[GradientPenalty(penalty), Drift(drift)],
        after=grow,
        shown=shown_as_grown,
        batch_size=batch_size,
        ema=Ema(ema_half_life),
    )
    # What is not grown yet has no gradient.
    return dataclasses.replace(recipe, joins_late=True)
