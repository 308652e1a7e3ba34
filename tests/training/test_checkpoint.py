from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from t2i.networks import StageDiscriminator, StageGenerator
from training import checkpoint
from training.errors import TrainingError


def generator(*stages: int, width: int, seed: int = 0) -> StageGenerator:
    torch.manual_seed(seed)
    return StageGenerator(
        condition_dim=6,
        resolutions=stages,
        noise_dim=5,
        conditioning_dim=4,
        width=width,
        max_channels=16,
    )


def discriminator(*stages: int, width: int, seed: int, eyes: int) -> StageDiscriminator:
    torch.manual_seed(seed)
    return StageDiscriminator(
        condition_dim=6, resolutions=stages, width=width, max_channels=16, features=[(3, eyes)]
    )


def saved(root: Path, **networks: nn.Module) -> Path:
    return checkpoint.save(root, 8, networks=networks, optimizers={}, state={})


def tensors(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def test_a_generator_that_has_grown_draws_its_first_stages_as_before(tmp_path: Path) -> None:
    small, grown = generator(8, width=16), generator(8, 16, width=8, seed=1)
    new = {k: v for k, v in tensors(grown).items() if k.startswith(("levels.1", "to_rgb.16"))}
    folder = saved(tmp_path, generator=small)
    whole = ("generator",)
    assert not checkpoint.take_over(folder, networks={"generator": grown}, whole=whole)
    caption, noise = torch.randn(2, 6), torch.randn(2, 5)
    drawn = grown(caption, noise).pictures
    assert torch.equal(drawn[0], small(caption, noise).pictures[0])
    assert len(new) > 4 and all(torch.equal(tensors(grown)[k], v) for k, v in new.items())


def test_a_critic_is_taken_over_whole_or_not_at_all(tmp_path: Path) -> None:
    # What was the critic of features has now the place of the new stage's critic, and many of its
    # layers have the same shapes.
    before = discriminator(8, width=16, seed=0, eyes=8)
    now = discriminator(8, 16, width=8, seed=1, eyes=16)
    folder, untouched = saved(tmp_path, discriminator=before), tensors(now)
    networks = {"discriminator": now}
    assert not checkpoint.take_over(folder, networks=networks, whole=())
    theirs, after = before.state_dict(), tensors(now)
    alike = {k for k, v in after.items() if k in theirs and v.shape == theirs[k].shape}
    assert any(key.startswith("critics.1.") for key in alike)
    for key, value in after.items():
        taken = not key.startswith(("critics.1.", "critics.2."))
        assert torch.equal(value, theirs[key] if taken else untouched[key]), key


def test_networks_that_have_not_changed_are_taken_over_as_they_are(tmp_path: Path) -> None:
    before, now = generator(8, 16, width=8), generator(8, 16, width=8, seed=1)
    folder = saved(tmp_path, generator=before)
    assert checkpoint.take_over(folder, networks={"generator": now}, whole=("generator",))
    assert all(torch.equal(tensors(now)[k], v) for k, v in tensors(before).items())


@pytest.mark.parametrize(
    ("now", "part"), [(generator(8, 16, width=16), "levels.0"), (generator(8, width=8), "levels.1")]
)
def test_a_generator_that_is_no_part_of_the_new_one_is_refused(
    tmp_path: Path, now: StageGenerator, part: str
) -> None:
    folder = saved(tmp_path, generator=generator(8, 16, width=4))
    with pytest.raises(TrainingError, match=rf"another {part} .* halve --width"):
        checkpoint.take_over(folder, networks={"generator": now}, whole=("generator",))
