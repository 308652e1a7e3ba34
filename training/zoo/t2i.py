"""The house recipe: stages, three pairs, and codes by which pictures and captions match."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from t2i.networks import StageDiscriminator, StageGenerator, StageOutput, StageScores
from training.augment import DiffAugment
from training.ema import Ema
from training.errors import TrainingError
from training.matcher import Matcher
from training.networks import fits
from training.objectives import conditioning_kl, hinge, matching_loss, mode_seeking_loss
from training.recipe import Adam, Batch, Losses, Networks, Phase, Recipe
from training.registry import Spec, register
from training.scales import steepness, sum_of
from training.stages import at_side


@register
def t2i(
    spec: Spec,
    *,
    stages: tuple[int, ...] = (16, 32, 64),
    stage_start: tuple[float, ...] = (0.0, 0.0, 10.0),
    width: int = 32,
    discriminator_width: int = 16,
    max_channels: int = 128,
    noise_dim: int = 100,
    conditioning_dim: int = 128,
    kl_weight: float = 0.02,
    unconditional_weight: float = 1.0,
    matching_weight: float = 1.0,
    generator_matching_weight: float = 0.25,
    agreement_weight: float = 0.5,
    attribute_weight: float = 3.0,
    hard_wrong: float = 0.5,
    temperature: float = 0.1,
    mode_seeking_weight: float = 0.2,
    penalty: float = 0.0,
    penalty_every: int = 4,
    feature_critics: bool = True,
    shift: bool = False,
    cut: bool = False,
    recolour: bool = False,
    caption_noise: float = 0.0,
    deep_fusion: bool = False,
    excitation: bool = False,
    head_start: float = 0.0,
    generator_lr: float = 4e-4,
    discriminator_lr: float = 4e-4,
    batch_size: int = 32,
    ema_half_life: float = 10.0,
) -> Recipe:
    """Captions to pictures in stages: a discriminator a stage, three pairs, and matching codes.

    Composed of StackGAN-v2 (Zhang et al., 2018, arXiv:1710.10916: one trunk, a picture and a
    discriminator at every stage, conditional and unconditional terms), GAN-CLS (Reed et al., 2016,
    arXiv:1605.05396, algorithm 1: real/right, real/wrong, fake/right pairs), the hinge objective
    with spectral normalisation (arXiv:1802.05957) and a contrastive matching term (XMC-GAN, Zhang
    et al., 2021, arXiv:2101.04702, eq. 4 and 6): the discriminator learns codes that match real
    pictures with their captions, the generator is asked to be matched. A frozen matcher, learned
    before, also tells the generator how well its picture agrees with the caption (DAMSM of AttnGAN,
    Xu et al., 2018, arXiv:1711.10485) and, where the data know attributes of their pictures, how
    far it shows those that the caption states (as AC-GAN does with classes, Odena et al., 2017,
    arXiv:1610.09585). What is matched best is what is most usual, so the mode-seeking term (Mao et
    al., 2019, arXiv:1903.05628) keeps variety. Half of the wrong captions are almost true: random
    ones are told apart by their coarsest word.

    Besides a critic of pixels at each stage there are critics of the matcher's feature maps
    (Projected GANs, Sauer et al., 2021, arXiv:2111.01007); sums run over both.

    L_D = Σ_stages  h(real) + h(fake)  +  h(real, right) + ½ h(real, wrong) + ½ h(fake, right)
                    + matching_weight · NCE(real, right)
                    + penalty · (‖∇_x D(real, right)‖² + ‖∇_e D(real, right)‖²)³
    L_G = Σ_stages  −D(fake) − D(fake, right) + generator_matching_weight · NCE(fake, right)
                    + agreement_weight · DAMSM(fake, right, wrong)   at the last stage
                    + attribute_weight · CE(attributes that right states, fake)   there too
                    + mode_seeking_weight · |z₁ − z₂| / |fake(z₁) − fake(z₂)|
                    + kl_weight · KL(N(μ, σ²) ‖ N(0, 1))

    Args:
        spec: What the networks must know of the data.
        stages: Side of each stage's picture in pixels, ascending; the last is the result.
        stage_start: When each stage joins the training, in kimg; the first must be 0.
        width: Channels of the generator at its last stage.
        discriminator_width: Channels of the discriminators at full resolution.
        max_channels: Upper bound of channels in all networks.
        noise_dim: Length of the noise vector.
        conditioning_dim: Length of the conditioning vector.
        kl_weight: Weight of the divergence that keeps the conditioning near a standard normal.
        unconditional_weight: Weight of the scores that ignore the caption.
        matching_weight: Weight of the matching codes in the discriminator.
        generator_matching_weight: Weight of being matched in the generator. At 1 its pictures are
            soon matched better than real ones, at the cost of looks and variety.
        agreement_weight: Weight of agreeing with the caption in the eyes of the frozen matcher.
        attribute_weight: Weight of showing the attributes that the caption states, in the eyes of
            the frozen matcher; without effect where the data know neither attributes nor labels.
        hard_wrong: Share of wrong captions that are almost true of their picture.
        temperature: Divides the cosines of matching codes.
        mode_seeking_weight: Weight of the term that makes noise matter.
        penalty: Weight of the matching-aware gradient penalty (DF-GAN, Tao et al., 2022,
            arXiv:2008.05865, eq. 1) on the critics of pixels; DF-GAN has 2.
        penalty_every: Steps of the discriminator between two penalties.
        feature_critics: Let critics look at the matcher's feature maps, beside those of pixels.
        shift: Show critics and matcher pictures that are moved by up to an eighth of their side
            (DiffAugment, Zhao et al., 2020, arXiv:2006.10738, as the next two).
        cut: Show them pictures with a square blackened.
        recolour: Show them pictures with brightness, saturation and contrast changed; captions that
            name colours become untrue.
        caption_noise: Deviation of Gaussian noise that the generator's captions are moved by, as a
            share of what captions differ by (LAFITE, Zhou et al., 2022, arXiv:2111.13792, eq. 1).
        deep_fusion: Draw with DF-GAN's blocks instead of modulated convolutions.
        excitation: Gate fine levels by coarse ones (FastGAN, Liu et al., 2021, arXiv:2101.04775).
        head_start: Kimg in which the discriminators learn alone. Of use where a run goes on from
            another with new discriminators: what they do not know yet would spoil its generator.
        generator_lr: Learning rate of the generator.
        discriminator_lr: Learning rate of the discriminators.
        batch_size: Pictures a step over all processes.
        ema_half_life: Half-life of the generator's average in kimg.
    """
    if len(stage_start) != len(stages) or stage_start[0] != 0:
        raise TrainingError(
            f"stage_start: {stage_start} does not fit stages {stages}; give one number a stage, "
            "the first 0"
        )
    if stages[-1] != spec.resolution:
        raise TrainingError(
            f"stages: {stages} ends at {stages[-1]} pixels, the data has {spec.resolution}; "
            f"let the last stage be {spec.resolution}"
        )
    generator = StageGenerator(
        condition_dim=spec.condition_dim,
        resolutions=stages,
        noise_dim=noise_dim,
        conditioning_dim=conditioning_dim,
        width=width,
        max_channels=max_channels,
        deep_fusion=deep_fusion,
        excitation=excitation,
    )
    with fits():
        discriminator = StageDiscriminator(
            condition_dim=spec.condition_dim,
            resolutions=stages,
            width=discriminator_width,
            max_channels=max_channels,
            features=spec.matcher.pictures.map_shapes(stages[-1])
            if spec.matcher is not None and feature_critics
            else (),
        )
    frozen = {} if spec.matcher is None else {"matcher": spec.matcher}
    changes = DiffAugment(colour=recolour, translation=shift, cutout=cut)

    def judge_of(players: Networks, pictures: Sequence[Tensor]) -> Matcher | None:
        """What looks at the last stage's pictures; nobody before it is drawn."""
        matcher = players.get("matcher")
        return matcher if isinstance(matcher, Matcher) and len(pictures) == len(stages) else None

    def fit(embeddings: Tensor) -> None:
        generator.standardize.fit(embeddings)
        discriminator.standardize.fit(embeddings)

    def shown(pictures: Sequence[Tensor], batch: Batch, name: str) -> list[Tensor]:
        """What critics and matcher are shown of each stage's pictures."""
        return [changes(each, batch.noise, f"{name}-{each.shape[-1]}") for each in pictures]

    def draw(network: nn.Module, captions: Tensor, noise: Tensor, batch: Batch) -> StageOutput:
        conditioning = batch.noise.normal("conditioning", conditioning_dim)
        if caption_noise:
            moved = batch.noise.normal("caption", spec.condition_dim)
            captions = captions + caption_noise * generator.standardize.std * moved
        stages_now = sum(start <= batch.kimg for start in stage_start)
        output: StageOutput = network(captions, noise, conditioning, stages_now)
        return output

    def discriminator_loss(players: Networks, batch: Batch) -> Losses:
        n = len(batch.pictures)
        with torch.no_grad():
            noise = batch.noise.normal("discriminator", noise_dim)
            fakes = draw(players["generator"], batch.right, noise, batch).pictures
            reals = [at_side(batch.pictures, fake.shape[-1]) for fake in fakes]
            both = shown(reals, batch, "real"), shown(fakes, batch, "fake")
            pictures = [torch.cat(pair) for pair in zip(*both, strict=True)]
            matcher = judge_of(players, pictures) if feature_critics else None
            maps = () if matcher is None else matcher.glance(pictures[-1])
        rows = torch.arange(n, device=batch.right.device)
        pairs = torch.cat([batch.right, batch.wrong, batch.right])
        every: Sequence[StageScores] = players["discriminator"](
            [*pictures, *maps], pairs, torch.cat([rows, rows, rows + n])
        )
        alone = sum_of(hinge.real(s.picture[:n]) + hinge.fake(s.picture[n:]) for s in every)
        paired = sum_of(
            hinge.real(s.pair[:n])
            + 0.5 * (hinge.fake(s.pair[n : 2 * n]) + hinge.fake(s.pair[2 * n :]))
            for s in every
        )
        matching = sum_of(
            matching_loss(s.picture_code[:n], s.caption_code[:n], batch.also_true, temperature)
            for s in every
        )
        total = unconditional_weight * alone + paired + matching_weight * matching
        told = {
            "D/picture": alone.detach() / len(every),
            "D/pair": paired.detach() / len(every),
            "D/matching": matching.detach() / len(every),
        }
        if penalty and batch.step % penalty_every == 0:
            steep = steepness(players["discriminator"], both[0], batch.right)
            total = total + penalty * penalty_every * steep
            told["D/penalty"] = steep.detach()
        return Losses(total, told)

    def generator_loss(players: Networks, batch: Batch) -> Losses:
        # Every caption twice, with different noise, so that one call shows what noise changes.
        half = len(batch.right) // 2
        captions = batch.right[:half].repeat(2, 1)
        also_true = batch.also_true[:half, :half].repeat(2, 2)
        noise = batch.noise.normal("generator", noise_dim)
        output = draw(players["generator"], captions, noise, batch)
        rows = torch.arange(2 * half, device=captions.device)
        pictures = shown(output.pictures, batch, "generator")
        matcher = judge_of(players, pictures)
        maps, seen = ((), None) if matcher is None else matcher.look(pictures[-1])
        # Without critics for them the maps are left unread.
        every: Sequence[StageScores] = players["discriminator"]([*pictures, *maps], captions, rows)
        alone = sum_of(hinge.generator(s.picture) for s in every)
        paired = sum_of(hinge.generator(s.pair) for s in every)
        matching = sum_of(
            matching_loss(s.picture_code, s.caption_code, also_true, temperature) for s in every
        )
        seeking = sum_of(
            mode_seeking_loss(p[:half], p[half:], noise[:half], noise[half:])
            for p in output.pictures
        )
        agreement = attributes = torch.zeros((), device=captions.device)
        if matcher is not None and seen is not None:
            wrong = batch.wrong[:half].repeat(2, 1)
            agreement = matcher.disagreement(seen, captions, wrong, also_true)
            attributes = matcher.misses(seen, captions)
        kl = conditioning_kl(output.mu, output.log_sigma)
        return Losses(
            unconditional_weight * alone
            + paired
            + generator_matching_weight * matching
            + agreement_weight * agreement
            + attribute_weight * attributes
            + mode_seeking_weight * seeking
            + kl_weight * kl,
            {
                "G/picture": alone.detach() / len(every),
                "G/pair": paired.detach() / len(every),
                "G/matching": matching.detach() / len(every),
                "G/agreement": agreement.detach(),
                "G/attributes": attributes.detach(),
                "G/seeking": seeking.detach() / len(every),
                "G/kl": kl.detach(),
            },
        )

    return Recipe(
        key="t2i",
        networks={"generator": generator, "discriminator": discriminator, **frozen},
        phases=(
            Phase("discriminator", Adam(discriminator_lr), discriminator_loss),
            Phase(
                "generator",
                Adam(generator_lr),
                generator_loss,
                active=lambda kimg: kimg >= head_start,
            ),
        ),
        batch_size=batch_size,
        ema=Ema(half_life=ema_half_life),
        fit=fit,
        watched=("D/picture", "D/pair"),
        hard_wrong=hard_wrong,
        differentiates_twice=penalty > 0,
        given=tuple(frozen),
    )
