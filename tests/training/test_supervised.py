from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from t2i.networks import MlpCritic, MlpGenerator
from tests.training.zoo.moves import batch_of
from training.compose import compose
from training.errors import TrainingError
from training.objectives import hinge
from training.recipe import Batch, LabelledRows
from training.regularizers import Play
from training.supervised import Supervised


def play_of(batch: Batch, critic: MlpCritic) -> Play:
    none = torch.zeros(len(batch), 0)
    return Play({"discriminator": critic}, batch, torch.randn(len(batch), 2), none, none)


def test_it_is_the_cross_entropy_of_the_labelled_rows_and_of_no_others() -> None:
    torch.manual_seed(0)
    critic = MlpCritic(width=4, outputs=3)
    labelled = LabelledRows(torch.randn(4, 2), torch.tensor([0, 2, 1, 1]))
    batch = dataclasses.replace(batch_of(torch.randn(4, 2)), labelled=labelled)
    play = Play(
        {"discriminator": critic}, batch, torch.randn(4, 2), torch.zeros(4, 0), torch.ones(1)
    )
    expected = F.cross_entropy(critic(labelled.pictures).class_logits, labelled.labels)
    torch.testing.assert_close(Supervised().loss(play), expected)
    assert Supervised().weight == 1.0


def test_it_asks_for_labels_and_for_a_critic_that_tells_them() -> None:
    play = Play(
        {}, batch_of(torch.randn(2, 2)), torch.randn(2, 2), torch.zeros(2, 0), torch.ones(1)
    )
    with pytest.raises(TrainingError, match="labels: the batch has none"):
        Supervised().loss(play)
    with pytest.raises(TrainingError, match="supervised: reads the critic's second head"):
        compose(
            generator=MlpGenerator(),
            discriminator=MlpCritic(),
            objective=hinge,
            regularizers=[Supervised()],
        )
