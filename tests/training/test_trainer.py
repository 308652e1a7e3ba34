import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.conftest import small_recipe, small_trainer
from training import checkpoint
from training.errors import TrainingError
from training.health import Health
from training.recipe import Losses
from training.trainer import Trainer


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    found = {
        f"{name}.{key}": value.clone()
        for name, network in {**trainer.networks, "average": trainer.average}.items()
        for key, value in network.state_dict().items()
    }
    return found


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def moments(trainer: Trainer) -> dict[str, float]:
    """Sum up the absolute moments of each optimiser."""
    return {
        name: sum(
            float(value.abs().sum())
            for state in optimizer.state_dict()["state"].values()
            for value in state.values()
        )
        for name, optimizer in trainer._plain_optimizers().items()
    }


def test_each_phase_moves_its_player_and_no_other(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path)
    for phase in trainer.recipe.phases:
        before = weights(trainer)
        trainer._update(phase, trainer._batches(0))
        after = weights(trainer)
        moved = {
            name
            for name, network in trainer.networks.items()
            for key, _ in network.named_parameters()
            if not torch.equal(before[f"{name}.{key}"], after[f"{name}.{key}"])
        }
        assert moved == {phase.player}


def test_every_parameter_of_both_players_learns(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path)
    before = weights(trainer)
    for _ in range(2):
        trainer.play_round()
    after = weights(trainer)
    names = [
        f"{name}.{key}"
        for name, network in trainer.networks.items()
        for key, _ in network.named_parameters()
    ]
    still = {key for key in names if torch.equal(before[key], after[key])}
    # Within the hinge's margin, what real and fake pictures ask of a last bias cancels out.
    assert all(key.endswith("score.bias") for key in still), still


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_resumed_run_equals_an_unbroken_one_to_the_bit(tmp_path: Path, precision: str) -> None:
    unbroken = small_trainer(tmp_path / "a", precision=precision, kimg=0.064)
    list(unbroken.train())
    first = small_trainer(tmp_path / "b", precision=precision, kimg=0.032)
    list(first.train())
    second = small_trainer(tmp_path / "b", precision=precision, kimg=0.064)
    assert second.resume()
    assert second.kimg == pytest.approx(0.032)
    list(second.train())
    assert_same(weights(unbroken), weights(second))


def test_micro_batches_are_one_optimiser_step(tmp_path: Path) -> None:
    # Without terms that compare pictures within a batch, two halves must equal the whole.
    knobs = {"matching_weight": 0.0, "mode_seeking_weight": 0.0, "unconditional_weight": 0.0}
    knobs["generator_lr"] = knobs["discriminator_lr"] = 1e-3
    whole = small_trainer(tmp_path / "a", knobs=knobs)
    halves = small_trainer(tmp_path / "b", knobs=knobs, micro_batches=2)
    phase = whole.recipe.phases[0]
    whole._update(phase, whole._batches(0))
    halves._update(halves.recipe.phases[0], halves._batches(0))
    first, second = weights(whole), weights(halves)
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], atol=2e-6, rtol=1e-4, msg=key)


def test_stages_join_when_it_is_their_turn(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, knobs={"stage_start": (0.0, 0.016)})
    before = weights(trainer)
    for _ in range(2):
        trainer.play_round()
    between = weights(trainer)
    last = "generator.to_rgb.16.weight"
    assert torch.equal(before[last], between[last])
    trainer.play_round()
    assert not torch.equal(between[last], weights(trainer)[last])


def test_stopping_leaves_a_checkpoint_of_whole_rounds(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, kimg=10.0)
    for report in trainer.train():
        if report.round >= 4:
            trainer.stop()
    resumed = small_trainer(tmp_path, kimg=10.0)
    assert resumed.resume()
    assert resumed.round == trainer.round
    assert_same(weights(trainer), weights(resumed))


def test_a_run_ends_when_its_processor_time_is_spent_over_all_goes_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = iter(range(0, 10**6, 60))
    monkeypatch.setattr("time.process_time", lambda: next(spent))
    first = small_trainer(tmp_path, kimg=0.32, core_minutes=3.0)
    list(first.train())
    # A minute goes by at every look: before the first round, and after each.
    assert first.round == 3 and not first.stopped
    (kept,) = checkpoint.complete(tmp_path / "checkpoints")
    assert checkpoint.read_state(kept)["core_seconds"] == 240.0
    spent = iter(range(0, 10**6, 60))
    again = small_trainer(tmp_path, kimg=0.32, core_minutes=4.0)
    assert again.resume()
    assert list(again.train()) == []
    spent = iter(range(300, 10**6, 60))
    with pytest.raises(TrainingError, match=r"core_minutes: 4 were spent before the first step"):
        list(small_trainer(tmp_path / "none", core_minutes=4.0).train())
    longer = small_trainer(tmp_path, kimg=0.064, core_minutes=1000.0)
    assert longer.resume()
    list(longer.train())
    assert longer.kimg == pytest.approx(0.064)


def test_time_spent_before_there_was_a_checkpoint_counts_until_one_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.process_time", lambda: 30.0)
    trainer = small_trainer(tmp_path, spent_before=90.0)
    assert trainer.core_seconds == 120.0
    trainer.save()
    again = small_trainer(tmp_path, spent_before=90.0)
    assert again.resume()
    assert again.core_seconds == 150.0


def test_a_half_written_checkpoint_is_not_there(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path)
    list(trainer.train())
    whole = checkpoint.complete(trainer.checkpoints)[-1]
    shutil.copytree(whole, trainer.checkpoints / ".000999999.partial")
    (trainer.checkpoints / ".000999999.partial" / "state.json").unlink()
    assert checkpoint.complete(trainer.checkpoints)[-1] == whole


@pytest.mark.parametrize("harm", ["flip", "remove", "format"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, harm: str) -> None:
    trainer = small_trainer(tmp_path)
    list(trainer.train())
    folder = checkpoint.complete(trainer.checkpoints)[-1]
    path = folder / "generator.safetensors"
    if harm == "flip":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif harm == "remove":
        path.unlink()
    else:
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(TrainingError, match=folder.name):
        small_trainer(tmp_path).resume()


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, kimg=0.16, checkpoint_kimg=0.016)
    list(trainer.train())
    assert [path.name for path in checkpoint.complete(trainer.checkpoints)] == [
        "000000144",
        "000000160",
    ]


def test_resuming_with_another_seed_is_refused(tmp_path: Path) -> None:
    list(small_trainer(tmp_path).train())
    with pytest.raises(TrainingError, match=r"seed: the run in .* was made with 0, now it is 1"):
        small_trainer(tmp_path, seed=1).resume()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path)
    phase = trainer.recipe.phases[0]
    whole = phase.loss

    def broken(networks, batch):  # type: ignore[no-untyped-def]
        losses = whole(networks, batch)
        return Losses(
            losses.total, {**losses.parts, "D/pair": losses.total.detach() * float("nan")}
        )

    object.__setattr__(phase, "loss", broken)
    with pytest.raises(TrainingError, match=r"loss D/pair: became nan before 0\.0 kimg"):
        list(trainer.train())
    assert not checkpoint.complete(trainer.checkpoints)


def test_a_discriminator_that_has_won_stops_the_run_after_a_while() -> None:
    health = Health(("D/pair",), floor=0.02, patience=5.0)
    health.observe(1.0, {"D/pair": 0.01})
    health.observe(5.0, {"D/pair": 0.01})
    health.observe(5.5, {"D/pair": 0.5})
    health.observe(6.0, {"D/pair": 0.01})
    with pytest.raises(TrainingError, match=r"below 0\.02 from 6\.0 to 11\.0 kimg"):
        health.observe(11.0, {"D/pair": 0.0})


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, micro_batches=3)
    with pytest.raises(TrainingError, match="give a multiple of 3"):
        trainer.play_round()


def test_a_recipe_watches_losses_that_it_reports(tmp_path: Path) -> None:
    assert set(small_recipe().watched) <= set(small_trainer(tmp_path).play_round())


def test_starting_from_another_run_takes_its_weights_and_counts_anew(tmp_path: Path) -> None:
    first = small_trainer(tmp_path / "first")
    list(first.train())
    second = small_trainer(tmp_path / "second", seed=3, knobs={"mode_seeking_weight": 0.5})
    second.start_from(tmp_path / "first")
    assert second.round == 0
    assert_same(weights(first), weights(second))
    assert moments(first) == moments(second) != {}


def test_what_is_new_in_a_discriminator_begins_with_new_moments(tmp_path: Path) -> None:
    first = small_trainer(tmp_path / "first")
    list(first.train())
    second = small_trainer(tmp_path / "second", knobs={"discriminator_width": 4})
    second.start_from(tmp_path / "first")
    assert torch.equal(
        weights(first)["generator.seed.weight"], weights(second)["generator.seed.weight"]
    )
    assert moments(second) == {"discriminator": 0, "generator": 0}


def test_starting_from_other_networks_is_refused(tmp_path: Path) -> None:
    list(small_trainer(tmp_path / "first").train())
    second = small_trainer(tmp_path / "second", knobs={"width": 4})
    with pytest.raises(TrainingError, match=r"another levels\.0 than the recipe now asks for"):
        second.start_from(tmp_path / "first")


def test_starting_from_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        small_trainer(tmp_path / "second").start_from(tmp_path / "first")


def test_one_process_may_train_twice_in_other_precision(tmp_path: Path) -> None:
    for precision in ("bf16", "no", "bf16"):
        trainer = small_trainer(tmp_path / precision, precision=precision, kimg=0.016)
        assert trainer.accelerator.mixed_precision == precision
        trainer.play_round()
