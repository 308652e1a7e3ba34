from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from t2i.drawing import Inputs, _run, draw_pictures
from t2i.networks import StageGenerator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> StageGenerator:
    """As large as the bundled one: small networks agree between batch sizes by luck."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StageGenerator().eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def inputs(generator: StageGenerator) -> list[Inputs]:
    dims = (generator.condition_dim, generator.noise_dim, generator.conditioning_dim)
    numbers = torch.Generator().manual_seed(1)
    return [Inputs(*(torch.randn(dim, generator=numbers) for dim in dims)) for _ in range(8)]


def raw_outputs(generator: StageGenerator, inputs: list[Inputs]) -> list[tuple[bytes, ...]]:
    """Draw, and return the generator's own numbers before they are rounded to bytes."""
    found: dict[bytes, tuple[bytes, ...]] = {}

    def note(module: Any, arguments: tuple[torch.Tensor, ...], output: Any) -> None:
        for row, embedding in enumerate(arguments[0]):
            stages = tuple(pictures[row].numpy().tobytes() for pictures in output.pictures)
            found[embedding.numpy().tobytes()] = stages

    hook = generator.register_forward_hook(note)
    try:
        draw_pictures(generator, inputs, CPU)
    finally:
        hook.remove()
    return [found[picture.embedding.numpy().tobytes()] for picture in inputs]


def test_the_generators_numbers_are_the_same_bit_for_bit_in_batches_of_1_3_and_8(
    generator: StageGenerator, inputs: list[Inputs]
) -> None:
    expected = [raw_outputs(generator, [picture])[0] for picture in inputs]
    assert len(set(expected)) == len(expected)
    for size in (3, 8):
        for seed in range(2):
            order = random.Random(seed).sample(range(8), 8)
            for start in range(0, 8, size):
                batch = order[start : start + size]
                found = raw_outputs(generator, [inputs[index] for index in batch])
                assert found == [expected[index] for index in batch]


def test_the_generators_numbers_do_not_depend_on_where_inputs_lie_in_memory(
    generator: StageGenerator, inputs: list[Inputs]
) -> None:
    expected = raw_outputs(generator, inputs[:1])
    for offset in (1, 3, 5):
        moved = Inputs(
            *(
                torch.cat([torch.zeros(offset), part])[offset:]
                for part in (
                    inputs[0].embedding,
                    inputs[0].noise,
                    inputs[0].conditioning_noise,
                )
            )
        )
        assert raw_outputs(generator, [moved]) == expected


def test_tiles_of_one_size_draw_each_picture_and_nothing_else(
    generator: StageGenerator, inputs: list[Inputs]
) -> None:
    """The way of other devices, run on the CPU: equal up to rounding, in the right places."""
    sizes: list[int] = []
    hook = generator.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    try:
        alone = draw_pictures(generator, inputs[:5], CPU)
        assert sizes == [1] * 5
        sizes.clear()
        with torch.inference_mode():
            tiled = [
                picture
                for start in (0, 3)
                for picture in _run(generator, inputs[start : min(5, start + 3)], 3, CPU, (-1, 1))
            ]
    finally:
        hook.remove()
    assert sizes == [3, 3]
    assert len(tiled) == 5
    for one, other in zip(alone, tiled, strict=True):
        for stage, tiled_stage in zip(one, other, strict=True):
            assert np.abs(stage.astype(int) - tiled_stage).max() <= 1


def test_values_beyond_the_range_become_black_and_white(
    generator: StageGenerator, inputs: list[Inputs]
) -> None:
    (stages,) = draw_pictures(generator, inputs[:1], CPU, (-1e-12, 1e-12))
    assert set(np.unique(stages[-1])) == {0, 255}


def test_the_ends_and_the_middle_of_the_range_are_black_white_and_grey(
    inputs: list[Inputs],
) -> None:
    class Flat(torch.nn.Module):
        condition_dim, noise_dim, conditioning_dim, resolutions = 384, 100, 128, (2,)

        def forward(self, embedding: torch.Tensor, *_: torch.Tensor) -> Any:
            values = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
            return type("Output", (), {"pictures": (values,)})

    ((picture,),) = draw_pictures(Flat(), inputs[:1], CPU)
    assert picture.shape == (2, 2, 3)
    assert picture[1, 1].tolist() == [0, 128, 255]


def test_no_pictures_are_no_work(generator: StageGenerator) -> None:
    assert draw_pictures(generator, [], CPU) == []
