from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from t2i.networks.words import Words
from training.damsm import Damsm, likeness
from training.objectives import mutual_choice


def test_likeness_is_that_of_equations_8_to_10_written_out() -> None:
    torch.manual_seed(0)
    regions, words = torch.randn(2, 3, 4), torch.randn(2, 2, 4)
    present = torch.tensor([[True, True], [True, False]])
    found = likeness(regions, words, present, (5.0, 4.0))
    for i in range(2):
        for j in range(2):
            e = words[j][present[j]]
            over_words = (e @ regions[i].t()).softmax(dim=0)
            context = (5.0 * over_words).softmax(dim=1) @ regions[i]
            cosines = F.cosine_similarity(context, e, dim=1)
            expected = (4.0 * cosines).exp().sum().log() / 4.0
            torch.testing.assert_close(found[i, j], expected)


def captions(n: int = 4) -> Words:
    torch.manual_seed(1)
    return Words(torch.randn(n, 5), torch.randn(n, 3, 6), torch.ones(n, 3, dtype=torch.bool))


def test_the_loss_is_at_chance_when_all_pictures_are_one() -> None:
    network = Damsm(5, 6, dim=8, width=4).eval()
    pictures = torch.randn(1, 3, 16, 16).expand(4, -1, -1, -1)
    words = captions()
    same = Words(*(each[:1].expand_as(each) for each in words))
    with torch.no_grad():
        loss = network(pictures, same, torch.eye(4, dtype=torch.bool))
    # Words and sentence, each in two directions.
    assert float(loss) == pytest.approx(4 * torch.tensor(4.0).log().item(), rel=1e-4)


def test_captions_that_are_true_as_well_count_neither_way() -> None:
    logits = torch.tensor([[2.0, 5.0], [1.0, 3.0]])
    none = torch.eye(2, dtype=torch.bool)
    assert float(mutual_choice(logits, torch.ones(2, 2, dtype=torch.bool))) < 1e-6
    rows = F.cross_entropy(logits, torch.arange(2))
    columns = F.cross_entropy(logits.t(), torch.arange(2))
    torch.testing.assert_close(mutual_choice(logits, none), 0.5 * (rows + columns))


def test_pictures_and_their_words_learn_to_find_each_other() -> None:
    torch.manual_seed(0)
    network = Damsm(5, 6, dim=16, width=4)
    pictures = torch.rand(4, 3, 1, 1).expand(-1, -1, 16, 16) * 2 - 1
    pictures = pictures + 0.1 * torch.randn(4, 3, 16, 16)
    adam = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = network(pictures, captions(), torch.eye(4, dtype=torch.bool))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
