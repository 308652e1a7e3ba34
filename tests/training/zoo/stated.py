"""What the papers state of their training, and where each of a recipe's arguments must show.

The numbers are the papers' own where a paper gives one and the recipe keeps it; elsewhere they are
those that the recipe's docstring stands for. They are written down apart from the recipes, so that
a number that slips there is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.optimizers import SGD, Adam, Optimizer, RMSProp
from training.unroll import UnrolledAdam

Where = frozenset[str]
PHASES = "each phase"
BATCH, AVERAGE, LOSSES = "the batch", "the average", "the losses"


@dataclass(frozen=True)
class Stated:
    """One paper.

    Attributes:
        learns: Optimiser by phase, in the order of a round.
        knobs: Defaults of all arguments.
        shows: Where an argument shows when it is changed: names of networks, ``phase NAME``, or one
            of the words above. What is not here follows `USUALLY`, or shows in the losses alone.
        instead: What an argument is changed to, where twice or not its value will not do.
        average: Half-life of the generator's average in kimg, where no argument sets it.
        small: Sizes for the tests beyond `SMALL`.
        on_points: Arguments that only data of points shows.
        held: Arguments of which pictures this small allow one value.
    """

    learns: Mapping[str, Optimizer]
    knobs: Mapping[str, object]
    shows: Mapping[str, Where] = field(default_factory=dict)
    instead: Mapping[str, object] = field(default_factory=dict)
    average: float | None = None
    small: Mapping[str, object] = field(default_factory=dict)
    on_points: tuple[str, ...] = ()
    held: tuple[str, ...] = ()


def at(*places: str) -> Where:
    return frozenset(places)


G, D = "generator", "discriminator"
BOTH = at(G, D)
USUALLY: dict[str, Where] = {
    "learning_rate": at(PHASES),
    "batch_size": at(BATCH),
    "n_dis": at("phase discriminator"),
    "noise_dim": at(G),
    "generator_width": at(G),
    "width": BOTH,
    "norm": BOTH,
    "labels": BOTH,
    "ema_decay": at(AVERAGE),
    "ema_half_life": at(AVERAGE),
    "generator_lr": at("phase generator"),
    "generator_rate": at("phase generator"),
    "discriminator_lr": at("phase discriminator"),
}
D_ALONE = {"width": at(D)}


def adam(rate: float, slow: float = 0.5, slower: float = 0.999) -> Adam:
    return Adam(rate, (slow, slower))


def both(optimizer: Optimizer) -> dict[str, Optimizer]:
    return {"discriminator": optimizer, "generator": optimizer}


SIZES = {"noise_dim": 100, "width": 64, "batch_size": 64}
DCGAN = {**SIZES, "norm": True}
# Papers that learn from captions, and their rate, which is halved every 100 epochs of 8,855 birds.
CAPTIONED = {"learning_rate": 2e-4, "noise_dim": 100, "width": 64, "batch_size": 64}
CODED = {**CAPTIONED, "code_dim": 128, "generator_width": 128}
HALVED = Adam(2e-4, (0.5, 0.999), schedule=lambda kimg: 0.5 ** (kimg // 900.0))

STATED: dict[str, Stated] = {
    "ac-gan": Stated(
        both(adam(2e-4)),
        {
            **DCGAN,
            "batch_size": 100,
            "class_weight": 1.0,
            "saturating": False,
            "learning_rate": 2e-4,
        },
    ),
    "acgan-age": Stated(
        {**both(adam(2e-4)), "encoder": adam(2e-4)},
        {**DCGAN, "encoder_start": 0.0, "learning_rate": 2e-4},
        shows={
            "encoder_start": at("phase encoder"),
            "noise_dim": at(G, "encoder"),
            "width": at(G, D, "encoder"),
            "norm": at(G, D, "encoder"),
        },
    ),
    "adagan": Stated(
        {name: adam(1e-3) for name in ("weigher", "discriminators", "generator")},
        {
            **SIZES,
            "noise_dim": 64,
            "components": 5,
            "stage_kimg": 100.0,
            "weighing": 0.25,
            "learning_rate": 1e-3,
        },
        shows={
            "components": at(G, "discriminators", PHASES),
            "stage_kimg": at(PHASES),
            "weighing": at(PHASES),
            "width": at(G, "discriminators", "weigher"),
        },
    ),
    "am-gan": Stated(
        both(adam(2e-4)),
        {**DCGAN, "batch_size": 100, "dynamic": True, "learning_rate": 2e-4},
        shows={"dynamic": at(G)},
    ),
    "artgan": Stated(
        both(RMSProp(2e-4, 0.9)),
        {**DCGAN, "batch_size": 100, "reconstruction_weight": 1.0, "learning_rate": 2e-4},
    ),
    "attngan": Stated(
        {"damsm": adam(2e-3), **both(adam(2e-4))},
        {
            **CAPTIONED,
            "scales": 3,
            "damsm_weight": 5.0,
            "damsm_kimg": 100.0,
            "conditioning_dim": 100,
            "generator_width": 64,
            "batch_size": 24,
        },
        shows={
            **D_ALONE,
            "scales": BOTH,
            "damsm_kimg": at(PHASES),
            "conditioning_dim": at(G),
            "learning_rate": at("phase discriminator", "phase generator"),
        },
        instead={"scales": 1},
        average=16.6,
        small={"damsm_kimg": 0.008},
    ),
    "b-gan": Stated(
        both(adam(1e-4)),
        {**DCGAN, "divergence": "pearson", "relative": 0.0, "learning_rate": 1e-4},
        instead={"divergence": "kl"},
    ),
    "bayesian-gan": Stated(
        both(adam(1e-3)),
        {
            **SIZES,
            "samples": 4,
            "draws": 10,
            "prior": 1.0,
            "probes": 0,
            "learning_rate": 1e-3,
            "noise_dim": 64,
            "batch_size": 128,
        },
        shows={"draws": at(G), "probes": at(D)},
        on_points=("probes",),
    ),
    "began": Stated(
        both(adam(1e-4)),
        {
            **SIZES,
            "gamma": 0.5,
            "k_rate": 1e-3,
            "learning_rate": 1e-4,
            "halve_kimg": 0.0,
            "noise_dim": 64,
            "code_dim": 64,
            "batch_size": 16,
        },
        shows={"halve_kimg": at(PHASES), "code_dim": at(D)},
    ),
    "biggan": Stated(
        {"discriminator": adam(2e-4, 0.0), "generator": adam(5e-5, 0.0)},
        {
            "attention": 2,
            "orthogonal_weight": 1e-4,
            "n_dis": 2,
            "generator_lr": 5e-5,
            "discriminator_lr": 2e-4,
            "ema_decay": 0.9999,
            "noise_dim": 120,
            "shared_dim": 128,
            "generator_width": 96,
            "width": 96,
            "batch_size": 64,
        },
        # The half-life of the average follows from its decay a step and what a step shows.
        shows={
            **D_ALONE,
            "attention": BOTH,
            "shared_dim": at(G),
            "n_dis": at("phase discriminator", AVERAGE),
            "batch_size": at(BATCH, AVERAGE),
        },
        instead={"ema_decay": 0.99},
    ),
    "bilinear-game": Stated(
        {"generator+discriminator": SGD(0.1)},
        {"alternating": False, "history": 0.0, "rate": 0.1, "start": 1.0, "batch_size": 1},
        shows={
            "rate": at(PHASES),
            "start": BOTH,
            "alternating": at(PHASES),
            "history": at("generator_history", "discriminator_history"),
        },
    ),
    "bs-gan": Stated(
        both(adam(1e-4)),
        {**DCGAN, "levels": 2, "draws": 20, "learning_rate": 1e-4, "noise_dim": 64},
        shows={"levels": at(G), "norm": at(G)},
    ),
    "catgan": Stated(
        both(adam(2e-4)),
        {
            **DCGAN,
            "categories": 20,
            "label_weight": 0.0,
            "learning_rate": 2e-4,
            "noise_dim": 128,
            "batch_size": 100,
        },
        shows={"categories": at(D), "label_weight": at(D)},
    ),
    "cgan": Stated(both(adam(2e-4)), {**DCGAN, "learning_rate": 2e-4, "batch_size": 100}),
    "cs-gan": Stated(
        {
            "discriminator": adam(1e-3, 0.9),
            "policy": adam(1e-4, 0.9),
            "likelihood": adam(1e-3, 0.9),
        },
        {
            "critic_share": 0.7,
            "base": 0.5,
            "rollouts": 20,
            "pretrain_kimg": 100.0,
            "critic_kimg": 10.0,
            "learning_rate": 1e-3,
            "policy_rate": 1e-4,
            "width": 128,
            "batch_size": 64,
        },
        shows={
            "pretrain_kimg": at("phase discriminator", "phase policy"),
            "critic_kimg": at("phase policy"),
            "learning_rate": at("phase discriminator", "phase likelihood"),
            "policy_rate": at("phase policy"),
        },
    ),
    "dcgan": Stated(
        both(adam(2e-4)),
        {**DCGAN, "learning_rate": 2e-4, "beta1": 0.5, "generator_width": 128, "batch_size": 128},
        shows={**D_ALONE, "beta1": at(PHASES)},
        instead={"beta1": 0.25},
    ),
    "df-gan": Stated(
        {"discriminator": adam(4e-4, 0.0, 0.9), "generator": adam(1e-4, 0.0, 0.9)},
        {
            "penalty": 2.0,
            "power": 6.0,
            "penalty_every": 1,
            "learning_rate": 4e-4,
            "generator_learning_rate": 1e-4,
            "noise_dim": 100,
            "generator_width": 32,
            "width": 32,
            "batch_size": 32,
        },
        shows={
            **D_ALONE,
            "learning_rate": at("phase discriminator"),
            "generator_learning_rate": at("phase generator"),
        },
        average=22.0,
    ),
    "ebgan": Stated(
        both(adam(1e-3)),
        {**DCGAN, "margin": 1.0, "pulling_away": 0.1, "learning_rate": 1e-3, "code_dim": 64},
        shows={"norm": at(G), "code_dim": at(D)},
        on_points=("code_dim",),
    ),
    "f-gan": Stated(
        both(adam(2e-4)),
        {**DCGAN, "divergence": "js", "saturating": False, "learning_rate": 2e-4},
        instead={"divergence": "kl"},
    ),
    "gan": Stated(
        both(adam(2e-4)),
        {
            **SIZES,
            "saturating": False,
            "n_dis": 1,
            "maxout": 5,
            "dropout": 0.0,
            "width": 240,
            "learning_rate": 2e-4,
            "momentum": 0.0,
            "batch_size": 100,
        },
        shows={"maxout": at(D), "dropout": at(D), "momentum": at(PHASES)},
    ),
    "gan-cls": Stated(both(HALVED), CODED, shows={**D_ALONE, "code_dim": BOTH}),
    "gan-dissection": Stated(
        both(adam(2e-4)),
        {**SIZES, "learning_rate": 2e-4, "generator_width": 32, "width": 32},
        shows=D_ALONE,
    ),
    "gan-int-cls": Stated(
        {**both(HALVED), "style": HALVED},
        {**CODED, "share": 0.5, "interpolation_weight": 1.0},
        shows={"width": at(D, "style"), "noise_dim": at(G, "style"), "code_dim": BOTH},
    ),
    "geometric-gan": Stated(both(RMSProp(2e-4)), {**DCGAN, "n_dis": 1, "learning_rate": 2e-4}),
    "gogan": Stated(
        both(RMSProp(5e-5)),
        {
            **SIZES,
            "stages": 3,
            "stage_kimg": 20.0,
            "margin": 1.0,
            "ranking": 0.5,
            "clip": 0.01,
            "n_dis": 5,
            "learning_rate": 5e-5,
        },
        shows={"noise_dim": at(G, "rank"), "width": at(G, D, "rank")},
        instead={"stages": 1},
    ),
    "gran": Stated(
        both(adam(2e-4)),
        {
            **DCGAN,
            "steps": 3,
            "learning_rate": 2e-4,
            "noise_dim": 60,
            "hidden_dim": 100,
            "generator_width": 64,
            "batch_size": 100,
        },
        shows={**D_ALONE, "hidden_dim": at(G), "steps": at(G)},
    ),
    "improved-gan": Stated(
        both(adam(3e-3)),
        {
            **SIZES,
            "semi_supervised": True,
            "feature_matching": True,
            "minibatch": False,
            "history": 0.0,
            "smooth": 1.0,
            "virtual_norm": False,
            "convolutional": False,
            "learning_rate": 3e-3,
            "width": 1000,
            "batch_size": 100,
        },
        shows={
            "semi_supervised": at(D),
            "minibatch": at(D),
            "history": at("generator_history", "discriminator_history"),
            "virtual_norm": at(G),
            "convolutional": BOTH,
        },
        instead={"smooth": 0.9},
        small={"width": 16},
    ),
    "infogan": Stated(
        {"discriminator": adam(2e-4), "generator": adam(1e-3)},
        {
            **DCGAN,
            "categories": (10,),
            "continuous": 2,
            "information": 1.0,
            "continuous_weight": 0.1,
            "learning_rate": 2e-4,
            "generator_rate": 1e-3,
            "noise_dim": 62,
            "hidden": 1024,
            "q_hidden": 128,
            "batch_size": 128,
        },
        shows={
            "categories": BOTH,
            "hidden": BOTH,
            "q_hidden": at(D),
            "continuous": BOTH,
            "learning_rate": at("phase discriminator"),
        },
    ),
    "lapgan": Stated(
        # Of the levels at 16 pixels: two halvings.
        {f"{player}-{side}": adam(2e-4) for side in (4, 8, 16) for player in (D, G)},
        {
            **SIZES,
            "labels": False,
            "levels": 2,
            "learning_rate": 2e-4,
            "generator_width": 64,
            "dropout": 0.5,
        },
        shows={
            **D_ALONE,
            "levels": at(G, D, "phase discriminator-4", "phase generator-4"),
            "dropout": at(D),
        },
        instead={"levels": 1},
    ),
    "lsgan": Stated(
        both(adam(1e-3)), {**DCGAN, "a": 0.0, "b": 1.0, "c": 1.0, "learning_rate": 1e-3}
    ),
    "mode-reg-gan": Stated(
        {"discriminator": adam(2e-4), "generator+encoder": adam(2e-4)},
        {
            **SIZES,
            "manifold_diffusion": False,
            "reconstruction": 50.0,
            "modes": 0.4,
            "learning_rate": 2e-4,
        },
        shows={
            "manifold_diffusion": at(
                "manifold_discriminator", "phase manifold_discriminator", "phase generator"
            ),
            "noise_dim": at(G, "encoder"),
            "width": at(G, D, "encoder"),
        },
    ),
    "progan": Stated(
        both(adam(1e-3, 0.0, 0.99)),
        {
            "stage_kimg": 800.0,
            "grows": True,
            "deviation": True,
            "penalty": 10.0,
            "drift": 1e-3,
            "n_dis": 1,
            "learning_rate": 1e-3,
            "noise_dim": 512,
            "width": 512,
            "ema_half_life": 10.0,
            "batch_size": 16,
        },
        shows={"deviation": at(D)},
    ),
    "sagan": Stated(
        {"discriminator": adam(4e-4, 0.0, 0.9), "generator": adam(1e-4, 0.0, 0.9)},
        {
            **SIZES,
            "labels": True,
            "attention": 4,
            "n_dis": 1,
            "generator_lr": 1e-4,
            "discriminator_lr": 4e-4,
            "noise_dim": 128,
            "generator_width": 64,
        },
        shows={**D_ALONE, "attention": BOTH},
        instead={"attention": 2},
    ),
    "sgan": Stated(both(adam(2e-4)), {**DCGAN, "saturating": False, "learning_rate": 2e-4}),
    "sngan": Stated(
        both(adam(2e-4, 0.0, 0.9)),
        {
            "labels": False,
            "n_dis": 5,
            "learning_rate": 2e-4,
            "decay_kimg": 0.0,
            "noise_dim": 128,
            "generator_width": 256,
            "width": 128,
            "batch_size": 64,
        },
        shows={**D_ALONE, "decay_kimg": at(PHASES)},
    ),
    "stackgan": Stated(
        {
            "discriminator-1": HALVED,
            "generator-1": HALVED,
            "discriminator-2": HALVED,
            "generator-2": HALVED,
        },
        {
            **CAPTIONED,
            "stage_kimg": 200.0,
            "factor": 4,
            "kl_weight": 2.0,
            "conditioning_dim": 128,
            "generator_width": 128,
        },
        shows={
            "stage_kimg": at(PHASES),
            "conditioning_dim": at(G),
            "width": at(D, "discriminator-1"),
        },
        small={"stage_kimg": 0.0},
        held=("factor",),
    ),
    "stackgan-v2": Stated(
        both(adam(2e-4)),
        {
            **CAPTIONED,
            "scales": 3,
            "kl_weight": 2.0,
            "colour_weight": 0.0,
            "conditioning_dim": 128,
            "generator_width": 64,
            "batch_size": 24,
        },
        shows={"scales": BOTH, "conditioning_dim": BOTH, **D_ALONE},
        instead={"scales": 1},
        average=16.6,
    ),
    "t2i": Stated(
        both(adam(4e-4, 0.0, 0.99)),
        {
            "stages": (16, 32, 64),
            "stage_start": (0.0, 0.0, 10.0),
            "width": 32,
            "discriminator_width": 16,
            "max_channels": 128,
            "noise_dim": 100,
            "conditioning_dim": 128,
            "kl_weight": 0.02,
            "unconditional_weight": 1.0,
            "matching_weight": 1.0,
            "generator_matching_weight": 0.25,
            "agreement_weight": 0.5,
            "attribute_weight": 3.0,
            "hard_wrong": 0.5,
            "temperature": 0.1,
            "mode_seeking_weight": 0.2,
            "penalty": 0.0,
            "penalty_every": 4,
            "feature_critics": True,
            "shift": False,
            "cut": False,
            "recolour": False,
            "caption_noise": 0.0,
            "deep_fusion": False,
            "excitation": False,
            "head_start": 0.0,
            "generator_lr": 4e-4,
            "discriminator_lr": 4e-4,
            "batch_size": 32,
            "ema_half_life": 10.0,
        },
        shows={
            "width": at(G),
            "discriminator_width": at(D),
            "max_channels": BOTH,
            "conditioning_dim": at(G),
            "deep_fusion": at(G),
            "head_start": at("phase generator"),
        },
        instead={"stage_start": (0.0, 0.016), "head_start": 0.016},
        small={
            "stages": (8, 16),
            "stage_start": (0.0, 0.0),
            "discriminator_width": 4,
            "max_channels": 8,
            "penalty": 1.0,
        },
        # Without a matcher, a truth of captions and pictures from 32 pixels on they change nothing.
        held=(
            "stages",
            "agreement_weight",
            "attribute_weight",
            "hard_wrong",
            "feature_critics",
            "excitation",
        ),
    ),
    "unrolled-gan": Stated(
        {"discriminator": UnrolledAdam(1e-4, (0.5, 0.999)), "generator": adam(1e-4)},
        {
            "unrolled": 5,
            "inner_rate": 0.0,
            "learning_rate": 1e-4,
            "generator_rate": 1e-4,
            "decay_kimg": 0.0,
            "noise_dim": 256,
            "width": 64,
            "batch_size": 512,
        },
        shows={"learning_rate": at("phase discriminator"), "decay_kimg": at(PHASES)},
    ),
    "wgan": Stated(
        both(RMSProp(5e-5)),
        {**DCGAN, "clip": 0.01, "n_dis": 5, "learning_rate": 5e-5},
    ),
    "wgan-gp": Stated(
        both(adam(1e-4, 0.0, 0.9)),
        {
            "penalty": 10.0,
            "n_dis": 5,
            "learning_rate": 1e-4,
            "beta1": 0.0,
            "decay_kimg": 0.0,
            "noise_dim": 128,
            "width": 128,
            "architecture": "residual",
            "batch_size": 64,
        },
        instead={"architecture": "dcgan"},
        shows={"beta1": at(PHASES), "decay_kimg": at(PHASES), "architecture": BOTH},
    ),
}
