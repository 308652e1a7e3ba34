import pytest
import torch
from torch import nn

from training.ema import Ema, update
from training.errors import TrainingError
from training.recipe import Adam, Batch, Losses, Networks, Phase, Recipe, RowNoise
from training.registry import Spec, find_recipe, recipes, register

CPU = torch.device("cpu")


def nothing(networks: Networks, batch: Batch) -> Losses:
    raise AssertionError("a recipe must not run its phases when it is built")


def test_rows_of_noise_do_not_depend_on_how_the_batch_is_shared() -> None:
    whole = RowNoise(3, 7, 6, slice(0, 6), CPU).normal("z", 4)
    parts = [RowNoise(3, 7, 6, slice(i, i + 2), CPU).normal("z", 4) for i in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))


def test_noise_differs_by_seed_step_and_name() -> None:
    drawn = [
        RowNoise(seed, step, 6, slice(0, 6), CPU).normal(name, 4)
        for seed, step, name in ((3, 7, "z"), (4, 7, "z"), (3, 8, "z"), (3, 7, "c"))
    ]
    for index, first in enumerate(drawn):
        for second in drawn[index + 1 :]:
            assert not torch.equal(first, second)


def test_noise_is_standard_normal() -> None:
    noise = RowNoise(0, 0, 4000, slice(0, 4000), CPU).normal("z", 8)
    assert noise.mean().abs() < 0.02
    assert abs(float(noise.std()) - 1.0) < 0.02


def test_a_recipe_must_train_the_generator() -> None:
    networks = {"generator": nn.Linear(1, 1), "critic": nn.Linear(1, 1)}
    with pytest.raises(TrainingError, match="no phase trains the generator"):
        Recipe("wrong", networks, (Phase("critic", Adam(1e-3), nothing),), batch_size=2)


def test_a_phase_must_train_a_network_that_exists() -> None:
    phases = (Phase("judge", Adam(1e-3), nothing), Phase("generator", Adam(1e-3), nothing))
    with pytest.raises(TrainingError, match="'judge' trains no network; there are generator"):
        Recipe("wrong", {"generator": nn.Linear(1, 1)}, phases, batch_size=2)


def test_a_phase_without_steps_is_refused() -> None:
    with pytest.raises(TrainingError, match="steps is 0"):
        Phase("generator", Adam(1e-3), nothing, steps=0)


def test_the_average_halves_its_distance_in_a_half_life() -> None:
    ema = Ema(half_life=2.0, rampup=1.0)
    assert ema.decay(kimg=100.0, batch_size=2000) == pytest.approx(0.5)
    assert ema.decay(kimg=100.0, batch_size=1000) == pytest.approx(0.5**0.5)


def test_a_short_run_is_averaged_over_a_short_time() -> None:
    ema = Ema(half_life=10.0, rampup=0.05)
    assert ema.decay(kimg=20.0, batch_size=1000) == pytest.approx(0.5)
    assert ema.decay(kimg=0.0, batch_size=1000) == 0.0


def test_the_average_moves_parameters_and_copies_buffers() -> None:
    average, live = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(live.weight, 3.0)
    assert live.running_mean is not None and average.running_mean is not None
    live.running_mean.fill_(5.0)
    update(average, live, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [5.0, 5.0]


def test_every_knob_of_every_recipe_is_explained() -> None:
    for entry in recipes().values():
        assert entry.knobs, entry.key
        assert all(knob.help for knob in entry.knobs), entry.key


def test_a_recipe_with_an_unexplained_knob_is_refused() -> None:
    def silent(spec: Spec, *, depth: int = 3) -> Recipe:
        """Do something."""
        raise AssertionError(depth)

    with pytest.raises(TypeError, match="silent: depth is not explained"):
        register(silent)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"'nope' is not in the zoo; there are .*t2i"):
        find_recipe("nope")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"stage_start": (0.0,)}, "stage_start"),
        ({"stage_start": (1.0, 2.0, 3.0)}, "the first 0"),
        ({"stages": (16, 32), "stage_start": (0.0, 0.0)}, "ends at 32 pixels, the data has 64"),
    ],
)
def test_t2i_refuses_stages_that_do_not_fit(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        find_recipe("t2i").build(Spec(64, 8), **knobs)
