"""The first GAN."""

from __future__ import annotations

from t2i.networks import MlpCritic, MlpGenerator
from training.compose import compose
from training.objectives import minimax, non_saturating
from training.optimizers import SGD, Adam, Optimizer
from training.recipe import Recipe
from training.registry import Spec, register


@register(section="A", data="ring8")
def gan(
    spec: Spec,
    *,
    saturating: bool = False,
    n_dis: int = 1,
    maxout: int = 5,
    dropout: float = 0.0,
    noise_dim: int = 100,
    width: int = 240,
    learning_rate: float = 2e-4,
    momentum: float = 0.0,
    batch_size: int = 100,
) -> Recipe:
    """Generative adversarial nets: a generator against a discriminator, both of linear layers.

    Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville and Bengio, 2014,
    arXiv:1406.2661.

    min_G max_D  E log D(x) + E log(1 - D(G(z)))                                   (eq. 1)

    D = σ(logit); the best D is p / (p + q) (proposition 1), against which the value is
    2·JSD - 2·log 2 (theorem 1). Section 3: G rather maximises log D(G(z)), since the gradient of
    log(1 - D(G(z))) vanishes where D is sure. D has maxout units, G rectified ones (section 5).

    Deviations: Adam unless a momentum is given (the paper: gradient descent with momentum); the
    noise is normal, not uniform; dropout in D is off unless asked for.

    Args:
        spec: What the data is.
        saturating: G minimises log(1 - D(G(z))), as in eq. 1.
        n_dis: Discriminator steps a generator step, the paper's k.
        maxout: Pieces of D's maxout units; 0 takes leaky ReLU.
        dropout: Probability of dropping a hidden unit of D.
        noise_dim: Length of the noise.
        width: Width of the hidden layers.
        learning_rate: Of both players.
        momentum: Above 0, gradient descent with this momentum instead of Adam.
        batch_size: Samples a step over all processes.
    """
    spec.expect("points", "pictures")
    optimizer: Optimizer = Adam(learning_rate, betas=(0.5, 0.999))
    if momentum:
        optimizer = SGD(learning_rate, momentum)
    return compose(
        generator=MlpGenerator(sample_shape=spec.sample_shape, noise_dim=noise_dim, width=width),
        discriminator=MlpCritic(
            sample_shape=spec.sample_shape, width=width, depth=2, maxout=maxout, dropout=dropout
        ),
        objective=minimax if saturating else non_saturating,
        optimizer=optimizer,
        n_dis=n_dis,
        batch_size=batch_size,
    )
