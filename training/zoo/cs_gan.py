"""CS-GAN: a translator that learns from how human its sentences read."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks.translation import PAD, PairCritic, Translator
from training.networks import usual_translator
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register
from training.rollouts import policy_loss, rollout_rewards, sentence_bleu


@register(section="C", data="parallel-text")
def cs_gan(
    spec: Spec,
    *,
    critic_share: float = 0.7,
    base: float = 0.5,
    rollouts: int = 20,
    pretrain_kimg: float = 100.0,
    critic_kimg: float = 10.0,
    learning_rate: float = 1e-3,
    policy_rate: float = 1e-4,
    width: int = 128,
    batch_size: int = 64,
) -> Recipe:
    """Conditional sequence GAN: policy gradient towards what D, and BLEU, say of a translation.

    Yang, Chen, Wang and Xu, 2018, arXiv:1703.04887 (BR-CSGAN).

    L_D = -E log D(x, y*) - E log (1 - D(x, y)),   y ~ G(x)
    L_G = -E Σ_t R_t log G(y_t | y_<t, x),   R_t the mean reward of N rollouts of G after y_≤t
    reward = λ (D(x, y) - b) + (1 - λ) BLEU(y, y*)

    G learns by likelihood first, then D, then both; a likelihood step on the true sentence (teacher
    forcing) goes with every policy step.

    λ 0.7 served RNNSearch best, 0.8 the Transformer; b is 0.5 and N 20, as there.

    Deviations: a small recurrent translator with attention instead of RNNSearch or Transformer; D
    sees the words at filters' lengths without highway layers (highway: as remembered), and its
    weights are not clamped; stages end by kimg, where the paper's D is trained until it is right
    four times in five; Adam at the rates below, where the authors' code takes RMSProp.

    Args:
        spec: What the data is: sentences with the ones that they translate.
        critic_share: λ; at 0 the reward is BLEU alone.
        base: b, what D's probability is measured from.
        rollouts: N.
        pretrain_kimg: Kimg of likelihood alone.
        critic_kimg: Kimg after that in which D learns and G does not follow it.
        learning_rate: Of Adam for likelihood and D.
        policy_rate: Of Adam for the policy gradient.
        width: Width of both players.
        batch_size: Pairs a step over all processes.
    """
    generator = usual_translator(spec, width=width)
    discriminator = PairCritic(
        vocabulary=spec.vocabulary, source_vocabulary=spec.source_vocabulary, width=width
    )

    def likelihood(networks: Networks, batch: Batch) -> Losses:
        logits = _translator(networks).logits(batch.translated, batch.pictures)
        loss = F.cross_entropy(logits.transpose(1, 2), batch.pictures, ignore_index=PAD)
        return Losses(loss, {"G/likelihood": loss.detach()})

    def critic(networks: Networks, batch: Batch) -> Losses:
        sources, judge = batch.translated, networks["discriminator"]
        chances = batch.noise.uniform("critic", batch.pictures.shape[1])
        translator = _translator(networks)
        with torch.no_grad():
            written = translator.write(translator.read(sources), chances)
        loss = F.softplus(-judge(sources, batch.pictures)).mean()
        loss = loss + F.softplus(judge(sources, written)).mean()
        return Losses(loss, {"D/adversarial": loss.detach()})

    def policy(networks: Networks, batch: Batch) -> Losses:
        sources, true, translator = batch.translated, batch.pictures, _translator(networks)

        def judge(sentences: Tensor, times: int) -> Tensor:
            asked, wanted = (part.repeat_interleave(times, dim=0) for part in (sources, true))
            human: Tensor = networks["discriminator"](asked, sentences).sigmoid() - base
            return critic_share * human + (1.0 - critic_share) * sentence_bleu(sentences, wanted)

        with torch.no_grad():
            memory = translator.read(sources)
            written = translator.write(memory, batch.noise.uniform("policy", true.shape[1]))
        rewards = rollout_rewards(translator, memory, written, judge, batch.noise, rollouts)
        loss = policy_loss(translator.logits(sources, written), written, rewards)
        return Losses(loss, {"G/policy": loss.detach(), "G/reward": rewards[:, -1].mean()})

    later = pretrain_kimg + critic_kimg
    adam, slow = (Adam(rate, betas=(0.9, 0.999)) for rate in (learning_rate, policy_rate))
    return Recipe(
        key="",
        networks={"generator": generator, "discriminator": discriminator},
        phases=(
            Phase("discriminator", adam, critic, active=lambda kimg: kimg >= pretrain_kimg),
            Phase("generator", slow, policy, active=lambda kimg: kimg >= later, name="policy"),
            Phase("generator", adam, likelihood, name="likelihood"),
        ),
        batch_size=batch_size,
        ema=None,
    )


def _translator(networks: Networks) -> Translator:
    return cast(Translator, networks["generator"])
