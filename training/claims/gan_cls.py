"""GAN-CLS's discriminator tells right captions from wrong ones of birds it never saw."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from t2i.networks.base import Scores
from training.claims.captioned import birds_of, drawn_for, embedded, figures_of, show
from training.claims.claim import Measured, Trial, claim
from training.claims.pictures import as_input


@claim(
    paper="no such figure; samples of unseen classes follow their captions (figures 3 and 4)",
    shows="D ranks the right caption above a wrong one for combinations that training lacks",
)
def gan_cls(trial: Trial) -> Measured:
    """Train on 12,000 illustrated birds for 150 kimg, and ask about 2,000 of the unseen split.

    The unseen birds wear combinations of attributes that no training bird does, and their captions
    state them. Each picture is shown to D with its own caption and with that of the next bird. The
    claim holds when D scores the right one higher for three pictures in four or more. Distance,
    agreement and R-precision are those of pictures drawn for the captions of the val split.
    """
    birds, unseen = birds_of(trial), birds_of(trial, "unseen")
    trained = trial.train("gan-cls", birds.data, kimg=150.0, width=32, generator_width=32)
    captions = embedded(trained, unseen.captions)
    pictures = as_input(unseen.held_out.pictures[: len(captions)])
    critic = trained.networks["discriminator"].cpu()
    right = scores_of(critic, pictures, captions)
    wrong = scores_of(critic, pictures, captions.roll(1, dims=0))
    ranked = 100.0 * float((right > wrong).float().mean())
    drawn = drawn_for(trained, birds.captions)
    return Measured(
        {
            "ranked_right_percent": ranked,
            **figures_of(birds, drawn),
            "kid_x1000_floor": birds.judge.floor,
        },
        holds=ranked >= 75.0,
        pictures={
            "held-out birds above, drawn for their captions below": show(
                trial.out / "gan_cls.png", [birds.held_out.pictures, drawn], ["birds", "drawn"]
            )
        },
    )


@torch.inference_mode()
def scores_of(critic: nn.Module, pictures: Tensor, captions: Tensor, batch: int = 250) -> Tensor:
    """Return a critic's logits ``(n,)`` of pairs of picture and caption."""
    pairs = zip(torch.split(pictures, batch), torch.split(captions, batch), strict=True)
    return torch.cat([cast(Scores, critic(shown, said)).logits for shown, said in pairs])
