import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.matcher import AttributeReader, Matcher


def test_disagreement_is_the_cross_entropy_of_picking_the_own_caption_and_picture() -> None:
    matcher = Matcher(code_dim=3)
    matcher.said = nn.Sequential()
    matcher.log_scale.data.zero_()
    red, green, blue = torch.eye(3)
    seen, right, wrong = (
        torch.stack([red, green]),
        torch.stack([red, green]),
        torch.stack([blue, blue]),
    )
    none = torch.zeros(2, 2, dtype=torch.bool)
    e = math.e
    loss = matcher.disagreement(2.0 * seen, right, wrong, none)
    expected = 0.5 * (math.log((e + 2) / e) + math.log((e + 1) / e))
    assert loss.item() == pytest.approx(expected)
    # A caption that may be true as well does not compete; nor does the diagonal forbid itself.
    masked = matcher.disagreement(seen, right, wrong, ~none)
    assert masked.item() == pytest.approx(0.5 * math.log((e + 1) / e))


def test_disagreement_scales_the_cosines_of_standardised_captions() -> None:
    torch.manual_seed(2)
    matcher = Matcher(code_dim=4)
    codes = 3.0 * torch.randn(6, 4) + 1.0
    matcher.standardize.fit(codes)
    seen, right, wrong = torch.randn(3, 4), codes[:3], codes[3:]
    own, other = (matcher.said(matcher.standardize(x)).detach() for x in (right, wrong))
    torch.testing.assert_close(matcher.directions(right).detach(), F.normalize(own, dim=1))
    cosines = [[float(F.cosine_similarity(s, c, dim=0)) for c in (*own, *other)] for s in seen]
    for log_scale, scale in ((math.log(3.0), 3.0), (20.0, 50.0)):
        matcher.log_scale.data.fill_(log_scale)
        assert matcher.scale.item() == pytest.approx(scale)
        expected = 0.0
        for i, row in enumerate(cosines):
            rivals = [scale * row[j] for j in (*range(3), 3 + i)]
            column = [scale * other_row[i] for other_row in cosines]
            for against in (rivals, column):
                expected += math.log(sum(math.exp(a - scale * row[i]) for a in against)) / 6
        nothing = torch.zeros(3, 3, dtype=torch.bool)
        loss = matcher.disagreement(seen, right, wrong, nothing)
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_disagreement_teaches_the_pictures_and_no_frozen_network() -> None:
    matcher = Matcher(code_dim=8).eval().requires_grad_(False)
    pictures = torch.rand(4, 3, 16, 16, requires_grad=True)
    codes = torch.randn(4, 8)
    _, seen = matcher.look(pictures)
    none = torch.zeros(4, 4, dtype=torch.bool)
    matcher.disagreement(seen, codes, codes.flip(0), none).backward()
    assert pictures.grad is not None and bool((pictures.grad != 0).flatten(1).any(dim=1).all())
    assert all(parameter.grad is None for parameter in matcher.parameters())


def reader_of(*weights: list[list[float]]) -> AttributeReader:
    """A reader whose logits are the code times given weights ``(size, code_dim)``."""
    reader = AttributeReader(2, [len(rows) for rows in weights])
    for head, rows in zip(reader.heads, weights, strict=True):
        assert isinstance(head, nn.Linear)
        head.weight.data.copy_(torch.tensor(rows))
        head.bias.data.zero_()
    return reader


FIRST, BOTH = [[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]


def test_attributes_that_nobody_knows_do_not_count() -> None:
    reader = reader_of(FIRST, BOTH)
    codes = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(2.0)]])
    values = torch.tensor([[0, -1], [-1, 0]])
    expected = (math.log(4.0 / 3.0) + math.log(4.0 / 2.0)) / 2
    assert reader.loss(codes, values).item() == pytest.approx(expected)
    alone = torch.tensor([[0, -1], [-1, -1]])
    assert reader.loss(codes, alone).item() == pytest.approx(math.log(4.0 / 3.0))
    assert reader.loss(codes, torch.full((2, 2), -1)).item() == 0.0
    assert AttributeReader(2, ()).loss(codes, torch.empty(2, 0, dtype=torch.long)).item() == 0.0


def test_a_picture_misses_what_its_caption_surely_states_and_nothing_else() -> None:
    matcher = Matcher(code_dim=2, attribute_sizes=(2, 3))
    matcher.shown_attributes = reader_of(FIRST, BOTH)
    matcher.said_attributes = reader_of(FIRST, BOTH)
    # The first two captions state value 0 of the first attribute, the first also value 1 of the
    # second; the last leaves both open. Rare attributes weigh as much as those that all state.
    codes = torch.tensor([[20.0, 0.0], [20.0, 20.0], [0.1, 0.1]])
    seen = torch.tensor([[0.0, math.log(2.0)], [math.log(3.0), 0.0], [5.0, 5.0]])
    first = (math.log(2.0) + math.log(4.0 / 3.0)) / 2
    second = math.log(4.0)
    assert matcher.misses(seen, codes).item() == pytest.approx((first + second) / 2, rel=1e-4)
    assert matcher.misses(seen[2:], codes[2:]).item() == 0.0
    # One attribute alone is stated: the other does not dilute it.
    alone = matcher.misses(seen[1:2], codes[1:2])
    assert alone.item() == pytest.approx(math.log(4.0 / 3.0), rel=1e-4)
    heeding = Matcher(code_dim=2, attribute_sizes=(2, 3), heeded=(False, True))
    heeding.shown_attributes = heeding.said_attributes = reader_of(FIRST, BOTH)
    assert heeding.misses(seen, codes).item() == pytest.approx(second, rel=1e-4)
    assert Matcher(code_dim=2).misses(seen, codes).item() == 0.0


def test_each_caption_of_a_picture_is_asked_for_its_attributes() -> None:
    matcher = Matcher(code_dim=2, attribute_sizes=(2,))
    matcher.shown_attributes = reader_of(FIRST)
    matcher.said_attributes = reader_of(FIRST)
    seen, values = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]), torch.tensor([[0], [1]])
    codes = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [0.0, 0.0], [math.log(3.0), 0.0]])
    shown = (math.log(4 / 3) + math.log(2)) / 2
    said = (math.log(2) + math.log(4 / 3) + math.log(2) + math.log(4)) / 4
    assert matcher.attribute_loss(seen, codes, values).item() == pytest.approx(shown + said)
