"""InfoGAN: codes that find out by themselves what varies."""

from __future__ import annotations

from dataclasses import replace

from training.codes import LatentCode, ReadCode, ShowCode
from training.compose import compose
from training.networks import usual_critic, usual_generator
from training.objectives import non_saturating
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="C", data="mnist")
def infogan(
    spec: Spec,
    *,
    categories: tuple[int, ...] = (10,),
    continuous: int = 2,
    information: float = 1.0,
    continuous_weight: float = 0.1,
    learning_rate: float = 2e-4,
    generator_rate: float = 1e-3,
    noise_dim: int = 62,
    width: int = 64,
    hidden: int = 1024,
    q_hidden: int = 128,
    norm: bool = True,
    batch_size: int = 128,
) -> Recipe:
    """Information maximising GAN: what the code says must be readable from the picture.

    Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel, 2016, arXiv:1606.03657.

    min_{G,Q} max_D  V(D, G) - λ L_I(G, Q)                                         (eq. 6)
    L_I(G, Q) = E log Q(c | G(z, c)) + H(c) ≤ I(c; G(z, c))                         (eq. 5)

    Q is a second head on D's trunk (section 6): a softmax a categorical part, mean and deviation of
    a normal distribution a continuous one. L_I trains Q, the trunk and, through both, G. The codes
    are drawn: no label is looked at.

    Networks: appendix C.1 at 28 pixels. Deviations: the noise is normal; points take linear layers.

    Args:
        spec: What the data is.
        categories: Number of categories of each categorical part, such as 10 or 10,10.
        continuous: How many continuous parts, uniform from -1 to 1.
        information: λ of the categorical parts.
        continuous_weight: λ of the continuous parts, as a share of the former.
        learning_rate: Of Adam with betas 0.5 and 0.999, for D and Q.
        generator_rate: Of Adam for G.
        noise_dim: Length of the noise beside the code.
        width: Channels of DCGAN's outer layer; points have twice as many hidden units.
        hidden: Width of the linear layer between noise and convolutions, and of D's last.
        q_hidden: Width of Q's own linear layer.
        norm: BatchNorm in both players; points have none.
        batch_size: Samples a step over all processes.
    """
    code = LatentCode(tuple(categories), continuous)
    recipe = compose(
        generator=usual_generator(
            spec, condition_dim=code.dim, noise_dim=noise_dim, width=width, norm=norm, hidden=hidden
        ),
        discriminator=usual_critic(
            spec, outputs=code.outputs, width=width, norm=norm, hidden=hidden, head_hidden=q_hidden
        ),
        objective=non_saturating,
        regularizers=[
            ReadCode(information, code=code, continuous_weight=continuous_weight),
            ShowCode(information, code=code, continuous_weight=continuous_weight),
        ],
        condition=code.draw,
        optimizer=Adam(learning_rate, betas=(0.5, 0.999)),
        generator_optimizer=Adam(generator_rate, betas=(0.5, 0.999)),
        batch_size=batch_size,
    )
    return replace(recipe, examples=code.examples(), asked_with=code.asked_with())
