from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i.bundle import Bundle
from t2i.conditions import Label
from t2i.encoders import CaptionEncoder, caption_statistics, load_text_encoder
from t2i.errors import BundleError, InvalidInput
from t2i.generation import Draw, Fine, Towards
from t2i.loaded_model import LoadedModel
from t2i.networks import CaptionNetwork
from tests.t2i.small_bundle import (
    RESOLUTIONS,
    TRAINING_CAPTIONS,
    save_scored,
    save_small,
    save_staged,
    small_config,
)

CAPTIONS = ["small bird with red head", "a large blue bird", "x", "a bird " * 30]
SEEDS = [0, 1, 7, 2**31, 2**32, 2**32 + 7, 2**63 - 2, 2**63 - 1]


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> LoadedModel:
    return LoadedModel.from_pretrained(small_bundle, device="cpu")


def pictures(drawn: list[tuple[np.ndarray, ...]]) -> list[tuple[bytes, ...]]:
    return [tuple(stage.tobytes() for stage in stages) for stages in drawn]


def mixed_draws(model: LoadedModel) -> list[Draw]:
    embeddings = model.encode(CAPTIONS)
    return [
        Draw(embeddings[index % len(CAPTIONS)], seed, 1.0 - index / 10, index % 3 / 2)
        for index, seed in enumerate(SEEDS)
    ]


def test_no_draw_computes_what_follows_from_weights_alone(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [Draw(torch.zeros(model.info.embedding_size), 1)]
    before = pictures(model.draw(draws))
    monkeypatch.setattr("t2i.networks.blocks.doubling_kernel", None)
    assert pictures(model.draw(draws)) == before


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_picture_has_the_same_bytes_in_batches_of_any_size(model: LoadedModel, size: int) -> None:
    draws = mixed_draws(model)
    expected = [pictures(model.draw([draw]))[0] for draw in draws]
    for order in (list(range(8)), [5, 2, 7, 0, 1, 6, 4, 3]):
        for start in range(0, 8, size):
            batch = order[start : start + size]
            drawn = pictures(model.draw([draws[index] for index in batch]))
            assert drawn == [expected[index] for index in batch]


def test_a_picture_has_the_same_bytes_whatever_torchs_threads(model: LoadedModel) -> None:
    expected = pictures(model.draw(mixed_draws(model)))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            assert pictures(model.draw(mixed_draws(model))) == expected
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_callers_in_many_threads_get_the_bytes_that_each_alone_would(model: LoadedModel) -> None:
    draws = mixed_draws(model)
    expected = pictures(model.draw(draws))
    found: dict[int, list[tuple[bytes, ...]]] = {}

    def work(number: int) -> None:
        found[number] = pictures(model.draw(draws[number:]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected[number:] for number in range(6))


def test_another_load_of_the_bundle_draws_the_same_bytes(
    model: LoadedModel, small_bundle: Path
) -> None:
    torch.manual_seed(99)
    other = LoadedModel(Bundle.load(small_bundle), device="cpu")
    assert pictures(other.draw(mixed_draws(other))) == pictures(model.draw(mixed_draws(model)))


def test_fine_pictures_have_the_same_bytes_in_any_company(tmp_path: Path) -> None:
    model = LoadedModel.from_pretrained(save_staged(tmp_path / "staged"), "cpu")
    one, other = model.encode(["a red bird", "a blue bird flying"])
    draws = [Draw(one, 5, fine=Fine(other, stage)) for stage in (1, 2)]
    draws += [Draw(one, 5), Draw(one, 5, towards=Towards(other, 5, 0.5))]
    alone = [pictures(model.draw([draw]))[0] for draw in draws]
    assert pictures(model.draw(draws)) == alone
    assert len({stages[-1] for stages in alone}) == 4


def test_info_describes_the_model(model: LoadedModel) -> None:
    info = model.info
    assert (info.name, info.version) == ("small", "3")
    assert info.checksum == model.bundle.checksum
    assert info.resolutions == RESOLUTIONS
    assert info.encoder == "all-MiniLM-L6-v2#mean#53aa51172d14"
    assert info.embedding_size == 384
    assert info.parameters == sum(p.numel() for p in model.bundle.generator().parameters())


def test_a_caption_network_in_the_bundle_reads_the_captions(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = CaptionNetwork(width=16, layers=1, heads=2, queries=2, code_dim=24)
    words = load_text_encoder()
    encoder = {
        "id": words.id,
        "dim": 24,
        "network": {"class": "CaptionNetwork", "arguments": network.config},
    }
    config = small_config(encoder=encoder)
    config["network"]["arguments"]["condition_dim"] = 24
    statistics = caption_statistics(words.encode_batch(TRAINING_CAPTIONS))
    states = {"encoder": network.state_dict(), "statistics": statistics}
    folder = save_small(tmp_path / "read", config, extra_states=states)
    model = LoadedModel.from_pretrained(folder, device="cpu")
    expected = CaptionEncoder(words, network)
    assert model.info.encoder == expected.id
    assert torch.equal(model.encode(CAPTIONS), expected.encode(CAPTIONS))
    assert model.warnings("a yellow bird with a red wing") == ()
    assert model.warnings("quarterly tax report")[0].distance > 0.5


BAD: list[tuple[Callable[[LoadedModel], object], str]] = [
    (lambda m: m.encode([None]), "condition"),
    (lambda m: m.encode([Label("wren")]), "condition"),
    (lambda m: m.warnings(""), "text"),
    (lambda m: m.draw([Draw(torch.zeros(3), 0)]), "draws[0].embedding"),
    (lambda m: m.draw([Draw(torch.zeros(384), 2**63)]), "draws[0].seed"),
    (lambda m: m.draw([Draw(torch.zeros(384), 0, 2.0)]), "draws[0].truncation"),
    (
        lambda m: m.draw([Draw(torch.zeros(384), 0, towards=Towards(torch.zeros(384), 0, 1.5))]),
        "draws[0].towards.place",
    ),
    (
        lambda m: m.draw([Draw(torch.zeros(384), 0, fine=Fine(torch.zeros(384), 1))]),
        "draws[0].fine.stage",
    ),
    (lambda m: m.score([], []), "best_of"),
    (lambda m: m.attention(["a bird"], [Draw(torch.zeros(384), 0)]), "attention"),
    (lambda m: LoadedModel.from_pretrained(m.bundle.folder, device="toaster"), "device"),
]


@pytest.mark.parametrize(("ask", "field"), BAD)
def test_an_argument_that_is_wrong_is_named(
    model: LoadedModel, ask: Callable[[LoadedModel], object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(model)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_model_that_was_read_needs_its_folder_no_longer(tmp_path: Path) -> None:
    model = LoadedModel.from_pretrained(save_scored(tmp_path / "scored"), "cpu")
    model.read_all()
    shutil.rmtree(model.bundle.folder)
    (embedding,) = model.encode(["a red bird"])
    ((*_, last),) = model.draw([Draw(embedding, 1)])
    (score,) = model.score([last], [embedding])
    assert -1.0 <= score <= 1.0


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = small_config(encoder={"id": "all-MiniLM-L6-v2", "dim": 384})
    config["network"]["arguments"]["condition_dim"] = 12
    folder = save_small(tmp_path / "a", config)
    with pytest.raises(BundleError, match="gives 384 numbers and its generator takes 12"):
        LoadedModel.from_pretrained(folder)
    config = small_config(resolutions=[8, 16])
    folder = save_small(tmp_path / "b", config)
    with pytest.raises(BundleError, match=r"draws at \(8, 16, 32\)"):
        LoadedModel.from_pretrained(folder)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_picture_has_the_same_bytes_in_any_batch_on_cuda(small_bundle: Path, size: int) -> None:
    model = LoadedModel.from_pretrained(small_bundle, device="cuda")
    draws = mixed_draws(model)
    expected = pictures(model.draw(draws))
    for start in range(0, 8, size):
        assert pictures(model.draw(draws[start : start + size])) == expected[start:][:size]
