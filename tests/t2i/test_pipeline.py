from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from t2i.bundle import Bundle
from t2i.conditions import Label, Layout, LayoutObject, Text
from t2i.encoders import CaptionEncoder, caption_statistics, load_text_encoder
from t2i.errors import BundleError, InvalidInput
from t2i.networks import CaptionNetwork
from t2i.pipeline import MAX_COUNT, Draw, Fine, Pipeline, Towards
from tests.t2i.small_bundle import RESOLUTIONS, save_small, save_staged, small_config

CAPTIONS = ["small bird with red head", "a large blue bird", "x", "a bird " * 30]
COLOURS = ["red", "blue", "green", "black", "white", "grey", "brown"]
TRAINING_CAPTIONS = [f"a {c} bird with a {d} wing" for c in COLOURS for d in COLOURS]
SEEDS = [0, 1, 7, 2**31, 2**32, 2**32 + 7, 2**63 - 2, 2**63 - 1]


@pytest.fixture(scope="module")
def pipeline(small_bundle: Path) -> Pipeline:
    return Pipeline.from_pretrained(small_bundle, device="cpu")


def pictures(drawn: list[tuple[np.ndarray, ...]]) -> list[tuple[bytes, ...]]:
    return [tuple(stage.tobytes() for stage in stages) for stages in drawn]


def mixed_draws(pipeline: Pipeline) -> list[Draw]:
    embeddings = pipeline.encode(CAPTIONS)
    return [
        Draw(embeddings[index % len(CAPTIONS)], seed, 1.0 - index / 10, index % 3 / 2)
        for index, seed in enumerate(SEEDS)
    ]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_picture_has_the_same_bytes_in_batches_of_any_size(pipeline: Pipeline, size: int) -> None:
    draws = mixed_draws(pipeline)
    expected = [pictures(pipeline.draw([draw]))[0] for draw in draws]
    for order in (list(range(8)), [5, 2, 7, 0, 1, 6, 4, 3]):
        for start in range(0, 8, size):
            batch = order[start : start + size]
            drawn = pictures(pipeline.draw([draws[index] for index in batch]))
            assert drawn == [expected[index] for index in batch]


def test_a_picture_has_the_same_bytes_whatever_torchs_threads(pipeline: Pipeline) -> None:
    expected = pictures(pipeline.draw(mixed_draws(pipeline)))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            assert pictures(pipeline.draw(mixed_draws(pipeline))) == expected
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_callers_in_many_threads_get_the_bytes_that_each_alone_would(pipeline: Pipeline) -> None:
    draws = mixed_draws(pipeline)
    expected = pictures(pipeline.draw(draws))
    found: dict[int, list[tuple[bytes, ...]]] = {}

    def work(number: int) -> None:
        found[number] = pictures(pipeline.draw(draws[number:]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected[number:] for number in range(6))


def test_another_load_of_the_bundle_draws_the_same_bytes(
    pipeline: Pipeline, small_bundle: Path
) -> None:
    torch.manual_seed(99)
    other = Pipeline(Bundle.load(small_bundle), device="cpu")
    assert pictures(other.draw(mixed_draws(other))) == pictures(
        pipeline.draw(mixed_draws(pipeline))
    )


def test_no_draw_computes_what_follows_from_weights_alone(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [Draw(torch.zeros(pipeline.info.embedding_size), 1)]
    before = pictures(pipeline.draw(draws))
    monkeypatch.setattr("t2i.networks.blocks.doubling_kernel", None)
    assert pictures(pipeline.draw(draws)) == before


def test_generate_draws_what_draw_draws(pipeline: Pipeline) -> None:
    embedding = pipeline.encode([CAPTIONS[0]])[0]
    expected = pictures(pipeline.draw([Draw(embedding, seed, 0.7, 0.3) for seed in SEEDS]))
    generation = pipeline.generate(
        Text(CAPTIONS[0]), seeds=SEEDS, truncation=0.7, conditioning_truncation=0.3, stages="all"
    )
    assert generation.seeds == tuple(SEEDS)
    for stages, image, previews in zip(
        expected, generation.images, generation.previews, strict=True
    ):
        assert tuple(p.array.tobytes() for p in (*previews, image)) == stages


def test_seeds_conditions_and_truncations_matter(pipeline: Pipeline) -> None:
    def final(caption: str = "a red bird", **options: float) -> bytes:
        seed = int(options.pop("seed", 3))
        return pipeline.generate(caption, seeds=[seed], **options).images[0].array.tobytes()  # type: ignore[arg-type]

    different = [
        final(),
        final(seed=4),
        # The lower 32 bits of this seed are those of 3.
        final(seed=2**32 + 3),
        final("a blue bird"),
        final(truncation=0.5),
        final(conditioning_truncation=0.5),
    ]
    assert len(set(different)) == len(different)


def test_without_noise_all_seeds_draw_the_same_picture(pipeline: Pipeline) -> None:
    generation = pipeline.generate("a red bird", count=3, truncation=0.0, conditioning_truncation=0)
    assert len({image.array.tobytes() for image in generation.images}) == 1
    assert len(set(generation.seeds)) == 3


def test_seeds_that_were_not_given_can_be_used_again(pipeline: Pipeline) -> None:
    first = pipeline.generate("a red bird", count=2)
    seeds = [seed for seed in first.seeds if seed is not None]
    assert len(set(seeds)) == 2
    again = pipeline.generate("a red bird", seeds=seeds)
    for one, other in zip(first.images, again.images, strict=True):
        assert np.array_equal(one.array, other.array)
    assert pipeline.generate("a red bird").seeds[0] not in seeds


@pytest.mark.parametrize(
    ("stages", "sides", "earlier"),
    [("final", 32, ()), ("all", 32, (8, 16)), ([16, 8], 16, (8,)), ((32, 8), 32, (8,))],
)
def test_the_stages_asked_for_are_returned(
    pipeline: Pipeline, stages: str | list[int], sides: int, earlier: tuple[int, ...]
) -> None:
    generation = pipeline.generate("a red bird", count=2, stages=stages)  # type: ignore[arg-type]
    for image, previews in zip(generation.images, generation.previews, strict=True):
        assert image.array.shape == (sides, sides, 3)
        assert image.array.dtype == np.uint8
        assert tuple(preview.resolution for preview in previews) == earlier
        assert {preview.seed for preview in previews} <= {image.seed}


def test_info_describes_the_model(pipeline: Pipeline) -> None:
    info = pipeline.info
    assert (info.name, info.version) == ("small", "3")
    assert info.checksum == pipeline.bundle.checksum == pipeline.generate("a bird").checksum
    assert info.resolutions == RESOLUTIONS
    assert info.encoder == "all-MiniLM-L6-v2#mean#53aa51172d14"
    assert info.embedding_size == 384
    assert info.parameters == sum(p.numel() for p in pipeline.bundle.generator().parameters())


BAD: list[tuple[Callable[[Pipeline], object], str]] = [
    (lambda p: p.generate(""), "text"),
    (lambda p: p.generate("a", count=0), "count"),
    (lambda p: p.generate("a", count=MAX_COUNT + 1), "count"),
    (lambda p: p.generate("a", count=1.5), "count"),  # type: ignore[arg-type]
    (lambda p: p.generate("a", count=True), "count"),
    (lambda p: p.generate("a", count=2, seeds=[1, 2, 3]), "seeds"),
    (lambda p: p.generate("a", seeds=[]), "seeds"),
    (lambda p: p.generate("a", seeds=7), "seeds"),  # type: ignore[arg-type]
    (lambda p: p.generate("a", seeds=[0, -1]), "seeds[1]"),
    (lambda p: p.generate("a", seeds=[2**63]), "seeds[0]"),
    (lambda p: p.generate("a", seeds=[1.0]), "seeds[0]"),  # type: ignore[list-item]
    (lambda p: p.generate("a", truncation=1.01), "truncation"),
    (lambda p: p.generate("a", truncation=float("nan")), "truncation"),
    (lambda p: p.generate("a", conditioning_truncation=-0.1), "conditioning_truncation"),
    (lambda p: p.generate("a", stages="last"), "stages"),  # type: ignore[arg-type]
    (lambda p: p.generate("a", stages=[64]), "stages"),
    (lambda p: p.generate("a", stages=[]), "stages"),
    (lambda p: p.generate(), "condition"),
    (lambda p: p.generate(Label(name="wren")), "condition"),
    (lambda p: p.generate(Layout((LayoutObject("a", (0, 0, 1, 1)),))), "condition"),
    (lambda p: p.generate(7), "condition"),  # type: ignore[arg-type]
    (lambda p: p.interpolate("a", "b", steps=1), "steps"),
    (lambda p: p.interpolate("a", "b", seed=(1, -1)), "seed[1]"),
    (lambda p: p.interpolate("a", "b", seed=(1, 2, 3)), "seed"),  # type: ignore[arg-type]
    (lambda p: p.sweep("tilt"), "part"),
    (lambda p: p.draw([Draw(torch.zeros(3), 0)]), "draws[0].embedding"),
    (lambda p: p.draw([Draw(torch.zeros(384), 2**63)]), "draws[0].seed"),
    (lambda p: p.draw([Draw(torch.zeros(384), 0, 2.0)]), "draws[0].truncation"),
    (lambda p: Pipeline.from_pretrained(p.bundle.folder, device="toaster"), "device"),
]


@pytest.mark.parametrize(("ask", "field"), BAD)
def test_an_argument_that_is_wrong_is_named(
    pipeline: Pipeline, ask: Callable[[Pipeline], object], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        ask(pipeline)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_an_interpolation_begins_and_ends_with_the_pictures_of_its_ends(
    pipeline: Pipeline,
) -> None:
    way = pipeline.interpolate("a red bird", "a blue bird", steps=5, seed=(3, 9))
    first = pipeline.generate("a red bird", seeds=[3]).images[0]
    last = pipeline.generate("a blue bird", seeds=[9]).images[0]
    assert np.array_equal(way.images[0].array, first.array)
    assert np.array_equal(way.images[-1].array, last.array)
    assert way.seeds == (3, None, None, None, 9)
    assert len({image.array.tobytes() for image in way.images}) == 5


def test_an_interpolation_between_captions_keeps_the_noise(pipeline: Pipeline) -> None:
    way = pipeline.interpolate("a red bird", "a blue bird", steps=3, seed=3)
    assert way.seeds == (3, 3, 3)
    embeddings = pipeline.encode(["a red bird", "a blue bird"])
    middle = pipeline.draw([Draw(torch.lerp(*embeddings, 0.5), 3)])[0][-1]
    assert np.array_equal(way.images[1].array, middle)


def test_an_interpolation_of_one_caption_changes_only_the_noise(pipeline: Pipeline) -> None:
    way = pipeline.interpolate("a red bird", steps=3, seed=(1, 2))
    for image, seed in zip(way.images[::2], (1, 2), strict=True):
        assert np.array_equal(
            image.array, pipeline.generate("a red bird", seeds=[seed]).images[0].array
        )


def test_a_way_drawn_in_parts_is_the_same_way(pipeline: Pipeline) -> None:
    whole = pipeline.interpolate("a red bird", "a blue bird", steps=5, seed=(3, 9))
    start, stop = pipeline.encode(["a red bird", "a blue bird"])
    for place, image in zip((0.0, 0.25, 0.5, 0.75, 1.0), whole.images, strict=True):
        (alone,) = pipeline.draw([Draw(start, 3, towards=Towards(stop, 9, place))])
        assert np.array_equal(image.array, alone[-1])


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline.from_pretrained(save_staged(tmp_path_factory.mktemp("staged") / "b"), "cpu")


def test_the_coarse_stages_follow_one_caption_and_the_fine_another(staged: Pipeline) -> None:
    pipeline = staged
    red, blue = "a red bird", "a blue bird flying"
    alone = pipeline.generate(red, seeds=[3], stages="all")
    mixed = pipeline.generate(red, seeds=[3], stages="all", fine=blue, fine_from=32)
    assert pipeline.info.takes_fine
    for before, after in zip(alone.previews[0], mixed.previews[0], strict=True):
        assert np.array_equal(before.array, after.array)
    assert not np.array_equal(alone.images[0].array, mixed.images[0].array)
    earlier = pipeline.generate(red, seeds=[3], stages="all", fine=blue)
    assert np.array_equal(alone.previews[0][0].array, earlier.previews[0][0].array)
    assert not np.array_equal(alone.previews[0][1].array, earlier.previews[0][1].array)
    same = pipeline.generate(red, seeds=[3], fine=red)
    assert np.array_equal(alone.images[0].array, same.images[0].array)


def test_fine_pictures_have_the_same_bytes_in_any_company(staged: Pipeline) -> None:
    pipeline = staged
    one, other = pipeline.encode(["a red bird", "a blue bird flying"])
    draws = [Draw(one, 5, fine=Fine(other, stage)) for stage in (1, 2)]
    draws += [Draw(one, 5), Draw(one, 5, towards=Towards(other, 5, 0.5))]
    alone = [pictures(pipeline.draw([draw]))[0] for draw in draws]
    assert pictures(pipeline.draw(draws)) == alone
    assert len({stages[-1] for stages in alone}) == 4


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"fine": "a blue bird", "fine_from": 8},
            "fine_from: 8 is no later stage of staged; give 16",
        ),
        ({"fine_from": 16}, "fine_from: is given without fine"),
        ({"fine": "  "}, "text"),
        ({"fine": Label("wren")}, "staged takes no label"),
    ],
)
def test_a_fine_condition_that_cannot_be_followed_is_refused(
    staged: Pipeline, options: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        staged.generate("a red bird", **options)  # type: ignore[arg-type]


def test_a_generator_whose_first_stage_decides_takes_no_fine_caption(pipeline: Pipeline) -> None:
    assert not pipeline.info.takes_fine
    with pytest.raises(InvalidInput, match="all stages of small follow one condition"):
        pipeline.generate("a red bird", fine="a blue bird")


@pytest.fixture(scope="module")
def familiar(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    statistics = caption_statistics(load_text_encoder().encode_batch(TRAINING_CAPTIONS))
    folder = save_small(
        tmp_path_factory.mktemp("familiar") / "b", extra_states={"statistics": statistics}
    )
    return Pipeline.from_pretrained(folder, device="cpu")


def test_a_caption_far_from_training_is_drawn_with_a_warning(familiar: Pipeline) -> None:
    generation = familiar.generate("quarterly tax report", seeds=[1])
    assert len(generation.images) == 1
    (warning,) = generation.warnings
    assert warning.reason == "UNFAMILIAR_CONDITION"
    assert warning.distance > warning.threshold > 0
    assert f"distance {warning.distance:.2f}" in str(warning)


def test_a_familiar_caption_has_no_warning(familiar: Pipeline) -> None:
    assert familiar.generate("a yellow bird with a red wing").warnings == ()
    assert familiar.interpolate("a red bird with a blue wing", "tax report").warnings != ()


def test_a_bundle_without_statistics_warns_of_nothing(pipeline: Pipeline) -> None:
    assert pipeline.generate("quarterly tax report").warnings == ()


def test_a_model_of_labels_draws_its_classes_by_name_and_number(tmp_path: Path) -> None:
    config = small_config(conditions=["label"], labels=["wren", "robin"], encoder=None)
    config["network"]["arguments"]["condition_dim"] = 2
    pipeline = Pipeline.from_pretrained(save_small(tmp_path / "labels", config), device="cpu")
    by_name = pipeline.generate(Label(name="robin"), seeds=[5]).images[0].array
    by_number = pipeline.generate(Label(id=1), seeds=[5]).images[0].array
    other = pipeline.generate(Label(id=0), seeds=[5]).images[0].array
    assert np.array_equal(by_name, by_number)
    assert not np.array_equal(by_name, other)
    assert pipeline.info.labels == ("wren", "robin")
    with pytest.raises(InvalidInput, match="no class is named 'wrn'; did you mean 'wren'"):
        pipeline.generate(Label(name="wrn"))
    with pytest.raises(InvalidInput, match=r"labels takes no text; give label \(wren, robin\)"):
        Pipeline.from_pretrained(
            save_small(tmp_path / "l", config | {"name": "labels"}), device="cpu"
        ).generate("a wren")


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
    pipeline = Pipeline.from_pretrained(folder, device="cpu")
    expected = CaptionEncoder(words, network)
    assert pipeline.info.encoder == expected.id
    assert torch.equal(pipeline.encode(CAPTIONS), expected.encode(CAPTIONS))
    assert pipeline.generate("a yellow bird with a red wing").warnings == ()
    assert pipeline.generate("quarterly tax report").warnings[0].distance > 0.5


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = small_config(encoder={"id": "all-MiniLM-L6-v2", "dim": 384})
    config["network"]["arguments"]["condition_dim"] = 12
    folder = save_small(tmp_path / "a", config)
    with pytest.raises(BundleError, match="gives 384 numbers and its generator takes 12"):
        Pipeline.from_pretrained(folder)
    config = small_config(resolutions=[8, 16])
    folder = save_small(tmp_path / "b", config)
    with pytest.raises(BundleError, match=r"draws at \(8, 16, 32\)"):
        Pipeline.from_pretrained(folder)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_picture_has_the_same_bytes_in_any_batch_on_cuda(small_bundle: Path, size: int) -> None:
    pipeline = Pipeline.from_pretrained(small_bundle, device="cuda")
    draws = mixed_draws(pipeline)
    expected = pictures(pipeline.draw(draws))
    for start in range(0, 8, size):
        assert pictures(pipeline.draw(draws[start : start + size])) == expected[start:][:size]
