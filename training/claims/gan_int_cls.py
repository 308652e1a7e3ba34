"""GAN-INT-CLS draws captions between captions as well, and takes a style from a picture."""

from __future__ import annotations

import torch

from t2i.networks.base import PictureGenerator
from training.claims.captioned import birds_of, drawn_from, embedded, figures_of, show
from training.claims.claim import Measured, Trial, claim
from training.classes import class_logits_of
from training.metrics.features import as_bytes


@claim(
    paper="styles verified with AUC above 0.8 by GAN-INT (figure 5); smooth walks (figure 8)",
    shows="captions between captions are drawn as well as captions, and S transfers a style",
)
def gan_int_cls(trial: Trial) -> Measured:
    """Train on 12,000 illustrated birds for 150 kimg, then draw midway captions and styles.

    The distance of pictures drawn for the midpoints of two held-out captions is set beside that of
    pictures for the captions themselves. For the style, a picture is drawn with known noise, S
    reads the noise off it, and another caption is drawn with what S said: it is compared, pixel by
    pixel, with that caption drawn with the true noise and with noise of another picture. The claim
    holds when the midpoints' distance is at most 1.2 times the captions' and the style that S read
    is nearer to the true one for three pictures in four or more.
    """
    birds = birds_of(trial)
    trained = trial.train("gan-int-cls", birds.data, kimg=150.0, width=32, generator_width=32)
    captions = embedded(trained, birds.captions)
    drawn = drawn_from(trained, captions)
    between = drawn_from(trained, 0.5 * (captions + captions.roll(1, dims=0)))
    generator, style_encoder = trained.average.cpu(), trained.networks["style"].cpu()
    assert isinstance(generator, PictureGenerator)
    count = min(200, len(captions))
    noise = torch.randn(count, generator.noise_dim, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        shown = generator(captions[:count], noise).pictures[-1]
        read = class_logits_of(style_encoder, shown)
        other = captions[:count].roll(1, dims=0)
        true, moved, strange = (
            generator(other, style).pictures[-1] for style in (noise, read, noise.roll(1, dims=0))
        )
    nearer = (moved - true).square().mean((1, 2, 3)) < (strange - true).square().mean((1, 2, 3))
    figures = figures_of(birds, drawn)
    midway = birds.judge.kid(between)
    style = 100.0 * float(nearer.float().mean())
    return Measured(
        {
            "style_nearer_percent": style,
            "kid_x1000_between": midway,
            **figures,
            "kid_x1000_floor": birds.judge.floor,
            "style_error": float((read - noise).square().mean()),
        },
        holds=style >= 75.0 and midway <= 1.2 * figures["kid_x1000"],
        pictures={
            "a picture, its style under another caption, that caption with the true noise": show(
                trial.out / "gan_int_cls.png",
                [as_bytes(each) for each in (shown, moved, true)],
                ["picture", "its style", "true noise"],
            )
        },
    )
