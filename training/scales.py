"""Critics of every scale, each judging pictures with their captions and without."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from t2i.networks.caption_critic import CaptionCritic
from t2i.networks.discriminator import StageScores
from training.networks import caption_critic
from training.objectives import Objective
from training.recipe import Losses, Networks
from training.registry import Spec
from training.stages import at_side


class Joint(NamedTuple):
    """A loss of one player in two parts, summed over the scales.

    Attributes:
        alone: Scalar, of pictures without captions.
        paired: Scalar, of pairs of picture and caption.
    """

    alone: Tensor
    paired: Tensor

    def losses(self, player: str, share: float = 1.0, **terms: tuple[float, Tensor]) -> Losses:
        """Return what a player minimises: both parts, and further terms.

        Args:
            player: ``D`` or ``G``, for the names of what is reported.
            share: Weight of both parts.
            **terms: Weight and value by name.
        """
        total = share * (self.alone + self.paired)
        parts = {"picture": self.alone, "pair": self.paired}
        for name, (weight, value) in terms.items():
            total, parts[name] = total + weight * value, value
        return Losses(total, {f"{player}/{name}": part.detach() for name, part in parts.items()})


def scale_critics(
    spec: Spec, sides: Sequence[int], *, condition_dim: int, width: int
) -> nn.ModuleList:
    """Return a critic for each side, with both scores.

    Args:
        spec: What the data is.
        sides: Sides of the pictures, coarse to fine.
        condition_dim: Length of what stands for a caption, which is taken as it is.
        width: Channels of each critic's first layer.
    """
    return nn.ModuleList(
        caption_critic(
            spec,
            resolution=side,
            condition_dim=condition_dim,
            code_dim=0,
            width=width,
            kernel=3,
            alone=True,
        )
        for side in sides
    )


def critics_of(networks: Networks) -> list[CaptionCritic]:
    """Return the critics, coarse to fine."""
    return [cast(CaptionCritic, each) for each in networks["discriminator"].children()]


def joint_discriminator_loss(
    networks: Networks,
    objective: Objective,
    real: Tensor,
    fakes: Sequence[Tensor],
    right: Tensor,
    wrong: Tensor,
) -> Joint:
    """Judge real and generated pictures at every scale. StackGAN-v2, 1710.10916, 4.2.

    Args:
        networks: ``discriminator`` is what `scale_critics` returned.
        objective: What the critics want of each kind of logits.
        real: ``(n, c, r, r)`` real pictures, shrunk to each scale.
        fakes: Generated pictures ``(n, c, side, side)``, coarse to fine.
        right: ``(n, d)`` what stands for captions that are true of both.
        wrong: ``(n, d)`` the same of captions that are not true of the real pictures.
    """
    alone, paired = [], []
    for critic, fake in zip(critics_of(networks), fakes, strict=True):
        seen, drawn = critic.look(at_side(real, fake.shape[-1])), critic.look(fake)
        true, untrue = critic.pair(seen, critic.read(torch.cat([right, wrong]))).logits.chunk(2)
        mine = critic.pair(drawn, critic.read(right)).logits
        alone.append(objective.discriminator_loss(critic.alone(seen), critic.alone(drawn)))
        paired.append(objective.real(true) + objective.fake(untrue) + objective.fake(mine))
    return Joint(torch.stack(alone).sum(), torch.stack(paired).sum())


def joint_generator_loss(
    networks: Networks, objective: Objective, fakes: Sequence[Tensor], right: Tensor
) -> Joint:
    """Ask to be taken for real at every scale. StackGAN-v2, 1710.10916, 4.2.

    Args:
        networks: ``discriminator`` is what `scale_critics` returned.
        objective: What the generator wants of its logits.
        fakes: Generated pictures ``(n, c, side, side)``, coarse to fine.
        right: ``(n, d)`` what stands for the captions that they were drawn for.
    """
    alone, paired = [], []
    for critic, fake in zip(critics_of(networks), fakes, strict=True):
        seen = critic.look(fake)
        alone.append(objective.generator(critic.alone(seen)))
        paired.append(objective.generator(critic.pair(seen, critic.read(right)).logits))
    return Joint(torch.stack(alone).sum(), torch.stack(paired).sum())


def steepness(critic: nn.Module, pictures: Sequence[Tensor], captions: Tensor) -> Tensor:
    """Return ``E ‖∇ D(x, e)‖^6`` at real pictures with true captions, a scalar.

    DF-GAN (2008.05865), eq. 1; D is the sum of the scores of pairs over the stages, and the
    gradient is that by every stage's picture and by the caption's embedding.

    Args:
        critic: A `StageDiscriminator`.
        pictures: ``(n, 3, r, r)`` a stage.
        captions: ``(n, d)``.
    """
    with torch.autocast(captions.device.type, enabled=False):
        x = [each.detach().float().requires_grad_(True) for each in pictures]
        e = captions.detach().float().requires_grad_(True)
        every: Sequence[StageScores] = critic(x, e, torch.arange(len(e), device=e.device))
        slopes = torch.autograd.grad(
            sum_of(s.pair.sum() for s in every), (*x, e), create_graph=True
        )
    squared = torch.stack([slope.flatten(1).square().sum(dim=1) for slope in slopes])
    return squared.sum(dim=0).pow(3).mean()


def sum_of(losses: Iterable[Tensor]) -> Tensor:
    """Sum scalars of the stages."""
    return torch.stack(list(losses)).sum()
