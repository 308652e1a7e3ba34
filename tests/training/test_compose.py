from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from t2i.networks import (
    DcganCaptionCritic,
    DcganCritic,
    DcganGenerator,
    MlpCritic,
    MlpGenerator,
    PictureGenerator,
)
from tests.training.test_trainer import weights
from tests.training.zoo.samples import ring, trainer_of
from training.augment import DiffAugment
from training.classes import TellClasses
from training.compose import (
    by_caption,
    by_label,
    by_wrong_caption,
    compose,
    draw,
    draw_all,
    shown_one_hot,
    two_players,
    unconditional,
)
from training.errors import TrainingError
from training.objectives import Relativistic, hinge, non_saturating, wasserstein
from training.optimizers import SGD, Adam, RMSProp, linear_decay
from training.recipe import (
    Batch,
    CaptionRows,
    LabelledRows,
    Losses,
    Networks,
    Phase,
    Recipe,
    RowNoise,
    Update,
)
from training.registry import Spec
from training.regularizers import (
    Anchors,
    Consistency,
    Drift,
    FeatureMatching,
    GradientPenalty,
    LeCam,
    Orthogonal,
    Play,
    PullingAway,
    clip_weights,
    r1,
    r2,
)
from training.stream import SampleStream
from training.trainer import Settings, Trainer, accelerator_for

CPU = torch.device("cpu")


def small(classes: int = 0, **changes: object) -> Recipe:
    torch.manual_seed(0)
    parts: dict[str, object] = {
        "generator": MlpGenerator(noise_dim=4, width=8, condition_dim=classes),
        "discriminator": MlpCritic(width=8, condition_dim=classes),
        "objective": non_saturating,
        "batch_size": 8,
        "key": "small",
        **changes,
    }
    return compose(**parts)  # type: ignore[arg-type]


def batch(step: int = 0, n: int = 8) -> Batch:
    torch.manual_seed(1)
    noise = RowNoise(0, step, n, slice(0, n), CPU)
    return Batch(torch.randn(n, 2), noise, 0.0, step, labels=torch.arange(n) % 4)


@pytest.mark.parametrize(
    "regularizers",
    [
        [],
        [GradientPenalty(10.0)],
        [r1(), r2()],
        [LeCam(0.1)],
        [Orthogonal(1e-2), PullingAway(0.1), FeatureMatching(1.0)],
    ],
)
@pytest.mark.parametrize("objective", [non_saturating, hinge, wasserstein, Relativistic()])
def test_each_phase_reaches_its_player_and_no_other(objective, regularizers) -> None:  # type: ignore[no-untyped-def]
    recipe = small(4, objective=objective, regularizers=regularizers)
    for phase in recipe.phases:
        for name, network in recipe.networks.items():
            network.zero_grad()
            network.requires_grad_(name == phase.player)
        losses = phase.loss(recipe.networks, batch())
        losses.total.backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(losses.total)
        for name, network in recipe.networks.items():
            for key, weight in network.named_parameters():
                # What a Wasserstein or relativistic loss asks of the last bias cancels out.
                reached = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
                if name != phase.player:
                    assert not reached, f"{phase.player} reached {name}.{key}"
                elif key != "score.bias":
                    assert reached, f"{phase.player} left out {name}.{key}"


def test_the_discriminator_is_shown_the_labels_of_the_real_samples() -> None:
    recipe = small(4)
    seen: list[torch.Tensor] = []
    recipe.networks["discriminator"].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[1])
    )
    recipe.phases[0].loss(recipe.networks, batch())
    assert len(seen) == 2
    assert all(torch.equal(each.argmax(dim=1), batch().classes) for each in seen)


def test_a_lazy_regularizer_comes_every_n_steps_with_n_times_the_weight() -> None:
    lazy = small(regularizers=[r1(10.0, every=4)])
    eager = small(regularizers=[r1(40.0)])
    first = lazy.phases[0].loss(lazy.networks, batch(0))
    assert torch.equal(first.total, eager.phases[0].loss(eager.networks, batch(0)).total)
    second = lazy.phases[0].loss(lazy.networks, batch(1))
    assert "D/r1" in first.parts and "D/r1" not in second.parts
    torch.testing.assert_close(second.total, second.parts["D/adversarial"])


def test_batchnorm_with_a_per_sample_penalty_is_refused_in_words() -> None:
    with pytest.raises(TrainingError, match=r"gradient_penalty: .* build the critic without"):
        compose(
            generator=DcganGenerator(resolution=16, width=4),
            discriminator=DcganCritic(resolution=16, width=4),
            objective=wasserstein,
            regularizers=[GradientPenalty(10.0)],
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"regularizers": [r1(), r1(5.0)]}, "r1: is given twice"),
        ({"regularizers": [r1(every=0)]}, "r1: every is 0"),
        ({"n_dis": 0}, "n_dis: is 0"),
        ({"discriminator": MlpCritic(condition_dim=3)}, "takes 3, the generator draws from 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_composed(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        small(**changes)


def test_float16_with_a_penalty_is_refused(tmp_path: Path) -> None:
    class Half:
        mixed_precision = "fp16"
        device = CPU

    recipe = small(regularizers=[r1()])
    with pytest.raises(TrainingError, match="fp16 overflows in the penalty of recipe small"):
        Trainer(recipe, SampleStream(ring()), Settings(tmp_path, 1.0), Half())  # type: ignore[arg-type]


def test_labels_asked_of_unlabelled_data_are_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        Spec(32).classes()
    partly = Spec(32, label_names=("a", "b"), labelled=3, size=10)
    with pytest.raises(TrainingError, match="7 of 10 samples have none"):
        partly.classes()
    assert partly.classes(all_labelled=False) == 2
    with pytest.raises(TrainingError, match="batch has none"):
        by_label(3)(Batch(torch.zeros(2, 2), RowNoise(0, 0, 2, slice(0, 2), CPU), 0.0))


def test_an_unlabelled_row_is_a_row_of_zeros() -> None:
    rows = Batch(
        torch.zeros(3, 2),
        RowNoise(0, 0, 3, slice(0, 3), CPU),
        0.0,
        labels=torch.tensor([1, -1, 0]),
    )
    assert rows.one_hot(2).tolist() == [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]


def test_the_augmentation_is_seen_by_the_critic_in_both_phases() -> None:
    recipe = compose(
        generator=DcganGenerator(resolution=16, width=4, noise_dim=4),
        discriminator=DcganCritic(resolution=16, width=4, norm=False),
        objective=hinge,
        augment=DiffAugment(),
        regularizers=[Consistency(10.0, also_fakes=True)],
    )
    seen: list[torch.Tensor] = []
    recipe.networks["discriminator"].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    pictures = torch.rand(4, 3, 16, 16)
    shown = Batch(pictures, RowNoise(0, 0, 4, slice(0, 4), CPU), 0.0)
    for phase in recipe.phases:
        assert torch.isfinite(phase.loss(recipe.networks, shown).total)
    assert not any(torch.equal(each, pictures) for each in seen)


def test_weights_are_clipped_after_each_discriminator_step(tmp_path: Path) -> None:
    recipe = small(after=clip_weights(0.01), n_dis=2, optimizer=RMSProp(0.1))
    trainer = trainer_of(recipe, ring(), tmp_path)
    trainer.play_round()
    weights_of = trainer.networks["discriminator"].parameters()
    assert max(float(w.detach().abs().max()) for w in weights_of) <= 0.01 + 1e-7


def test_recipe_state_is_kept_with_checkpoints(tmp_path: Path) -> None:
    def lecam() -> Recipe:
        return small(regularizers=[LeCam(0.1)], optimizer=SGD(1e-2, momentum=0.5))

    first = trainer_of(lecam(), ring(), tmp_path, kimg=0.032)
    list(first.train())
    second = trainer_of(lecam(), ring(), tmp_path, kimg=0.064)
    assert second.resume()
    kept = second.networks["lecam"].state_dict()
    assert kept["real"] != 0.0
    assert torch.equal(kept["real"], first.networks["lecam"].state_dict()["real"])


def test_without_an_average_the_last_weights_are_served(tmp_path: Path) -> None:
    trainer = trainer_of(small(ema=None), ring(), tmp_path)
    for _ in range(3):
        trainer.play_round()
    for live, kept in zip(
        trainer.networks["generator"].parameters(), trainer.average.parameters(), strict=True
    ):
        assert torch.equal(live, kept)
    assert not trainer.average.training


def test_the_learning_rate_follows_its_schedule(tmp_path: Path) -> None:
    schedule = linear_decay(0.0, 0.032)
    recipe = small(optimizer=SGD(1.0, schedule=schedule))
    trainer = trainer_of(recipe, ring(), tmp_path)
    for expected in (1.0, 0.75, 0.5, 0.25, 0.0, 0.0):
        trainer.play_round()
        group = trainer._optimizers["generator"].param_groups[0]
        assert group["lr"] == pytest.approx(expected)
    before = weights(trainer)
    trainer.play_round()
    after = weights(trainer)
    assert all(torch.equal(before[key], after[key]) for key in before if "average" not in key)


def total(networks: Networks, rows: Batch) -> Losses:
    given = rows.pictures.new_zeros(len(rows), 0)
    drawn = networks["generator"](given, rows.noise.normal("z", 4)).pictures[-1]
    score = networks["discriminator"](drawn).logits.mean()
    return Losses(score, {"both": score.detach()})


def test_phases_may_train_several_networks_and_take_turns(tmp_path: Path) -> None:
    seen: list[Update] = []
    recipe = Recipe(
        key="turns",
        networks={
            "generator": MlpGenerator(noise_dim=4, width=8),
            "discriminator": MlpCritic(width=8),
        },
        phases=(
            Phase(("generator", "discriminator"), Adam(1e-2), total, name="first"),
            Phase(
                "generator",
                Adam(1e-2),
                total,
                active=lambda kimg: kimg >= 0.016,
                after=lambda networks, update: seen.append(update),
            ),
        ),
        batch_size=8,
        ema=None,
    )
    trainer = trainer_of(recipe, ring(), tmp_path)
    before = weights(trainer)
    trainer.play_round()
    after = weights(trainer)
    for player in ("generator", "discriminator"):
        key = f"{player}.body.1.weight" if player == "discriminator" else "generator.body.0.weight"
        assert not torch.equal(before[key], after[key])
    trainer.play_round()
    assert not seen
    trainer.play_round()
    assert [update.step for update in seen] == [2]
    assert seen[0].kimg == pytest.approx(0.016)
    assert "both" in seen[0].parts


def test_networks_that_come_with_the_recipe_are_left_out_of_checkpoints(tmp_path: Path) -> None:
    recipe = dataclasses.replace(small(regularizers=[LeCam(0.1)]), given=("lecam",))
    trainer = trainer_of(recipe, ring(), tmp_path, kimg=0.016)
    list(trainer.train())
    (folder,) = (tmp_path / "checkpoints").iterdir()
    assert not (folder / "lecam.safetensors").exists()
    assert (folder / "discriminator.safetensors").exists()
    with pytest.raises(TrainingError, match="given names 'generator'"):
        dataclasses.replace(recipe, given=("generator",))


def test_two_phases_of_one_player_need_names() -> None:
    phase = Phase("generator", Adam(1e-2), total)
    with pytest.raises(TrainingError, match="2 phases are called 'generator'"):
        Recipe("twice", {"generator": MlpGenerator()}, (phase, phase), batch_size=2)


def test_a_loss_may_call_its_network_often_on_any_precision(tmp_path: Path) -> None:
    recipe = small(regularizers=[GradientPenalty(10.0), LeCam(0.1)])
    accelerator = accelerator_for("bf16", tmp_path)
    trainer = Trainer(recipe, SampleStream(ring()), Settings(tmp_path, 1.0), accelerator)
    losses = trainer.play_round()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(value.dtype == torch.float32 for value in losses.values())


def test_labelled_rows_come_beside_the_whole_where_few_have_labels() -> None:
    data = ring(64)
    assert data.labels is not None
    data.labels[8:] = -1
    stream = SampleStream(data, seed=3)
    (whole,) = stream.batches(5, 16, 1, CPU)
    assert isinstance(whole.labelled, LabelledRows)
    assert (whole.classes == -1).any()
    assert (whole.labelled.labels >= 0).all()
    assert whole.labelled.pictures.shape == (16, 2)
    halves = [
        rows for rank in (0, 1) for rows in stream.batches(5, 16, 1, CPU, rank=rank, world_size=2)
    ]
    assert torch.equal(torch.cat([rows.pictures for rows in halves]), whole.pictures)
    parts = [rows.labelled.labels for rows in halves if rows.labelled is not None]
    assert torch.equal(torch.cat(parts), whole.labelled.labels)


def test_every_sample_is_shown_once_an_epoch() -> None:
    data = ring(60)
    stream = SampleStream(data, seed=1)
    shown = torch.cat([stream.batches(i, 20, 1, CPU)[0].pictures for i in range(3)])
    assert torch.equal(shown.sort(dim=0).values, torch.from_numpy(data.samples).sort(0).values)


def test_tokens_are_shown_as_one_hot_rows_and_nothing_else_is_changed() -> None:
    tokens = torch.tensor([[0, 2], [1, 1]])
    before = dataclasses.replace(batch(n=2), pictures=tokens)
    after = shown_one_hot(3)({}, before)
    expected = [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]
    torch.testing.assert_close(after.pictures, torch.tensor(expected))
    assert (after.noise, after.labels) == (before.noise, before.labels)


def test_wrong_captions_need_a_critic_of_pairs_and_an_objective_of_terms() -> None:
    with pytest.raises(TrainingError, match="MlpCritic judges no pairs"):
        small(4, wrong=by_label(4))
    critic = DcganCaptionCritic(resolution=16, condition_dim=4, code_dim=2, width=4)
    pictures = DcganGenerator(resolution=16, condition_dim=4, width=4)
    with pytest.raises(TrainingError, match="Relativistic has no term of its own"):
        small(
            generator=pictures,
            discriminator=critic,
            objective=Relativistic(),
            condition=by_label(4),
            wrong=by_label(4),
        )


def test_losses_are_the_objectives_and_each_term_times_its_weight() -> None:
    recipe = small(regularizers=[Drift(3.0), r1(4.0), PullingAway(0.5)], objective=Relativistic())
    rows, networks = batch(), recipe.networks
    drawn = {p: draw(networks, rows, p) for p in ("discriminator", "generator")}
    assert not torch.equal(drawn["discriminator"], drawn["generator"])
    critic = networks["discriminator"]
    real, fake = critic(rows.pictures).logits, critic(drawn["discriminator"]).logits
    found = recipe.phases[0].loss(networks, rows)
    terms = 3.0 * real.square().mean() + 2.0 * found.parts["D/r1"]
    alone = Relativistic().discriminator_loss(real, fake)
    torch.testing.assert_close(found.total, alone + terms)
    torch.testing.assert_close(found.parts["D/adversarial"], alone.detach())
    torch.testing.assert_close(found.parts["D/real"], real.mean().detach())
    torch.testing.assert_close(found.parts["D/fake"], fake.mean().detach())
    torch.testing.assert_close(found.parts["D/drift"], real.square().mean().detach())
    assert not any(part.requires_grad for part in found.parts.values())

    mine = recipe.phases[1].loss(networks, rows)
    alone = Relativistic().generator_loss(critic(drawn["generator"]).logits, real)
    torch.testing.assert_close(mine.total, alone + 0.5 * mine.parts["G/pulling_away"])
    torch.testing.assert_close(mine.parts["G/adversarial"], alone.detach())
    assert not any(part.requires_grad for part in mine.parts.values())


def test_a_lazy_term_waits_until_its_step() -> None:
    recipe = small(regularizers=[r1(10.0, every=4), Orthogonal(2.0, every=3)])
    networks, told = recipe.networks, []
    for phase in recipe.phases:
        parts = [phase.loss(networks, batch(step)).parts for step in range(5)]
        told.append([bool({"D/r1", "G/orthogonal"} & set(each)) for each in parts])
    assert told == [[True, False, False, False, True], [True, False, False, True, False]]
    mine = recipe.phases[1].loss(networks, batch(3))
    torch.testing.assert_close(
        mine.total, mine.parts["G/adversarial"] + 6.0 * mine.parts["G/orthogonal"]
    )


def test_what_is_not_said_is_one_step_each_of_adam_on_64_samples_without_an_average() -> None:
    recipe = compose(generator=MlpGenerator(), discriminator=MlpCritic(), objective=hinge)
    assert [phase.optimizer for phase in recipe.phases] == 2 * [Adam(2e-4, (0.5, 0.999))]
    assert [(phase.player, phase.steps) for phase in recipe.phases] == [
        ("discriminator", 1),
        ("generator", 1),
    ]
    assert (recipe.batch_size, recipe.ema, recipe.watched) == (64, None, ())
    assert not recipe.joins_late and not recipe.differentiates_twice
    assert all(phase.after is None for phase in recipe.phases)


def test_what_is_said_is_taken() -> None:
    recipe = small(
        optimizer=SGD(1.0),
        generator_optimizer=RMSProp(2.0),
        n_dis=3,
        batch_size=5,
        watched=("D/real",),
        regularizers=[Drift(1.0), r1(), LeCam(1.0)],
    )
    assert [phase.optimizer for phase in recipe.phases] == [SGD(1.0), RMSProp(2.0)]
    assert [phase.steps for phase in recipe.phases] == [3, 1]
    assert (recipe.batch_size, recipe.watched) == (5, ("D/real",))
    assert recipe.differentiates_twice
    assert set(recipe.networks) == {"generator", "discriminator", "lecam"}
    # Only the critic's step is followed by what the term remembers.
    assert recipe.phases[0].after is not None and recipe.phases[1].after is None


def test_two_players_with_losses_of_their_own_take_turns() -> None:
    def alone(networks: Networks, rows: Batch) -> Losses:
        return Losses(torch.zeros(()), {})

    parts: dict[str, object] = {
        "generator": MlpGenerator(),
        "discriminator": MlpCritic(),
        "generator_loss": total,
        "discriminator_loss": alone,
        "optimizer": SGD(1.0),
    }
    plain = two_players(**parts)  # type: ignore[arg-type]
    assert [(p.name, p.loss, p.optimizer) for p in plain.phases] == [
        ("discriminator", alone, SGD(1.0)),
        ("generator", total, SGD(1.0)),
    ]
    assert (plain.batch_size, plain.ema) == (64, None)
    assert not plain.joins_late and not plain.differentiates_twice
    told = two_players(
        **parts,  # type: ignore[arg-type]
        generator_optimizer=SGD(2.0),
        batch_size=3,
        joins_late=True,
        differentiates_twice=True,
    )
    assert [p.optimizer for p in told.phases] == [SGD(1.0), SGD(2.0)]
    assert (told.batch_size, told.joins_late, told.differentiates_twice) == (3, True, True)


def test_samples_are_drawn_from_the_noise_of_their_name_under_the_condition() -> None:
    recipe, rows = small(4), batch()
    generator = recipe.networks["generator"]
    labels = rows.one_hot(4)
    noise = rows.noise.normal("mine", 4)
    expected = generator(labels, noise).pictures[-1]
    assert torch.equal(draw(recipe.networks, rows, "mine", labels), expected)
    assert unconditional(rows).shape == (8, 0) and unconditional(rows).dtype == torch.float32


def test_a_caption_is_the_right_one_of_each_picture() -> None:
    right, wrong = torch.rand(2, 3), torch.rand(2, 3)
    captions = CaptionRows(right, wrong, torch.eye(2, dtype=torch.bool))
    rows = Batch(torch.zeros(2, 2), RowNoise(0, 0, 2, slice(0, 2), CPU), 0.0, captions=captions)
    assert by_caption(rows) is right
    assert by_wrong_caption(rows) is wrong


def test_pairs_are_judged_with_the_right_and_with_the_wrong_caption() -> None:
    captions = CaptionRows(torch.randn(4, 3), torch.randn(4, 3), torch.eye(4, dtype=torch.bool))
    noise = RowNoise(0, 0, 4, slice(0, 4), CPU)
    rows = Batch(torch.rand(4, 3, 16, 16), noise, 0.0, captions=captions)
    recipe = small(
        generator=DcganGenerator(resolution=16, condition_dim=3, width=4, noise_dim=4),
        discriminator=DcganCaptionCritic(resolution=16, condition_dim=3, code_dim=2, width=4),
        objective=hinge,
        condition=by_caption,
        wrong=by_wrong_caption,
    )
    critic = recipe.networks["discriminator"]
    with torch.no_grad():
        fake = draw(recipe.networks, rows, "discriminator", captions.right)
        both = critic(rows.pictures, torch.cat([captions.right, captions.wrong])).logits
        right, wrong = both.chunk(2)
        drawn = critic(fake, captions.right).logits
    found = recipe.phases[0].loss(recipe.networks, rows)
    torch.testing.assert_close(found.parts["D/wrong"], wrong.mean())
    assert not found.parts["D/wrong"].requires_grad
    expected = hinge.matching_aware_loss(right, wrong, drawn)
    torch.testing.assert_close(found.total.detach(), expected)


def test_what_varies_the_condition_is_drawn_under_the_name_of_its_own() -> None:
    told: list[torch.Tensor | None] = []

    def generator(conditioning_dim: int) -> PictureGenerator:
        class Varied(SimpleNamespace):
            def __call__(self, *given: torch.Tensor | None) -> None:
                told.append(given[2])

        return cast(PictureGenerator, Varied(conditioning_dim=conditioning_dim))

    rows = batch()
    for dim in (3, 0):
        draw_all(generator(dim), rows, "mine", unconditional(rows), torch.zeros(8, 4))
    assert told[0] is not None and told[1] is None
    assert torch.equal(told[0], rows.noise.normal("mine-conditioning", 3))


def test_players_see_what_is_shown_of_a_batch() -> None:
    def doubled(networks: Networks, rows: Batch) -> Batch:
        assert "generator" in networks
        return dataclasses.replace(rows, pictures=2.0 * rows.pictures)

    recipe = small(shown=doubled)
    found = recipe.phases[0].loss(recipe.networks, batch()).parts["D/real"]
    wanted = recipe.networks["discriminator"](2.0 * batch().pictures).logits.mean()
    torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize(("objective", "looks"), [(hinge, 1), (Relativistic(), 2)])
def test_the_generator_looks_at_real_samples_only_to_compare(objective: object, looks: int) -> None:
    recipe = small(objective=objective)
    seen: list[object] = []
    recipe.networks["discriminator"].register_forward_hook(lambda *given: seen.append(given))
    recipe.phases[1].loss(recipe.networks, batch())
    assert len(seen) == looks


def test_the_captions_statistics_go_where_they_are_said_to_go() -> None:
    def fit(embeddings: torch.Tensor) -> None:
        """Takes them."""

    def loss(networks: Networks, rows: Batch) -> Losses:
        return Losses(torch.zeros(()), {})

    two = two_players(
        generator=MlpGenerator(),
        discriminator=MlpCritic(),
        generator_loss=loss,
        discriminator_loss=loss,
        optimizer=SGD(1.0),
        fit=fit,
    )
    assert small(fit=fit).fit is two.fit is fit


@dataclasses.dataclass(frozen=True)
class Remembering(Orthogonal):
    """A term of the generator that remembers the last step."""

    name: str = "remembering"

    def loss(self, play: Play) -> torch.Tensor:
        return play.fake.mean()

    def state(self) -> torch.nn.Module:
        return Anchors()

    def after(self, state: torch.nn.Module, update: Update) -> None:
        cast(Anchors, state).real.fill_(float(update.step))


def test_what_a_term_of_the_generator_remembers_moves_after_the_generators_step() -> None:
    recipe = small(regularizers=[Remembering(1.0)])
    kept = cast(Anchors, recipe.networks["remembering"])
    first, second = (phase.after for phase in recipe.phases)
    assert first is not None and second is not None
    first(recipe.networks, Update(0.0, 3, {}))
    assert kept.real == 0.0
    second(recipe.networks, Update(0.0, 5, {}))
    assert kept.real == 5.0


def test_a_critic_may_leave_the_condition_aside_and_needs_a_head_for_classes() -> None:
    small(4, discriminator=MlpCritic(width=8))
    with pytest.raises(TrainingError, match="classes: reads the critic's second head"):
        small(4, regularizers=[TellClasses(1.0)])
    critic = MlpCritic(width=8, condition_dim=4, outputs=4)
    small(4, discriminator=critic, regularizers=[TellClasses(1.0)])
