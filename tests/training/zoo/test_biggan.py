from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from t2i.conditions import Label
from t2i.networks import LadderGenerator
from t2i.networks.conditional_norm import ConditionalBatchNorm2d
from t2i.pipeline import Pipeline
from tests.training.conftest import squares
from tests.training.zoo.moves import Scored, batch_of, losses_of
from tests.training.zoo.samples import spec_of
from training.errors import TrainingError
from training.export_samples import export_pictures
from training.optimizers import Adam
from training.recipe import Recipe
from training.registry import Spec
from training.regularizers import orthogonality
from training.zoo.biggan import biggan

SMALL = {"width": 4, "generator_width": 4, "noise_dim": 6, "shared_dim": 5}
LABELS = torch.tensor([0, 1, 2, 0])


def small(**changes: object) -> Recipe:
    torch.manual_seed(0)
    return biggan(spec_of(squares()), **{**SMALL, **changes})


def generator_of(recipe: Recipe) -> LadderGenerator:
    generator = recipe.networks["generator"]
    assert isinstance(generator, LadderGenerator)
    return generator


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_losses_are_the_hinge_and_the_orthogonal_term_of_equation_3() -> None:
    recipe = small(orthogonal_weight=0.01)
    scored = Scored(recipe)
    with torch.no_grad():
        # Away from orthogonal, where the term is zero.
        for weight in recipe.networks["generator"].parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    losses = losses_of(recipe, batch_of(pictures(), LABELS))
    real, fake, mine = scored.logits
    hinge = (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()
    torch.testing.assert_close(losses["discriminator"].total.detach(), hinge)
    term = orthogonality(recipe.networks["generator"]).detach()
    assert term > 1.0
    torch.testing.assert_close(losses["generator"].total.detach(), -mine.mean() + 0.01 * term)


def test_the_orthogonal_term_is_of_the_learned_weights_by_hand() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    nn.utils.parametrizations.spectral_norm(layer)
    # The rows' product is 1·3 + 2·4 = 11, twice, and the diagonal does not count.
    assert float(orthogonality(layer).detach()) == pytest.approx(2 * 11.0**2)


def test_first_weights_are_orthogonal() -> None:
    weight = small().networks["generator"].get_submodule("start").parametrizations
    first = weight["weight"].original.detach()  # type: ignore[index,union-attr]
    torch.testing.assert_close(first.t() @ first, torch.eye(first.shape[1]), atol=1e-5, rtol=0)
    critic = small().networks["discriminator"]
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    last = convolutions[-1].parametrizations["weight"].original.detach().flatten(1)  # type: ignore[index,union-attr]
    torch.testing.assert_close(last @ last.t(), torch.eye(len(last)), atol=1e-5, rtol=0)


def test_the_critic_is_told_the_label() -> None:
    critic = small().networks["discriminator"].eval()
    said = [critic(pictures(), F.one_hot(LABELS.roll(n), 3).float()).logits for n in (0, 1)]
    assert not torch.allclose(*said)


def test_all_norms_share_one_embedding_of_the_label_and_take_their_part_of_the_noise() -> None:
    generator = generator_of(small())
    assert generator.share is not None and generator.share.weight.shape == (5, 3)
    assert generator.parts == [2, 2, 2]
    norms = [m for m in generator.modules() if isinstance(m, ConditionalBatchNorm2d)]
    assert {norm.gain.in_features for norm in norms if norm.gain is not None} == {5 + 2}


@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_part_of_the_noise_reaches_the_picture(part: int) -> None:
    generator = generator_of(small()).eval()
    noise, embedding = torch.randn(1, 6), torch.eye(3)[:1]
    moved = noise.clone()
    moved[:, 2 * part : 2 * part + 2] += 1.0
    with torch.no_grad():
        assert not torch.equal(generator.draw(embedding, moved), generator.draw(embedding, noise))


def test_the_papers_settings_are_the_defaults() -> None:
    recipe = biggan(Spec(32, label_names=("a", "b")), width=4, generator_width=4)
    critic, generator = recipe.phases
    assert critic.optimizer == Adam(2e-4, betas=(0.0, 0.999)) and critic.steps == 2
    assert generator.optimizer == Adam(5e-5, betas=(0.0, 0.999))
    assert recipe.ema is not None
    # Without the ramp a G step of 2 times 64 pictures keeps 0.9999 of the average.
    assert 1 - recipe.ema.decay(1e9, 2 * 64) == pytest.approx(1e-4, rel=1e-5)


def test_a_bundle_is_asked_by_label_and_truncated_by_the_pipeline(tmp_path: Path) -> None:
    bundle = export_pictures(
        tmp_path / "bundle",
        name="small",
        recipe="biggan",
        generator=generator_of(small()).eval(),
        data=squares(),
        kimg=0.0,
        settings={"seed": 0, "data": "squares", "kimg": 0},
    )
    pipeline = Pipeline.from_pretrained(bundle.folder, "cpu")

    def spread(truncation: float) -> float:
        images = pipeline.generate(Label("red"), seeds=list(range(6)), truncation=truncation).images
        levels = torch.stack([torch.from_numpy(image.array).float() for image in images])
        return float(levels.std(dim=0).mean())

    assert spread(1.0) > spread(0.4) > spread(0.0) == 0.0


def test_data_without_labels_or_too_little_noise_is_refused() -> None:
    with pytest.raises(TrainingError, match="the data has none"):
        biggan(Spec(32))
    with pytest.raises(TrainingError, match="noise_dim: 2 cannot be split into 3 parts"):
        small(noise_dim=2)
