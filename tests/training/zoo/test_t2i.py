from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from t2i.networks import StageDiscriminator, StageGenerator, StageScores
from tests.training.conftest import embeddings_of, squares
from tests.training.zoo.moves import losses_of
from training.augment import DiffAugment
from training.errors import TrainingError
from training.matcher import Matcher
from training.recipe import Batch, Recipe
from training.registry import Spec
from training.scales import steepness
from training.stream import CaptionStream
from training.zoo.t2i import t2i

CAPTION, STAGES, FEATURES = 6, 2, 2
CPU = torch.device("cpu")


def small(matcher: Matcher | None = None, **knobs: object) -> Recipe:
    torch.manual_seed(0)
    return t2i(
        Spec(resolution=32, condition_dim=CAPTION, matcher=matcher),
        stages=(16, 32),
        stage_start=(0.0, 0.0),
        width=4,
        discriminator_width=4,
        max_channels=8,
        noise_dim=5,
        conditioning_dim=4,
        batch_size=8,
        **knobs,  # type: ignore[arg-type]
    )


def matcher_of(*sizes: int) -> Matcher:
    torch.manual_seed(1)
    return Matcher(CAPTION, sizes).eval().requires_grad_(False)


def batch() -> Batch:
    data = squares(resolution=32)
    (rows,) = CaptionStream(data, embeddings_of(data, CAPTION), seed=0).batches(0, 8, 1, CPU)
    return rows


def test_the_players_losses_are_their_terms_times_their_weights() -> None:
    weights = {
        "unconditional_weight": 2.0,
        "matching_weight": 3.0,
        "generator_matching_weight": 5.0,
        "agreement_weight": 7.0,
        "attribute_weight": 11.0,
        "mode_seeking_weight": 13.0,
        "kl_weight": 17.0,
    }
    matcher = matcher_of(2, 3)
    # A caption is certain of the second value of the first attribute, and of nothing else.
    matcher.said_attributes.heads[0].bias.copy_(torch.tensor([0.0, 50.0]))
    found = losses_of(small(matcher, **weights), batch())
    critics = STAGES + FEATURES
    d, g = found["discriminator"], found["generator"]
    expected = critics * (2.0 * d.parts["D/picture"] + d.parts["D/pair"])
    expected = expected + critics * 3.0 * d.parts["D/matching"]
    torch.testing.assert_close(d.total.detach(), expected)
    expected = critics * (2.0 * g.parts["G/picture"] + g.parts["G/pair"])
    expected = expected + critics * 5.0 * g.parts["G/matching"]
    expected = expected + 7.0 * g.parts["G/agreement"] + 11.0 * g.parts["G/attributes"]
    expected = expected + 13.0 * critics * g.parts["G/seeking"] + 17.0 * g.parts["G/kl"]
    torch.testing.assert_close(g.total.detach(), expected)
    assert all(float(value) != 0.0 for value in g.parts.values())


def test_pictures_are_asked_for_the_attributes_that_their_captions_state() -> None:
    matcher = matcher_of(2)
    matcher.said_attributes.heads[0].bias.copy_(torch.tensor([0.0, 50.0]))
    shown = matcher.shown_attributes.heads[0]
    shown.weight.zero_()
    shown.bias.copy_(torch.tensor([1.0, 0.0]))
    part = losses_of_generator(matcher)["G/attributes"]
    assert part.item() == pytest.approx(F.softplus(torch.tensor(1.0)).item())


def test_the_captions_asked_for_are_the_right_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    misses = Matcher.misses

    def watched(self: Matcher, seen: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        asked.append(codes)
        return misses(self, seen, codes)

    monkeypatch.setattr(Matcher, "misses", watched)
    losses_of_generator(matcher_of(2))
    assert torch.equal(asked[0], batch().right[:4].repeat(2, 1))


def test_without_attributes_or_a_matcher_nothing_is_asked() -> None:
    assert losses_of_generator(matcher_of())["G/attributes"].item() == 0.0
    parts = losses_of_generator(None)
    assert parts["G/attributes"].item() == parts["G/agreement"].item() == 0.0


def losses_of_generator(matcher: Matcher | None) -> dict[str, torch.Tensor]:
    """The generator's terms at their usual weights."""
    recipe = small(matcher)
    phase = next(phase for phase in recipe.phases if phase.name == "generator")
    return dict(phase.loss(recipe.networks, batch()).parts)


def test_pictures_too_small_to_be_judged_by_what_the_matcher_sees_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"feature maps of 2 pixels .* higher resolution"):
        t2i(
            Spec(resolution=16, condition_dim=CAPTION, matcher=matcher_of()),
            stages=(8, 16),
            stage_start=(0.0, 0.0),
        )


def test_without_critics_of_features_only_pixels_are_judged() -> None:
    recipe = small(matcher_of(), feature_critics=False)
    critic = recipe.networks["discriminator"]
    assert isinstance(critic, StageDiscriminator) and len(critic.critics) == STAGES
    found = losses_of(recipe, batch())
    d, g = found["discriminator"], found["generator"]
    expected = STAGES * sum(d.parts[f"D/{part}"] for part in ("picture", "pair", "matching"))
    torch.testing.assert_close(d.total.detach(), expected)
    assert g.parts["G/agreement"] != 0.0


@pytest.mark.parametrize("knob", ["shift", "cut", "recolour"])
def test_critics_are_shown_real_and_drawn_pictures_changed_apart(knob: str) -> None:
    changes = DiffAugment(
        colour=knob == "recolour", translation=knob == "shift", cutout=knob == "cut"
    )
    seen: list[Sequence[torch.Tensor]] = []
    plain, changed = small(), small(**{knob: True})
    for recipe in (plain, changed):
        recipe.networks["discriminator"].register_forward_pre_hook(
            lambda _, given: seen.append([each.detach() for each in given[0]])
        )
        losses_of(recipe, batch())
    noise = batch().noise
    of_plain, of_changed = seen[:2], seen[2:]
    for before, after in zip(of_plain[0], of_changed[0], strict=True):
        side, n = before.shape[-1], len(before) // 2
        for name, rows in (("real", slice(n)), ("fake", slice(n, None))):
            expected = changes(before[rows], noise, f"{name}-{side}")
            assert not torch.equal(expected, before[rows])
            torch.testing.assert_close(after[rows], expected)
    for before, after in zip(of_plain[1], of_changed[1], strict=True):
        expected = changes(before, noise, f"generator-{before.shape[-1]}")
        torch.testing.assert_close(after, expected)


def test_the_generators_captions_are_moved_by_a_share_of_what_captions_differ_by() -> None:
    asked: list[torch.Tensor] = []
    recipe = small(caption_noise=0.25)
    generator = recipe.networks["generator"]
    assert isinstance(generator, StageGenerator)
    generator.standardize.std.copy_(torch.arange(1.0, CAPTION + 1))
    generator.register_forward_pre_hook(lambda _, given: asked.append(given[0]))
    losses_of(recipe, batch())
    moved = (asked[0] - batch().right) / (0.25 * torch.arange(1.0, CAPTION + 1))
    torch.testing.assert_close(moved, batch().noise.normal("caption", CAPTION))


class Plane(torch.nn.Module):
    """Pairs score 3 times the picture's sum and twice the caption's; of two stages."""

    def forward(
        self, pictures: Sequence[torch.Tensor], caption: torch.Tensor, of: torch.Tensor
    ) -> tuple[StageScores, ...]:
        nothing = torch.zeros(0)
        return tuple(
            StageScores(nothing, 3 * p.flatten(1).sum(1)[of] + 2 * caption.sum(1), nothing, nothing)
            for p in pictures
        )


def test_steepness_is_the_sixth_power_of_the_slope_by_pictures_and_caption() -> None:
    pictures = [torch.rand(4, 3, side, side) for side in (2, 4)]
    found = steepness(Plane(), pictures, torch.rand(4, 5))
    # By each pixel 3; by each number of the caption 2 in either stage.
    squared = 9 * 3 * (4 + 16) + 5 * (2 + 2) ** 2
    assert found.item() == pytest.approx(squared**3, rel=1e-5)


def test_the_penalty_weighs_as_often_as_it_is_left_out() -> None:
    told = small(penalty=1.0).phases[0].loss(small().networks, batch()).parts["D/penalty"]
    # New critics are nearly flat: so heavy that the term is seen beside the others.
    weight = 25.0 / float(told)
    recipe = small(penalty=weight, penalty_every=4)
    phase = recipe.phases[0]
    first, second = (phase.loss(recipe.networks, replace(batch(), step=step)) for step in (4, 5))
    assert "D/penalty" not in second.parts
    added = (first.total - second.total).item()
    assert added == pytest.approx(4 * weight * float(first.parts["D/penalty"]), rel=1e-3)


@pytest.mark.parametrize("knob", ["deep_fusion", "excitation"])
def test_knobs_of_the_network_reach_it(knob: str) -> None:
    generator = small(**{knob: True}).networks["generator"]
    assert isinstance(generator, StageGenerator) and generator.config[knob] is True
    assert small().networks["generator"].config[knob] is False  # type: ignore[index,union-attr]


def test_the_recipe_says_what_the_trainer_must_know() -> None:
    assert small(hard_wrong=0.3).hard_wrong == 0.3
    # In float16 the gradient of a gradient overflows, and the trainer refuses it.
    assert small(penalty=1.0).differentiates_twice and not small().differentiates_twice


@pytest.mark.parametrize("start", [(0.0,), (5.0, 0.0), (0.0, 0.0, 0.0)])
def test_stages_that_begin_at_no_time_or_too_late_are_refused(start: tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match=r"give one number a stage, the first 0"):
        t2i(Spec(32, condition_dim=6), stages=(16, 32), stage_start=start)
