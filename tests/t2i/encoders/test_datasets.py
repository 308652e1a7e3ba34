from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from t2i.encoders import TextEncoder, encode_dataset
from t2i.encoders.datasets import BATCH, embedding_path
from t2i.encoders.minilm import MiniLM
from t2i.errors import InvalidInput


class Counter(TextEncoder):
    """Embeds a caption as its letters, and counts the batches that it is asked for."""

    def __init__(self, id: str = "counter") -> None:
        super().__init__(id, 3, torch.device("cpu"))
        self.batches: list[list[str]] = []

    def tokens(self, text: str) -> list[str]:
        return text.split()

    def token_states(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        states = torch.tensor([[[float(len(text))]] for text in texts])
        return states, torch.ones(len(texts), 1, dtype=torch.bool)

    def _embed(self, texts: list[str]) -> torch.Tensor:
        self.batches.append(texts)
        return torch.tensor([[len(t), ord(t[0]), ord(t[-1])] for t in texts], dtype=torch.float32)


CAPTIONS = [f"bird {number} " + "x" * (number * 7 % 13) for number in range(600)] * 2


def test_rows_come_in_the_order_of_the_captions(tmp_path: Path) -> None:
    rows = encode_dataset(Counter(), CAPTIONS, tmp_path, progress=False)
    assert rows.shape == (1200, 3)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[len(t), ord(t[0]), ord(t[-1])] for t in CAPTIONS]


def test_each_caption_is_encoded_once_in_sorted_batches(tmp_path: Path) -> None:
    encoder = Counter()
    encode_dataset(encoder, CAPTIONS, tmp_path, progress=False)
    assert [len(batch) for batch in encoder.batches] == [BATCH, BATCH, 600 - 2 * BATCH]
    asked = [caption for batch in encoder.batches for caption in batch]
    assert sorted(asked) == sorted(set(CAPTIONS))
    assert [len(caption) for caption in asked] == sorted(len(caption) for caption in asked)


def test_a_second_call_reads_the_file_and_computes_nothing(tmp_path: Path) -> None:
    first = encode_dataset(Counter(), CAPTIONS, tmp_path / "new", progress=False)
    encoder = Counter()
    second = encode_dataset(encoder, CAPTIONS, tmp_path / "new", progress=False)
    assert not encoder.batches
    assert np.array_equal(first, second)
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".npy"]
    with pytest.raises(ValueError, match="read-only"):
        second[0] = 0


def test_the_file_depends_on_encoder_captions_order_and_precision(tmp_path: Path) -> None:
    paths = {
        embedding_path(Counter(), ["ab", "c"], tmp_path),
        embedding_path(Counter(), ["a", "bc"], tmp_path),
        embedding_path(Counter(), ["c", "ab"], tmp_path),
        embedding_path(Counter("other"), ["ab", "c"], tmp_path),
        embedding_path(Counter(), ["ab", "c"], tmp_path, half=True),
    }
    assert len(paths) == 5


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    class Failing(Counter):
        def _embed(self, texts: list[str]) -> torch.Tensor:
            if self.batches:
                raise KeyboardInterrupt
            return super()._embed(texts)

    with pytest.raises(KeyboardInterrupt):
        encode_dataset(Failing(), CAPTIONS, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_what_it_should_be_is_computed_anew(tmp_path: Path) -> None:
    path = embedding_path(Counter(), ["a", "b"], tmp_path)
    for junk in (b"", b"not numpy"):
        path.write_bytes(junk)
        assert encode_dataset(Counter(), ["a", "b"], tmp_path, progress=False).shape == (2, 3)
    np.save(path, np.zeros((2, 4), np.float32))
    assert encode_dataset(Counter(), ["a", "b"], tmp_path, progress=False).shape == (2, 3)


def test_a_bad_caption_is_named_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"captions\[1\]: is blank"):
        encode_dataset(Counter(), ["a", " "], tmp_path)
    with pytest.raises(InvalidInput, match="captions: are empty"):
        encode_dataset(Counter(), [], tmp_path)


def test_the_file_agrees_with_the_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = MiniLM()
    captions = ["a red bird", "a small blue bird with a long beak flies over the sea", "a red bird"]
    rows = torch.from_numpy(np.array(encode_dataset(encoder, captions, tmp_path, progress=True)))
    torch.testing.assert_close(rows, encoder.encode(captions), atol=1e-5, rtol=0)
    assert torch.equal(rows[0], rows[2])
    assert capsys.readouterr().out == ""
