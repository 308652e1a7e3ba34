from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from t2i.encoders import TextEncoder, load_text_encoder
from t2i.encoders.minilm import MiniLM
from t2i.errors import EncoderUnavailable, InvalidInput

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "bird", "on", "branch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformers model with random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS))
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
    ).save_pretrained(folder)
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


def hidden(folder: Path, caption: str) -> torch.Tensor:
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(caption, return_tensors="pt")
    with torch.no_grad():
        states: torch.Tensor = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    return states[0]


def test_the_default_is_minilm_under_each_of_its_names() -> None:
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        encoder = load_text_encoder(name)
        assert isinstance(encoder, MiniLM)
        assert encoder.id == "all-MiniLM-L6-v2#mean#53aa51172d14"
    assert isinstance(load_text_encoder(encoder.id), MiniLM)


def test_a_transformers_folder_is_pooled_by_the_mean_unless_told_otherwise(folder: Path) -> None:
    caption = "a red bird on a branch"
    states = hidden(folder, caption)
    mean = load_text_encoder(str(folder))
    cls = load_text_encoder(str(folder), pooling="cls")
    torch.testing.assert_close(mean.encode([caption])[0], states.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(cls.encode([caption])[0], states[0], atol=1e-5, rtol=0)
    assert mean.dim == cls.dim == 16
    assert "#mean#" in mean.id
    assert "#cls#" in cls.id
    assert mean.id.split("#")[2] == cls.id.split("#")[2]


def test_padding_does_not_leak_into_a_batch(folder: Path) -> None:
    encoder = load_text_encoder(str(folder))
    captions = ["a bird", "a red bird on a blue branch"]
    together = encoder.encode_batch(captions)
    torch.testing.assert_close(together, encoder.encode(captions), atol=1e-5, rtol=0)


def test_an_encoders_id_loads_the_same_encoder(folder: Path) -> None:
    encoder = load_text_encoder(str(folder), pooling="cls")
    again = load_text_encoder(encoder.id)
    assert again.id == encoder.id
    assert torch.equal(again.encode(["a red bird"]), encoder.encode(["a red bird"]))


def test_other_weights_under_the_same_id_are_refused(folder: Path) -> None:
    encoder = load_text_encoder(str(folder))
    name, pooling, _ = encoder.id.split("#")
    with pytest.raises(EncoderUnavailable, match="not 000000000000"):
        load_text_encoder(f"{name}#{pooling}#000000000000")
    with pytest.raises(EncoderUnavailable, match="have checksum 53aa51172d14, not 1234"):
        load_text_encoder("all-MiniLM-L6-v2#mean#1234")


def test_a_sentence_transformers_folder_keeps_its_own_pooling(folder: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    words = Transformer(str(folder))
    model = SentenceTransformer(modules=[words, Pooling(16, pooling_mode="max"), Normalize()])
    model.save(str(tmp_path / "own"))
    encoder = load_text_encoder(str(tmp_path / "own"))
    assert "#own#" in encoder.id
    embedding = encoder.encode(["a red bird"])[0]
    expected = torch.nn.functional.normalize(hidden(folder, "a red bird").amax(0), dim=0)
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=0)
    assert isinstance(load_text_encoder(str(tmp_path / "own"), pooling="mean"), TextEncoder)


def test_a_model_in_the_hubs_cache_is_found_by_its_id(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "models--someone--tiny"
    commit = "0" * 40
    (store / "refs").mkdir(parents=True)
    (store / "refs" / "main").write_text(commit)
    (store / "snapshots").mkdir()
    (store / "snapshots" / commit).symlink_to(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = load_text_encoder("someone/tiny")
    assert encoder.id.startswith("someone/tiny#mean#")
    assert torch.equal(
        encoder.encode(["a blue bird"]), load_text_encoder(str(folder)).encode(["a blue bird"])
    )


def test_an_unreachable_model_is_one_clear_error_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing listens on port 9 of this machine.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(EncoderUnavailable, match="the hub cannot be reached") as caught:
        load_text_encoder("nobody/no-such-model")
    assert time.monotonic() - began < 20
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("/no/such/folder", "no such folder"),
        ("two words", "no such folder"),
    ],
)
def test_a_model_that_is_nowhere_is_refused(id: str, words: str) -> None:
    with pytest.raises(EncoderUnavailable, match=words):
        load_text_encoder(id)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(EncoderUnavailable, match=r"no \*\.safetensors"):
        load_text_encoder(str(tmp_path))
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(EncoderUnavailable, match="cannot be read"):
        load_text_encoder(str(tmp_path))
    with pytest.raises(EncoderUnavailable, match="no pooling of its own"):
        load_text_encoder(str(tmp_path), pooling="own")


@pytest.mark.parametrize("id", ["", "  ", "a#mean#b#c"])
def test_what_is_no_id_is_refused(id: str) -> None:
    with pytest.raises(InvalidInput, match="encoder: "):
        load_text_encoder(id)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pooling: 'sum' is not known"):
        load_text_encoder("all-MiniLM-L6-v2#sum")
