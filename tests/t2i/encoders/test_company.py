from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2i.encoders.captions import CaptionEncoder
from t2i.encoders.company import TOGETHER, Company
from t2i.encoders.minilm import MiniLM
from t2i.networks.captions import CaptionNetwork


def test_few_captions_run_alone_and_many_with_those_of_their_length() -> None:
    company = Company()
    assert company.batches([7, 7], cores=2) == [[0], [1]]
    assert company.batches([7, 7, 7, 7], cores=2) == [[0, 1], [2, 3]]
    found = company.batches([9] * 40 + [5] * 3, cores=2)
    assert [len(batch) for batch in found] == [TOGETHER] * 5 + [2, 1]
    assert sorted(place for batch in found for place in batch) == list(range(43))
    lengths = [3, 8] * 9
    for batch in company.batches(lengths, cores=1):
        assert len({lengths[place] for place in batch}) == 1


class Model:
    """Says of a caption its number, and a trace of company where it leaves one."""

    def __init__(self, trace: float) -> None:
        self.trace = trace
        self.ran: list[int] = []

    def __call__(self, captions: list[str]) -> list[tuple[Tensor, ...]]:
        self.ran.append(len(captions))
        return [(torch.tensor(ord(each) + self.trace * (len(captions) > 1)),) for each in captions]


def test_company_is_tried_before_it_is_relied_on() -> None:
    company, model = Company(), Model(0.0)
    captions = ["a", "b", "c", "d"]
    for _ in range(3):
        found = company.run(model, captions, 5)
        assert [said.item() for (said,) in found] == [ord(each) for each in captions]
    # Twice the four beside each alone, so that eight have agreed; then together without a trial.
    assert model.ran == [1, 1, 1, 1, 4] * 2 + [4]


def test_a_length_whose_captions_leave_a_trace_runs_alone_from_then_on() -> None:
    company, model = Company(), Model(0.5)
    for _ in range(2):
        found = company.run(model, ["a", "b", "c", "d"], 5)
        assert [said.item() for (said,) in found] == [ord(each) for each in "abcd"]
    assert model.ran == [1, 1, 1, 1, 4, 1, 1, 1, 1]
    assert company.batches([5] * 8 + [6] * 8, cores=1) == [
        [*range(8, 16)],
        *([n] for n in range(8)),
    ]


@pytest.mark.parametrize("cores", [1, 2])
def test_embeddings_in_company_are_those_of_each_caption_alone(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.encoders.text.core_count", lambda: cores)
    colours = ["red", "blue", "green", "white", "black", "brown", "yellow", "orange"]
    captions = [
        text
        for one in colours
        for text in (
            f"{one} bird",
            f"a small {one} bird with {one} wings",
            f"a bird with a {one} head, {one} wings and a {one} tail",
        )
    ]
    torch.manual_seed(0)
    words, network = MiniLM(), CaptionNetwork()
    together, alone = CaptionEncoder(words, network), CaptionEncoder(MiniLM(), network)
    found, sentences = together.encode(captions), words.encode(captions)
    for caption, code, sentence in zip(captions, found, sentences, strict=True):
        assert torch.equal(alone.encode([caption])[0], code), caption
        assert torch.equal(alone.sentences([caption])[0], sentence), caption
