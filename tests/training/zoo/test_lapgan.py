from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.conditions import Label
from t2i.networks import LaplacianCritic, LaplacianGenerator
from t2i.networks.laplacian import doubled, gaussian_pyramid, halved
from t2i.pipeline import Pipeline
from tests.training.conftest import squares
from tests.training.zoo.moves import batch_of, losses_of
from tests.training.zoo.samples import ring, spec_of
from training.errors import TrainingError
from training.export_samples import export_pictures
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.lapgan import lapgan

LABELS = torch.tensor([0, 1, 2, 0])


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    knobs = {"width": 2, "generator_width": 2, "noise_dim": 3, "dropout": 0.0}
    return lapgan(spec_of(squares()), **{**knobs, **changes})


def generator_of(recipe: Recipe) -> LaplacianGenerator:
    generator = recipe.networks["generator"]
    assert isinstance(generator, LaplacianGenerator)
    return generator


def test_grey_pictures_are_drawn_and_judged() -> None:
    recipe = lapgan(
        replace(spec_of(squares()), channels=1),
        width=2, generator_width=2, noise_dim=3, dropout=0.0,
    )  # fmt: skip
    losses_of(recipe, batch_of(pictures()[:, :1], LABELS))


def pictures() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_is_a_gan_of_its_own_on_real_low_pass_pictures(level: int, labels: bool) -> None:
    recipe = small(labels=labels)
    asked: list[tuple[int, Tensor, Tensor]] = []
    recipe.networks["discriminator"].register_forward_hook(
        lambda module, given, scores: asked.append((given[0], given[1], scores.logits.detach()))
    )
    batch = batch_of(pictures(), LABELS)
    losses = losses_of(recipe, batch)
    side = generator_of(recipe).resolutions[level]
    (_, real, right), (_, fake, wrong), (_, _, mine) = [a for a in asked if a[0] == level]
    assert torch.equal(real, gaussian_pyramid(pictures(), 2)[level])
    expected = F.softplus(-right).mean() + F.softplus(wrong).mean()
    torch.testing.assert_close(losses[f"discriminator-{side}"].total.detach(), expected)
    expected = F.softplus(-mine).mean()
    torch.testing.assert_close(losses[f"generator-{side}"].total.detach(), expected)
    if level:
        low = doubled(gaussian_pyramid(pictures(), 2)[level - 1])
        embedding = batch.one_hot(3) if labels else torch.zeros(4, 0)
        noise = batch.noise.normal(f"D/{level}", side * side)
        with torch.no_grad():
            details = generator_of(recipe).details[level - 1](low, embedding, noise)
        torch.testing.assert_close(fake, low + details)


def test_a_level_moves_no_other_level() -> None:
    recipe = small()
    batch = batch_of(pictures())
    for level, side in enumerate((4, 8, 16)):
        for player, parts in (
            ("generator", ("coarse.", "details.0.", "details.1.")),
            ("discriminator", ("critics.0.", "critics.1.", "critics.2.")),
        ):
            phase = next(p for p in recipe.phases if p.name == f"{player}-{side}")
            for name, network in recipe.networks.items():
                network.zero_grad()
                network.requires_grad_(name == player)
            phase.loss(recipe.networks, batch).total.backward()  # type: ignore[no-untyped-call]
            weights = recipe.networks[player].named_parameters()
            moved = {n for n, w in weights if w.grad is not None and bool(w.grad.abs().sum() > 0)}
            assert moved and all(name.startswith(parts[level]) for name in moved)


def test_the_pyramid_of_details_gives_the_picture_back() -> None:
    low, middle, fine = gaussian_pyramid(pictures(), 2)
    details = [middle - doubled(low), fine - doubled(middle)]
    torch.testing.assert_close(doubled(doubled(low) + details[0]) + details[1], pictures())
    assert torch.equal(halved(fine), middle)


def test_halving_keeps_a_ramp_and_blurs_a_chequerboard() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1.0
    assert float(halved(board[None, None]).abs().max()) < 0.3
    flat = torch.full((1, 1, 8, 8), 0.4)
    torch.testing.assert_close(doubled(halved(flat)), flat)


def test_drawing_adds_the_detail_of_each_side_to_the_one_before() -> None:
    generator = generator_of(small()).eval()
    embedding, noise = torch.zeros(2, 0), torch.randn(2, generator.noise_dim)
    coarse, middle, _ = generator(embedding, noise).pictures
    assert generator.resolutions == (4, 8, 16) and generator.noise_dim == 3 + 8 * 8 + 16 * 16
    plane = generator.parted(noise)[1]
    expected = doubled(coarse) + generator.details[0](doubled(coarse), embedding, plane)
    torch.testing.assert_close(middle, expected.clamp(-1, 1), atol=1e-5, rtol=0)


def test_a_bundle_with_labels_is_asked_by_label_and_shows_its_levels(tmp_path: Path) -> None:
    bundle = export_pictures(
        tmp_path / "bundle",
        name="small",
        recipe="lapgan",
        generator=generator_of(small(labels=True)).eval(),
        data=squares(),
        kimg=0.0,
        settings={"seed": 0, "data": "squares", "kimg": 0},
    )
    pipeline = Pipeline.from_pretrained(bundle.folder, "cpu")
    red, blue = (pipeline.generate(Label(c), seeds=[1]).images[0].array for c in ("red", "blue"))
    assert red.shape == (16, 16, 3) and (red != blue).any()


def test_levels_that_do_not_fit_points_and_missing_labels_are_refused() -> None:
    with pytest.raises(TrainingError, match="levels: 16 pixels cannot be halved 3 times"):
        small(levels=3)
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        lapgan(spec_of(ring()))
    with pytest.raises(TrainingError, match="the data has none"):
        lapgan(Spec(32), labels=True)


def test_each_level_has_a_critic_of_its_own() -> None:
    critic = small().networks["discriminator"]
    assert isinstance(critic, LaplacianCritic) and len(critic.critics) == 3
