from __future__ import annotations

import torch
from torch import nn

from tests.training.zoo.samples import captioned_batch
from training.optimizers import SGD, halved
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update
from training.stages import at_side, shown_at, since, stage


def alone(seen: list[object]) -> Recipe:
    def loss(networks: Networks, batch: Batch) -> Losses:
        seen.append(dict(networks))
        return Losses(torch.zeros(()), {"D/real": torch.ones(())})

    def after(networks: Networks, update: Update) -> None:
        seen.append((dict(networks), dict(update.parts)))

    networks = {"generator": nn.Linear(1, 1), "discriminator": nn.Linear(1, 1)}
    phases = (
        Phase("discriminator", SGD(1.0), loss, after=after),
        Phase(("generator", "discriminator"), SGD(1.0), loss),
    )
    return Recipe("", networks, phases, batch_size=4)


def test_a_stage_finds_its_networks_among_all_and_names_its_losses() -> None:
    seen: list[object] = []
    parts = {"generator": "generator.0", "discriminator": "other"}
    first, both = stage(alone(seen), "1", active=lambda kimg: kimg < 2.0, parts=parts)
    whole = {"generator": nn.Sequential(nn.Linear(1, 1)), "other": nn.Linear(1, 1)}
    mine = {"generator": whole["generator"][0], "discriminator": whole["other"]}
    losses = first.loss(whole, captioned_batch())
    assert seen == [mine] and list(losses.parts) == ["D/real-1"]
    assert first.after is not None and both.after is None
    first.after(whole, Update(0.0, 0, {"D/real-1": torch.tensor(3.0)}))
    assert seen[1] == (mine, {"D/real": torch.tensor(3.0)})
    assert (first.name, first.players) == ("discriminator-1", ("other",))
    assert (both.name, both.players) == ("generator+discriminator-1", ("generator", "other"))
    assert first.active is not None and first.active(1.9) and not first.active(2.0)


def test_what_is_not_named_is_called_the_same() -> None:
    seen: list[object] = []
    recipe = alone(seen)
    phase, _ = stage(recipe, "2", active=lambda kimg: True)
    phase.loss(recipe.networks, captioned_batch())
    assert seen == [recipe.networks] and phase.players == ("discriminator",)


def test_a_schedule_counts_from_where_its_stage_begins() -> None:
    factor = since(10.0, halved(5.0))
    assert [factor(kimg) for kimg in (0.0, 14.0, 15.0, 20.0)] == [1.0, 1.0, 0.5, 0.25]


def test_smaller_pictures_are_means() -> None:
    pictures = torch.rand(2, 3, 8, 8)
    assert at_side(pictures, 8) is pictures
    small = at_side(pictures, 4)
    torch.testing.assert_close(small[0, 0, 0, 0], pictures[0, 0, :2, :2].mean())
    assert shown_at(4)({}, captioned_batch()).pictures.shape == (4, 3, 4, 4)
