"""Terms beside the adversarial loss: penalties on the critic's gradient, and others.

A regularizer is given a `Play`, which holds what the phase already computed, and returns a scalar.
Penalties run the critic in float32 whatever the run's precision: they differentiate its gradient,
and bfloat16 keeps three digits of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from t2i.networks.caption_critic import CaptionCritic
from training.augment import DiffAugment
from training.recipe import Batch, Drawn, Networks, Scores, Update


@dataclass(frozen=True)
class Play:
    """One player's move, as regularizers see it.

    Attributes:
        networks: All networks by name.
        batch: The batch.
        fake: ``(n, ...)`` generated samples; with gradient in the generator's phase.
        condition: ``(n, condition_dim)`` of real and fake samples alike.
        noise: ``(n, noise_dim)`` that the fakes were drawn from.
        augment: What the critic sees its input through, or None.
        wrong: ``(n, condition_dim)`` that is not true of the real samples, where pairs are judged.
        drawn: All that the generator said with its fakes, or None.
    """

    networks: Networks
    batch: Batch
    fake: Tensor
    condition: Tensor
    noise: Tensor
    augment: DiffAugment | None = None
    wrong: Tensor | None = None
    drawn: Drawn | None = None

    @property
    def real(self) -> Tensor:
        """``(n, ...)`` real samples."""
        return self.batch.pictures

    def critic(self, samples: Tensor) -> Scores:
        """Score samples as they are, under the condition."""
        return cast(Scores, self.networks["discriminator"](samples, self.condition))

    def seen(self, samples: Tensor, name: str) -> Scores:
        """Score samples through the augmentation; names draw apart."""
        if self.augment is not None:
            samples = self.augment(samples, self.batch.noise, name)
        return self.critic(samples)

    @cached_property
    def real_scores(self) -> Scores:
        """Scores of the real samples, computed when first asked for."""
        if self.wrong is not None:
            return self._real_pairs[0]
        return self.seen(self.real, "augment-real")

    @property
    def wrong_scores(self) -> Scores:
        """Scores of the real samples under the wrong condition."""
        return self._real_pairs[1]

    @cached_property
    def _real_pairs(self) -> tuple[Scores, Scores]:
        """Both in one forward pass, in which each sample is looked at once."""
        assert self.wrong is not None
        samples, n = self.real, len(self.real)
        if self.augment is not None:
            samples = self.augment(samples, self.batch.noise, "augment-real")
        pairs = torch.cat([self.condition, self.wrong])
        said = cast(Scores, self.networks["discriminator"](samples, pairs))
        return (
            Scores(said.logits[:n], said.features[:n]),
            Scores(said.logits[n:], said.features[n:]),
        )

    @cached_property
    def fake_scores(self) -> Scores:
        """Scores of the generated samples, computed when first asked for."""
        return self.seen(self.fake, "augment-fake")


@dataclass(frozen=True)
class Regularizer(ABC):
    """A term of one player's loss; a subclass implements `loss`.

    Attributes:
        weight: What multiplies it.
        every: It is added every so many steps, with so many times the weight (lazily; Karras et
            al., 2020, 1912.04958, appendix B).
        name: What it is reported as.
        player: Whose loss it belongs to.
        per_sample: It needs a critic that scores each sample alone, so no BatchNorm.
        differentiates_twice: It holds the gradient of a gradient.
        reads_classes: It needs a critic with a second head.
    """

    weight: float
    every: int = 1
    name: str = "regularizer"
    player: ClassVar[str] = "discriminator"
    per_sample: ClassVar[bool] = False
    differentiates_twice: ClassVar[bool] = False
    reads_classes: ClassVar[bool] = False

    @abstractmethod
    def loss(self, play: Play) -> Tensor:
        """Return the scalar before the weight."""

    def state(self) -> nn.Module | None:
        """Return a new module whose buffers hold what the term remembers; None for nothing."""
        return None

    def after(self, state: nn.Module, update: Update) -> None:  # noqa: B027 - few terms need it
        """Move the state after an update of the player."""


At = Callable[[Play], Tensor]


def reals(play: Play) -> Tensor:
    """Real samples."""
    return play.real


def fakes(play: Play) -> Tensor:
    """Generated samples."""
    return play.fake


def interpolates(play: Play) -> Tensor:
    """One point on the line between each real and a generated sample. 1704.00028, algorithm 1."""
    share = play.batch.noise.uniform("interpolates", 1)
    share = share.reshape(-1, *(1,) * (play.real.dim() - 1))
    return play.real + share * (play.fake - play.real)


def perturbed_reals(play: Play) -> Tensor:
    """Real samples with noise of half the batch's deviation. Kodali et al., 2017, 1705.07215."""
    size = play.real[0].numel()
    step = play.batch.noise.uniform("perturbed", size).reshape(play.real.shape)
    return play.real + 0.5 * play.real.float().std() * step


@dataclass(frozen=True)
class GradientPenalty(Regularizer):
    """Mean of ``(‖∇_x D(x)‖ - target)²``, the norm taken sample by sample.

    WGAN-GP (Gulrajani et al., 2017, 1704.00028, eq. 3): weight 10, at interpolates, target 1.

    Attributes:
        at: Where the gradient is taken.
        target: The norm that is wanted; at 0 the squared norm is taken without a root.
        one_sided: Punish only norms above the target.
    """

    at: At = interpolates
    target: float = 1.0
    one_sided: bool = False
    name: str = "gradient_penalty"
    per_sample: ClassVar[bool] = True
    differentiates_twice: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the penalty, a scalar."""
        squared = squared_gradients(play, self.at(play))
        if self.target == 0.0:
            return squared.mean()
        # The root has no slope at zero.
        beyond = (squared + 1e-12).sqrt() - self.target
        return (F.relu(beyond) if self.one_sided else beyond).square().mean()


def squared_gradients(play: Play, samples: Tensor) -> Tensor:
    """Return ``(n,)``: squared norm of each sample's gradient of its own logit, in float32."""
    points = samples.detach().float().requires_grad_(True)
    with torch.autocast(points.device.type, enabled=False):
        logits = play.critic(points).logits
        (gradient,) = torch.autograd.grad(logits.sum(), points, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1)


@dataclass(frozen=True)
class MatchingAwarePenalty(Regularizer):
    """``E (‖∇_x D(x, e)‖ + ‖∇_e D(x, e)‖)^p`` at real pictures with captions true of them.

    Tao et al., 2022, 2008.05865, eq. 1: weight 2, p = 6. It draws D's loss flat around what the
    generator should come to: real pictures that match, and no others. The two gradients are taken
    as one vector, as the authors' code does. ``e`` is the caption as the critic reads it.

    Attributes:
        power: p.
    """

    power: float = 6.0
    name: str = "matching_aware_penalty"
    per_sample: ClassVar[bool] = True
    differentiates_twice: ClassVar[bool] = True

    def loss(self, play: Play) -> Tensor:
        """Return the penalty, a scalar."""
        critic = cast(CaptionCritic, play.networks["discriminator"])
        pictures = play.real.detach().float().requires_grad_(True)
        with torch.autocast(pictures.device.type, enabled=False):
            captions = critic.read(play.condition.float()).detach().requires_grad_(True)
            logits = critic.pair(critic.look(pictures), captions).logits
            slopes = torch.autograd.grad(logits.sum(), (pictures, captions), create_graph=True)
        squared = sum(slope.flatten(1).square().sum(dim=1) for slope in slopes)
        return cast(Tensor, squared).pow(self.power / 2).mean()


def r1(gamma: float = 10.0, every: int = 1) -> GradientPenalty:
    """γ/2 · E‖∇D(x)‖² at real samples. Mescheder et al., 2018, 1801.04406, eq. 9."""
    return GradientPenalty(0.5 * gamma, every, "r1", at=reals, target=0.0)


def r2(gamma: float = 10.0, every: int = 1) -> GradientPenalty:
    """γ/2 · E‖∇D(x)‖² at generated samples. Mescheder et al., 2018, 1801.04406, eq. 10."""
    return GradientPenalty(0.5 * gamma, every, "r2", at=fakes, target=0.0)


def dragan(weight: float = 10.0) -> GradientPenalty:
    """(‖∇D‖ - 1)² around real samples. Kodali et al., 2017, 1705.07215, algorithm 1."""
    return GradientPenalty(weight, name="dragan", at=perturbed_reals)


@dataclass(frozen=True)
class Drift(Regularizer):
    """``E D(x)²`` of real samples: logits stay near zero. Karras et al., 1710.10196, appendix A."""

    name: str = "drift"

    def loss(self, play: Play) -> Tensor:
        """Return the mean squared logit, a scalar."""
        return play.real_scores.logits.square().mean()


MIRROR_AND_SHIFT = DiffAugment(colour=False, cutout=False, flip=True)


@dataclass(frozen=True)
class Consistency(Regularizer):
    """``(D(x) - D(T(x)))²`` for an augmentation T. Zhang et al., 2020, 1910.12027, eq. 3.

    Attributes:
        augment: T; the paper mirrors and shifts.
        also_fakes: Ask the same of generated samples (2002.04724).
    """

    augment: DiffAugment = MIRROR_AND_SHIFT
    also_fakes: bool = False
    name: str = "consistency"

    def loss(self, play: Play) -> Tensor:
        """Return the mean squared difference, a scalar."""
        noise = play.batch.noise
        moved = play.critic(self.augment(play.real, noise, "consistency-real")).logits
        total = (play.real_scores.logits - moved).square().mean()
        if self.also_fakes:
            moved = play.critic(self.augment(play.fake, noise, "consistency-fake")).logits
            total = total + (play.fake_scores.logits - moved).square().mean()
        return total


class Anchors(nn.Module):
    """Moving averages of the critic's mean logits."""

    real: Tensor
    fake: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))


@dataclass(frozen=True)
class LeCam(Regularizer):
    """Keep logits near the moving average of the other side. Tseng et al., 2021, 2104.03310, eq. 8.

    Attributes:
        decay: Of the moving averages, a step.
    """

    decay: float = 0.99
    name: str = "lecam"

    def loss(self, play: Play) -> Tensor:
        """Return E(D(x) - α_F)² + E(D(G(z)) - α_R)², a scalar."""
        anchors = cast(Anchors, play.networks[self.name])
        real = (play.real_scores.logits - anchors.fake).square().mean()
        return real + (play.fake_scores.logits - anchors.real).square().mean()

    def state(self) -> nn.Module:
        """Return the two moving averages."""
        return Anchors()

    def after(self, state: nn.Module, update: Update) -> None:
        """Move the averages towards the mean logits of this step."""
        anchors = cast(Anchors, state)
        anchors.real.lerp_(update.parts["D/real"], 1.0 - self.decay)
        anchors.fake.lerp_(update.parts["D/fake"], 1.0 - self.decay)


@dataclass(frozen=True)
class Orthogonal(Regularizer):
    """``‖WWᵀ ⊙ (1 - I)‖²`` over convolutions and linear layers. Brock et al., 1809.11096, eq. 3.

    It belongs to the generator; `orthogonality` computes it for any network.
    """

    name: str = "orthogonal"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the sum over the generator's weights, a scalar."""
        return orthogonality(play.networks["generator"])


def orthogonality(network: nn.Module) -> Tensor:
    """Return the sum of squared inner products of different filters, a scalar.

    Of weights that are normalised spectrally it takes the learned ones, before normalisation.
    """
    terms = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            filters = _learned(module).float().flatten(1)
        elif isinstance(module, nn.ConvTranspose2d):
            filters = _learned(module).float().transpose(0, 1).flatten(1)
        else:
            continue
        with torch.autocast(filters.device.type, enabled=False):
            products = filters @ filters.t()
        terms.append((products - torch.diag(products.diagonal())).square().sum())
    return torch.stack(terms).sum()


def _learned(module: nn.Module) -> Tensor:
    weight = module.weight
    if parametrize.is_parametrized(module, "weight"):
        weight = cast(nn.ModuleDict, module.parametrizations)["weight"].original
    return cast(Tensor, weight)


@dataclass(frozen=True)
class PullingAway(Regularizer):
    """Mean squared cosine of different fakes' features. EBGAN, 1609.03126, eq. 4."""

    name: str = "pulling_away"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the term of the critic's features, a scalar from 0 (orthogonal) to 1."""
        return pulling_away(play.fake_scores.features)


def pulling_away(codes: Tensor) -> Tensor:
    """Return the mean squared cosine of different rows of ``(n, d)``. EBGAN, eq. 4."""
    n = len(codes)
    unit = F.normalize(codes.float(), dim=1)
    with torch.autocast(unit.device.type, enabled=False):
        squared = (unit @ unit.t()).square()
    return (squared.sum() - squared.diagonal().sum()) / (n * (n - 1))


@dataclass(frozen=True)
class FeatureMatching(Regularizer):
    """``‖E f(x) - E f(G(z))‖²`` of the critic's features. Salimans et al., 1606.03498, eq. 1."""

    name: str = "feature_matching"
    player: ClassVar[str] = "generator"

    def loss(self, play: Play) -> Tensor:
        """Return the squared distance of mean features, a scalar."""
        wanted = play.real_scores.features.mean(dim=0).detach()
        return (wanted - play.fake_scores.features.mean(dim=0)).square().sum()


def clip_weights(limit: float = 0.01) -> Callable[[Networks, Update], None]:
    """Return the hook that clips the critic's weights to ±limit. WGAN, 1701.07875, algorithm 1."""

    def clip(networks: Networks, update: Update) -> None:
        for weight in networks["discriminator"].parameters():
            weight.clamp_(-limit, limit)

    return clip
