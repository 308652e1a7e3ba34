from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i.networks import AttentionGenerator
from tests.training.conftest import squares
from tests.training.zoo.moves import losses_of
from tests.training.zoo.samples import (
    CAPTION,
    TOKEN,
    WORDS,
    captioned_batch,
    captioned_spec,
    ring,
    spec_of,
    trainer_of,
)
from tests.training.zoo.watched import Watched
from training.errors import TrainingError
from training.objectives import conditioning_kl
from training.recipe import Recipe
from training.registry import Spec
from training.zoo.attngan import attngan


def small(**changes: Any) -> Recipe:
    torch.manual_seed(0)
    knobs: dict[str, Any] = {"width": 4, "generator_width": 4, "noise_dim": 5, "scales": 2}
    return attngan(captioned_spec(words=True), **{**knobs, "conditioning_dim": 4, **changes})


def generator_of(recipe: Recipe) -> AttentionGenerator:
    generator = recipe.networks["generator"]
    assert isinstance(generator, AttentionGenerator)
    return generator


def test_half_of_each_loss_is_of_pictures_half_of_pairs_and_damsm_comes_on_top() -> None:
    recipe, batch = small(damsm_weight=3.0), captioned_batch(words=True)
    seen = Watched(recipe)
    matched: list[Tensor] = []
    recipe.networks["damsm"].register_forward_hook(
        lambda module, given, out: matched.append(out.detach())
    )
    losses = losses_of(recipe, batch)
    picture = pair = mine = torch.zeros(())
    for scale in range(2):
        real, fake, own = seen.alone[scale]
        picture = picture + F.softplus(-real).mean() + F.softplus(fake).mean()
        mine = mine + F.softplus(-own).mean()
        both, fake, own = seen.paired[scale]
        right, wrong = both.split(len(batch))
        pair = pair + F.softplus(-right).mean() + F.softplus(wrong).mean()
        pair = pair + F.softplus(fake).mean()
        mine = mine + F.softplus(-own).mean()
    expected = 0.5 * (picture + pair)
    torch.testing.assert_close(losses["discriminator"].total.detach(), expected)
    real_matching, matching = matched
    torch.testing.assert_close(losses["damsm"].total.detach(), real_matching)
    move = seen.drawn[-1]
    kl = conditioning_kl(move.mu, move.log_sigma).detach()
    expected = 0.5 * mine + kl + 3.0 * matching
    torch.testing.assert_close(losses["generator"].total.detach(), expected)


def test_critics_see_the_sentence_and_damsm_the_finest_picture_with_its_words() -> None:
    recipe, batch = small(), captioned_batch(words=True)
    seen = Watched(recipe)
    asked: list[tuple[Any, ...]] = []
    recipe.networks["damsm"].register_forward_pre_hook(
        lambda module, given: asked.append((module.training, *given))
    )
    losses_of(recipe, batch)
    right, wrong = batch.right[:, :CAPTION], batch.wrong[:, :CAPTION]
    for scale in range(2):
        assert torch.equal(seen.read[scale][0], torch.cat([right, wrong]))
        assert torch.equal(seen.read[scale][1], right) and torch.equal(seen.read[scale][2], right)
    (learning, real, *_), (still, fake, said, also_true) = asked
    # Frozen, DAMSM stands by what its BatchNorm has gathered.
    assert learning and not still and recipe.networks["damsm"].training
    assert torch.equal(real, batch.pictures)
    assert torch.equal(fake, seen.drawn[-1].pictures[-1])
    assert torch.equal(said.sentence, right) and torch.equal(also_true, batch.also_true)
    assert said.present.sum(dim=1).tolist() == [2] * len(batch)


def test_damsm_learns_first_and_all_else_after_it(tmp_path: Path) -> None:
    recipe = small(damsm_kimg=0.016, batch_size=8)
    run = trainer_of(recipe, squares(), tmp_path)
    moved = []
    for _ in range(4):
        before = {n: [w.clone() for w in net.parameters()] for n, net in recipe.networks.items()}
        run.play_round()
        moved.append(
            {
                name
                for name, network in recipe.networks.items()
                if any(
                    not torch.equal(a, b)
                    for a, b in zip(before[name], network.parameters(), strict=True)
                )
            }
        )
    assert moved == [{"damsm"}] * 2 + [{"generator", "discriminator"}] * 2


def test_absent_words_do_not_matter_and_each_place_shares_out_its_attention() -> None:
    generator, batch = generator_of(small()).eval(), captioned_batch(words=True)
    noise = torch.randn(4, 5)
    (weights,) = generator.attention_maps(batch.right, noise)
    assert weights.shape == (4, WORDS, 8, 8)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4, 8, 8))
    assert float(weights[:, 2].max()) == 0.0
    changed = batch.right.clone()
    changed[:, CAPTION + 2 * TOKEN : CAPTION + 3 * TOKEN] = 5.0
    with torch.no_grad():
        before, after = (generator(each, noise).pictures for each in (batch.right, changed))
        assert torch.equal(before[-1], after[-1])
        changed[:, CAPTION : CAPTION + TOKEN] += torch.randn(TOKEN)
        other = generator(changed, noise).pictures
    # The coarsest picture knows the sentence alone.
    assert torch.equal(before[0], other[0]) and not torch.equal(before[-1], other[-1])


def test_a_caption_without_words_is_drawn_all_the_same() -> None:
    generator = generator_of(small()).eval()
    with torch.no_grad():
        drawn = generator(torch.zeros(2, generator.condition_dim), torch.randn(2, 5)).pictures
    assert all(bool(torch.isfinite(each).all()) for each in drawn)


def test_data_without_captions_or_words_is_refused() -> None:
    with pytest.raises(TrainingError, match="leave nothing of 6 for the sentence"):
        attngan(captioned_spec())
    with pytest.raises(TrainingError, match="the data has none"):
        attngan(Spec(32))
    with pytest.raises(TrainingError, match="learns from pictures, and these are points"):
        attngan(spec_of(ring()))
