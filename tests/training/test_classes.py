from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical
from torch.nn import functional as F

from t2i.networks import MlpCritic
from tests.training.zoo.moves import batch_of
from training.classes import (
    ShowClasses,
    TellClasses,
    as_fake,
    class_logits,
    class_logits_of,
    drawn_labels,
    entropies,
    not_fake,
)
from training.regularizers import Play

LOGITS = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.2, -0.7]])


def test_entropies_of_sure_unsure_and_lopsided_sorting_are_known() -> None:
    sure = 200.0 * torch.eye(4)
    unsure = torch.zeros(4, 4)
    lopsided = 200.0 * torch.eye(4)[[0, 0, 0, 0]]
    for logits, use, doubt in (
        (sure, math.log(4), 0.0),
        (unsure, math.log(4), math.log(4)),
        (lopsided, 0.0, 0.0),
    ):
        found = entropies(logits)
        assert (float(found[0]), float(found[1])) == pytest.approx((use, doubt), abs=1e-5)


def test_entropies_are_those_of_the_mean_and_the_mean_of_those_of_each() -> None:
    each = Categorical(logits=LOGITS)
    use, doubt = entropies(LOGITS)
    torch.testing.assert_close(use, Categorical(probs=each.probs.mean(dim=0)).entropy())
    torch.testing.assert_close(doubt, each.entropy().mean())


def test_the_last_class_is_that_of_fakes() -> None:
    fake = LOGITS.softmax(dim=1)[:, -1]
    torch.testing.assert_close(as_fake(LOGITS), -fake.log().mean())
    torch.testing.assert_close(not_fake(LOGITS), -(1 - fake).log().mean())


def test_asked_labels_are_all_as_likely_and_not_those_of_the_real_samples() -> None:
    batch = batch_of(torch.zeros(3000, 2), torch.zeros(3000, dtype=torch.long))
    asked = drawn_labels(3)(batch)
    assert asked.shape == (3000, 3) and torch.equal(asked.sum(dim=1), torch.ones(3000))
    torch.testing.assert_close(asked.mean(dim=0), torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_both_players_pay_for_classes_that_are_not_read_as_they_should() -> None:
    torch.manual_seed(0)
    critic = MlpCritic(width=4, outputs=3)
    real, fake = torch.randn(2, 2), torch.randn(2, 2)
    labels, asked = torch.tensor([0, 2]), torch.tensor([1, 2])
    batch = batch_of(real, labels)
    networks = {"discriminator": critic}
    play = Play(networks, batch, fake, F.one_hot(asked, 3).float(), torch.zeros(2, 1))
    of_real, of_fake = class_logits(networks, real), class_logits_of(critic, fake)
    assert not torch.equal(of_real, of_fake)
    shown = F.cross_entropy(of_fake, asked)
    torch.testing.assert_close(ShowClasses(1.0).loss(play), shown)
    told = F.cross_entropy(of_real, labels) + shown
    torch.testing.assert_close(TellClasses(1.0).loss(play), told)
    assert (TellClasses(1.0).player, ShowClasses(1.0).player) == ("discriminator", "generator")
    # A critic without a second head is refused where such a term is asked for.
    assert TellClasses.reads_classes and ShowClasses.reads_classes
