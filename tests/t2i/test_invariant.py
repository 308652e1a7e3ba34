from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from t2i.bundle import Bundle
from t2i.drawing import Inputs, draw_pictures, run_generator, tile_sizes
from t2i.invariant import LEAST_ROWS, Proof, pad_rows
from t2i.networks import (
    DcganGenerator,
    ResidualGenerator,
    StackGenerator,
    StageGenerator,
    TreeGenerator,
)
from t2i.pipeline import Draw, Fine, Pipeline
from tests.t2i.small_bundle import conditioned_config, save_staged, small_config, small_state

CPU = torch.device("cpu")


def made(build: Callable[[], nn.Module]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build().eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def random_inputs(generator: Any, count: int, kind: int = 0) -> list[Inputs]:
    numbers = torch.Generator().manual_seed(1)

    def vector(length: int) -> Tensor:
        return torch.randn(length, generator=numbers)

    dims = (generator.condition_dim, generator.noise_dim, generator.conditioning_dim)
    pictures = []
    for _ in range(count):
        asked, noise, around, fine = (vector(dim) for dim in (*dims, dims[0]))
        one = Inputs(asked, noise, around)
        pictures.append(replace(one, fine=fine, fine_from=kind) if kind else one)
    return pictures


def bits(generator: Any, inputs: list[Inputs]) -> list[tuple[bytes, ...]]:
    """The generator's own numbers for pictures that run together, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            stages = run_generator(generator, inputs, len(inputs), CPU)
    finally:
        torch.set_num_threads(before)
    return [
        tuple(stage[row].contiguous().numpy().tobytes() for stage in stages)
        for row in range(len(inputs))
    ]


def as_bytes(drawn: list[tuple[Any, ...]]) -> list[tuple[bytes, ...]]:
    return [tuple(stage.tobytes() for stage in stages) for stages in drawn]


@pytest.fixture(scope="module")
def padded() -> Any:
    """As large as the bundled one: small networks agree between batch sizes by luck."""
    generator = made(StageGenerator)
    pad_rows(generator)
    return generator


@pytest.fixture(scope="module")
def expected(padded: Any) -> list[tuple[bytes, ...]]:
    return [bits(padded, [picture])[0] for picture in random_inputs(padded, 10)]


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_pictures_numbers_are_the_same_to_the_bit_alone_and_anywhere_in_any_batch(
    padded: Any, expected: list[tuple[bytes, ...]], size: int
) -> None:
    inputs = random_inputs(padded, 10)
    assert len(set(expected)) == 10
    for seed in range(2):
        batch = random.Random(10 * size + seed).sample(range(10), size)
        found = bits(padded, [inputs[number] for number in batch])
        assert found == [expected[number] for number in batch]


def test_the_generator_as_large_as_the_bundled_one_is_proven(padded: Any) -> None:
    assert Proof(padded).holds()


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda: DcganGenerator(resolution=28, channels=1, condition_dim=4, width=16), 0),
        (lambda: ResidualGenerator(resolution=32, width=64), 0),
        (lambda: StackGenerator(width=32), 0),
        (lambda: StackGenerator(width=32), 1),
        (lambda: TreeGenerator(resolution=64, width=32), 0),
        (lambda: TreeGenerator(resolution=64, width=32), 2),
    ],
)
def test_other_generators_draw_the_same_in_company(build: Callable[[], Any], kind: int) -> None:
    generator = made(build)
    pad_rows(generator)
    inputs = random_inputs(generator, 5, kind)
    alone = [bits(generator, [picture])[0] for picture in inputs]
    assert bits(generator, inputs) == alone
    assert bits(generator, inputs[3:0:-1]) == alone[3:0:-1]
    assert Proof(generator, most=3).holds(kind)


def test_padding_changes_neither_weights_nor_results_beyond_rounding() -> None:
    plain, other = made(StageGenerator), made(StageGenerator)
    pad_rows(other)
    weights = plain.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in other.state_dict().items())
    (picture,) = random_inputs(plain, 1)
    with torch.inference_mode():
        pairs = zip(
            run_generator(plain, [picture], 1, CPU),
            run_generator(other, [picture], 1, CPU),
            strict=True,
        )
        for one, two in pairs:
            assert one.shape == two.shape
            assert torch.allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "shape", "rows"),
    [
        (nn.Linear(5, 7), (1, 5), LEAST_ROWS),
        (nn.Linear(5, 7), (3, 5), LEAST_ROWS),
        (nn.Linear(5, 7), (4, 5), LEAST_ROWS),
        (nn.Linear(5, 7), (6, 5), LEAST_ROWS),
        (nn.Linear(5, 7), (1, 3, 5), LEAST_ROWS),
        (nn.Linear(5, 7), (1, 9, 5), 1),
        (nn.Conv2d(3, 2, 3), (2, 3, 8, 8), LEAST_ROWS),
        (nn.ConvTranspose2d(3, 2, 4, 2, 1), (1, 3, 1, 1), LEAST_ROWS),
        (nn.Conv2d(128, 2, 3), (1, 128, 16, 16), 1),
        (nn.Conv2d(64, 2, 3), (1, 64, 16, 16), LEAST_ROWS),
        (nn.Conv2d(2, 2, 3), (5, 2, 8, 8), 5),
    ],
)
def test_vectors_run_in_fours_few_small_maps_become_four_and_others_stay(
    layer: nn.Module, shape: tuple[int, ...], rows: int
) -> None:
    seen: list[Tensor] = []
    inner: Callable[[Tensor], Tensor] = layer.forward

    def note(x: Tensor) -> Tensor:
        seen.append(x)
        return inner(x)

    layer.forward = note
    pad_rows(layer)
    for order in (torch.contiguous_format, torch.channels_last):
        if order is torch.channels_last and len(shape) != 4:
            continue
        x = torch.randn(shape).to(memory_format=order)
        with torch.inference_mode():
            assert torch.allclose(layer(x), inner(x), atol=1e-5)
        assert len(seen[-1]) == rows
        assert seen[-1].is_contiguous(memory_format=order)


class Drawing(nn.Module):
    """Draws flat pictures; what differs from one way to fail to the next is `colour`."""

    condition_dim, noise_dim, conditioning_dim, resolutions = 3, 2, 0, (4,)

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0

    def forward(self, embedding: Tensor, *_: Tensor, **fine: Any) -> Any:
        self.forwards += 1
        colours = self.colour(embedding)[:, :, None, None].expand(-1, -1, 4, 4)
        return SimpleNamespace(pictures=(torch.tanh(colours),))

    def colour(self, embedding: Tensor) -> Tensor:
        return embedding


class Neighbours(Drawing):
    def colour(self, embedding: Tensor) -> Tensor:
        return embedding - embedding.mean(dim=0)


class FirstIsBrighter(Drawing):
    def colour(self, embedding: Tensor) -> Tensor:
        return torch.cat([embedding[:1] + 0.1, embedding[1:]])


class OtherKernelFromFive(Drawing):
    def colour(self, embedding: Tensor) -> Tensor:
        return embedding if len(embedding) < 5 else (embedding.double() / 3).float() * 3


class OneAtATime(Drawing):
    def colour(self, embedding: Tensor) -> Tensor:
        return embedding.view(1, 3)


class OnlyTheFirst(Drawing):
    def colour(self, embedding: Tensor) -> Tensor:
        return embedding[:1]


@pytest.mark.parametrize(
    "build", [Neighbours, FirstIsBrighter, OtherKernelFromFive, OneAtATime, OnlyTheFirst]
)
def test_a_generator_that_is_not_proven_draws_each_picture_as_it_does_alone(
    build: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 1)
    generator = build()
    proof = Proof(generator)
    inputs = random_inputs(generator, 8)
    alone = [as_bytes(draw_pictures(generator, [picture], CPU))[0] for picture in inputs]
    assert as_bytes(draw_pictures(generator, inputs, CPU, proof=proof)) == alone
    assert not proof.holds()


def test_sizes_are_used_until_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 1)
    generator: Any = OtherKernelFromFive()
    proof = Proof(generator)
    inputs = random_inputs(generator, 8)

    def forwards(count: int) -> int:
        before: int = generator.forwards
        draw_pictures(generator, inputs[:count], CPU, proof=proof)
        after: int = generator.forwards
        return after - before

    assert proof.holds(sizes={4})
    assert forwards(4) == 1
    assert not proof.holds(sizes={8})
    assert not proof.holds(sizes={4})
    assert proof.holds(1, sizes={4})
    assert forwards(8) == 8
    assert forwards(4) == 4


def test_each_size_is_tried_once_and_one_picture_is_not_tried() -> None:
    generator: Any = Drawing()
    proof = Proof(generator)
    draw_pictures(generator, random_inputs(generator, 1), CPU, proof=proof)
    assert proof.holds(sizes={1})
    assert generator.forwards == 1
    assert proof.holds(sizes={3})
    tried = generator.forwards
    assert tried == 1 + 4 + 3
    assert proof.holds(sizes={3})
    assert generator.forwards == tried
    assert proof.holds()
    all_tried = generator.forwards
    assert proof.holds()
    assert generator.forwards == all_tried > tried + 6


def test_many_pictures_run_in_few_tiles_of_one_kind_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 2)
    generator = made(lambda: TreeGenerator(resolution=16, scales=2, width=8, blocks=1))
    pad_rows(generator)
    proof = Proof(generator)
    plain, fine = random_inputs(generator, 6), random_inputs(generator, 5, 1)
    inputs = [plain[0], *fine, *plain[1:]]
    alone = [as_bytes(draw_pictures(generator, [picture], CPU))[0] for picture in inputs]
    assert proof.holds(0, {3, 6}) and proof.holds(1, {2, 3, 5})
    sizes: list[int] = []
    hook = generator.register_forward_pre_hook(lambda _, rows: sizes.append(len(rows[0])))
    try:
        assert as_bytes(draw_pictures(generator, inputs, CPU, proof=proof)) == alone
        assert sorted(sizes) == [2, 3, 3, 3]
        sizes.clear()
        assert as_bytes(draw_pictures(generator, inputs, CPU, proof=proof, cores=1)) == alone
        assert sorted(sizes) == [5, 6]
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("count", "cores", "sizes"),
    [
        (0, 2, []),
        (1, 2, [1]),
        (2, 2, [1, 1]),
        (3, 2, [2, 1]),
        (8, 2, [4, 4]),
        (16, 2, [8, 8]),
        (17, 2, [5, 4, 4, 4]),
        (8, 1, [8]),
        (9, 1, [5, 4]),
        (5, 8, [1] * 5),
    ],
)
def test_pictures_are_shared_out_evenly_among_the_cores(
    count: int, cores: int, sizes: list[int]
) -> None:
    assert tile_sizes(count, cores, 8) == sizes
    assert tile_sizes(count, cores, 1) == [1] * count


def save_wide(folder: Path, config: dict[str, Any]) -> Bundle:
    """A small bundle with layers as wide as models have them: those of 8 outputs are not proven."""
    config["network"]["arguments"] |= {"width": 32, "max_channels": 64}
    state = small_state(config)
    state = {k: v * 3 if k.startswith("augment") else v for k, v in state.items()}
    return Bundle.save(folder, config=config, generator_state=state, card="# Untrained\n")


@pytest.mark.parametrize("name", ["digits", "codes", "plumage", "seeds"])
def test_bundles_of_every_kind_draw_the_same_bytes_together_and_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 1)
    pipeline = Pipeline(save_wide(tmp_path / name, conditioned_config(name)), device="cpu")
    numbers = torch.Generator().manual_seed(2)
    draws = [
        Draw(torch.randn(pipeline.info.embedding_size, generator=numbers), seed)
        for seed in range(11)
    ]
    alone = [as_bytes(pipeline.draw([draw]))[0] for draw in draws]
    assert len(set(alone)) == len(alone)
    assert pipeline.draws_together
    assert as_bytes(pipeline.draw(draws)) == alone
    assert as_bytes(pipeline.draw(draws[::-1])) == alone[::-1]


def test_pictures_that_follow_a_fine_condition_mix_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 1)
    pipeline = Pipeline(Bundle.load(save_staged(tmp_path / "staged")), device="cpu")
    one, other = pipeline.encode(["a red bird", "a blue bird"])
    draws = [Draw(one, seed, fine=Fine(other, 1) if seed % 2 else None) for seed in range(6)]
    alone = [as_bytes(pipeline.draw([draw]))[0] for draw in draws]
    assert as_bytes(pipeline.draw(draws)) == alone


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_wide(tmp_path_factory.mktemp("wide") / "wide", small_config("wide"))


@pytest.fixture
def pipeline(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("t2i.drawing.core_count", lambda: 1)
    return Pipeline(bundle, device="cpu")


def test_generate_gives_a_seed_the_same_bytes_with_any_number_of_others(
    pipeline: Pipeline,
) -> None:
    def generated(seeds: list[int]) -> list[bytes]:
        images = pipeline.generate("a red bird", seeds=seeds).images
        return [image.array.tobytes() for image in images]

    alone = [generated([seed])[0] for seed in range(19)]
    for count in (2, 3, 8, 19):
        assert generated(list(range(count))) == alone[:count]


def test_callers_that_meet_before_the_proof_get_the_bytes_of_alone(pipeline: Pipeline) -> None:
    embedding = pipeline.encode(["a red bird"])[0]
    draws = [Draw(embedding, seed) for seed in range(8)]
    found: dict[int, list[tuple[bytes, ...]]] = {}

    def work(number: int) -> None:
        found[number] = as_bytes(pipeline.draw(draws[number:]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = [as_bytes(pipeline.draw([draw]))[0] for draw in draws]
    assert all(found[number] == alone[number:] for number in range(4))


def test_a_pipeline_whose_generator_is_not_proven_draws_alone_and_says_so(
    pipeline: Pipeline, bundle: Bundle
) -> None:
    def disturb(_: nn.Module, arguments: tuple[Tensor, ...], output: Any) -> Any:
        shift = 0.05 * (len(arguments[0]) - 1)
        return output._replace(pictures=tuple(each + shift for each in output.pictures))

    embedding = pipeline.encode(["a red bird"])[0]
    draws = [Draw(embedding, seed) for seed in range(8)]
    expected = as_bytes(pipeline.draw(draws))
    other: Any = Pipeline(bundle, device="cpu")
    other._generator.register_forward_hook(disturb)
    assert as_bytes(other.draw(draws)) == expected
    assert not other.draws_together
    assert pipeline.draws_together


def test_warming_up_finishes_the_proof(pipeline: Any) -> None:
    pipeline.warm_up()
    calls: list[int] = []
    pipeline._generator.register_forward_pre_hook(lambda *_: calls.append(1))
    assert pipeline.draws_together
    assert not calls
