"""Every paper's optimisers and defaults are those it states, and every argument has its effect."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from t2i.networks.blocks import Standardize
from tests.training.conftest import embeddings_of, squares
from tests.training.zoo.samples import (
    CAPTION,
    SMALL,
    Sample,
    build_recipe,
    ring,
    sample_for,
    small_knobs,
    stream_of,
    trainer_of,
)
from tests.training.zoo.stated import AVERAGE, BATCH, LOSSES, PHASES, STATED, USUALLY
from training.optimizers import Optimizer
from training.recipe import Phase, Recipe
from training.registry import Entry, Knob, find_recipe, recipes

MOMENTS = (0.0, 0.003, 0.008, 0.013, 0.016, 0.02, 0.024, 0.032, 0.05, 1.0, 100.0, 899.9, 900.1)
ROUNDS = 3

papers = pytest.mark.parametrize("key", list(STATED))


def test_every_paper_is_in_the_table() -> None:
    papers = {key for key, entry in recipes().items() if ours(entry)}
    assert papers == set(STATED), "write down in stated.py what the paper states"


def ours(entry: Entry) -> bool:
    """Whether it is a paper of the zoo; the pages' example registers one of its own."""
    return inspect.unwrap(entry.build).__module__.startswith("training.zoo.")


@papers
def test_defaults_are_those_that_are_stated(key: str) -> None:
    assert {knob.name: knob.default for knob in find_recipe(key).knobs} == STATED[key].knobs


@papers
def test_players_learn_as_stated_and_once_a_round(key: str) -> None:
    entry = find_recipe(key)
    small = STATED[key].small
    recipe = build_recipe(entry, sample_for(entry, **small), **small)
    phases = recipe.phases
    assert recipe.key == key
    average = STATED[key].average
    assert recipe.ema is None or average is None or recipe.ema.half_life == average
    set_by_knob = any("ema" in knob for knob in STATED[key].knobs)
    assert (recipe.ema is not None) == (average is not None or set_by_knob)
    assert {phase.name: pace(phase.optimizer) for phase in phases} == {
        name: pace(optimizer) for name, optimizer in STATED[key].learns.items()
    }
    steps = SMALL["n_dis"] if "n_dis" in STATED[key].knobs else 1
    assert all(phase.steps == (steps if phase.name == "discriminator" else 1) for phase in phases)


@papers
def test_what_the_trainer_is_told_of_gradients_is_true(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = find_recipe(key)
    data = sample_for(entry, **STATED[key].small)
    recipe = build_recipe(entry, data, **STATED[key].small)
    twice, grad = [], torch.autograd.grad

    def watched(*given: object, **named: object) -> object:
        twice.append(bool(named.get("create_graph")))
        return grad(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", watched)
    trainer = trainer_of(recipe, data, tmp_path)
    stream = stream_of(recipe, data, 0)
    (batch,) = stream.batches(0, recipe.batch_size, 1, torch.device("cpu"))
    missing = []
    for phase in recipe.phases:
        if phase.active is not None and not phase.active(0.0):
            continue
        for name, network in trainer.networks.items():
            network.zero_grad()
            network.requires_grad_(name in phase.players)
        phase.loss(trainer.networks, batch).total.backward()  # type: ignore[no-untyped-call]
        weights = (w for player in phase.players for w in trainer.networks[player].parameters())
        missing += [weight for weight in weights if weight.grad is None]
    assert recipe.joins_late or not missing
    assert recipe.differentiates_twice == any(twice)


@papers
def test_each_argument_shows_where_it_should_and_nowhere_else(key: str, tmp_path: Path) -> None:
    entry, stated = find_recipe(key), STATED[key]
    data = sample_for(entry, **stated.small)
    usual = build_recipe(entry, data, **stated.small)
    losses = ""
    for knob in entry.knobs:
        if knob.name in stated.held:
            continue
        changed = {**stated.small, knob.name: other(knob, {**small_knobs(entry), **stated.small})}
        changed |= {name: value for name, value in stated.instead.items() if name == knob.name}
        if knob.name in stated.on_points:
            compared = build_recipe(entry, ring()), build_recipe(entry, ring(), **changed)
        else:
            compared = usual, build_recipe(entry, data, **changed)
        expected = stated.shows.get(knob.name) or USUALLY.get(knob.name) or {LOSSES}
        if PHASES in expected:
            every = {f"phase {phase.name}" for recipe in compared for phase in recipe.phases}
            expected = (expected - {PHASES}) | every
        if LOSSES in expected:
            fresh = build_recipe(entry, data, **stated.small)
            losses = losses or run(fresh, data, tmp_path / "usual")
            assert run(compared[1], data, tmp_path / knob.name) != losses, knob.name
            expected = expected - {LOSSES}
        assert differing(*compared) == expected, knob.name


def other(knob: Knob, small: dict[str, object]) -> object:
    """Another value of an argument: not, twice, or a little where it was 0."""
    value = small.get(knob.name, knob.default)
    if isinstance(value, tuple):
        return tuple(2 * each for each in value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value or 1
    return 2.0 * value or 0.5 if isinstance(value, float) else value


def differing(one: Recipe, two: Recipe) -> set[str]:
    """Where two recipes differ, in the words of the table; all but the losses."""
    places = {BATCH: one.batch_size != two.batch_size, AVERAGE: one.ema != two.ema}
    for name in {*one.networks, *two.networks}:
        networks = one.networks.get(name), two.networks.get(name)
        places[name] = told(networks[0]) != told(networks[1])
    phases = [{phase.name: phase for phase in recipe.phases} for recipe in (one, two)]
    for name in {*phases[0], *phases[1]}:
        both = [timing(each[name]) if name in each else "" for each in phases]
        places[f"phase {name}"] = both[0] != both[1]
    return {place for place, differs in places.items() if differs}


def told(network: nn.Module | None) -> str:
    """A network's layers, their sizes and its arguments."""
    if network is None:
        return ""
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    return f"{network} {shapes} {getattr(network, 'config', '')}"


def timing(phase: Phase) -> str:
    """How and when a phase learns."""
    active = [phase.active is None or phase.active(kimg) for kimg in MOMENTS]
    return f"{phase.players} {phase.steps} {pace(phase.optimizer)} {active}"


def pace(optimizer: Optimizer) -> str:
    """How an optimiser learns, and how fast at several moments."""
    kind = optimizer.build([nn.Parameter(torch.zeros(1))])
    group = {name: value for name, value in kind.param_groups[0].items() if name != "params"}
    times = [1.0 if optimizer.schedule is None else optimizer.schedule(k) for k in MOMENTS]
    return f"{type(kind)} {group} {times}"


@papers
def test_captions_are_standardised_by_the_runs_own_statistics(key: str) -> None:
    entry = find_recipe(key)
    small = STATED[key].small
    recipe = build_recipe(entry, sample_for(entry, **small), **small)
    found = [
        (name, module)
        for name, network in recipe.networks.items()
        for module in network.modules()
        # Some critics read a conditioning, which the generator has standardised.
        if isinstance(module, Standardize) and len(module.mean) == CAPTION
    ]
    assert bool(found) == (recipe.fit is not None) == (entry.learns == "captions")
    if found:
        captions = torch.from_numpy(embeddings_of(squares(), CAPTION))
        for name, module in found:
            torch.testing.assert_close(module.mean, captions.mean(dim=0), msg=name)


def run(recipe: Recipe, data: Sample, out: Path) -> str:
    """The losses of a few rounds, to the last digit."""
    trainer = trainer_of(recipe, data, out)
    rounds = [trainer.play_round() for _ in range(ROUNDS)]
    return str([{name: float(value) for name, value in each.items()} for each in rounds])
