"""Generators whose later stages follow another condition than the first."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from t2i.networks import (
    AttentionGenerator,
    FusionGenerator,
    StackGenerator,
    StageGenerator,
    TreeGenerator,
)
from t2i.networks.words import pack, packed_dim

DIM, TOKEN, WORDS = 6, 4, 3


def _attention() -> AttentionGenerator:
    return AttentionGenerator(
        resolution=32, condition_dim=packed_dim(DIM, WORDS, TOKEN), words=WORDS, token_dim=TOKEN,
        noise_dim=5, conditioning_dim=4, width=8, blocks=1,
    )  # fmt: skip


MAKERS = {
    "stages": lambda: StageGenerator(
        condition_dim=DIM, resolutions=(8, 16, 32), noise_dim=5, conditioning_dim=4, width=4
    ),
    "tree": lambda: TreeGenerator(
        resolution=32, condition_dim=DIM, noise_dim=5, conditioning_dim=4, width=8, blocks=1
    ),
    "attention": _attention,
    "stack": lambda: StackGenerator(
        resolution=32, condition_dim=DIM, noise_dim=5, conditioning_dim=4, width=8, blocks=1
    ),
}


def _caption(network: nn.Module, seed: int) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    sentence = torch.randn(1, DIM, generator=numbers)
    if not isinstance(network, AttentionGenerator):
        return sentence
    states = 3 * torch.randn(1, WORDS, TOKEN, generator=numbers)
    return pack(sentence, states, torch.ones(1, WORDS, dtype=torch.bool), WORDS)


@pytest.fixture(params=MAKERS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = MAKERS[request.param]().eval()
    for weight in made.parameters():
        # Larger than they begin, so that a change is seen.
        nn.init.normal_(weight, std=0.3)
    return made


def test_the_stages_before_follow_the_coarse_and_the_rest_another(network: nn.Module) -> None:
    coarse, fine = _caption(network, 1), _caption(network, 2)
    noise, conditioning = torch.randn(1, 5), torch.randn(1, network.conditioning_dim)
    with torch.no_grad():
        one = network(coarse, noise, conditioning).pictures
        other = network(fine, noise, conditioning).pictures
        for first in range(1, len(one)):
            mixed = network(coarse, noise, conditioning, fine=fine, fine_from=first).pictures
            assert all(torch.equal(a, b) for a, b in zip(mixed[:first], one, strict=False))
            for stage in range(first, len(one)):
                assert not torch.equal(mixed[stage], one[stage])
                assert not torch.equal(mixed[stage], other[stage])


def test_the_same_fine_condition_changes_no_bit(network: nn.Module) -> None:
    coarse = _caption(network, 1)
    noise, conditioning = torch.randn(1, 5), torch.randn(1, network.conditioning_dim)
    with torch.no_grad():
        alone = network(coarse, noise, conditioning).pictures
        both = network(coarse, noise, conditioning, fine=coarse.clone()).pictures
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))


def test_only_generators_whose_later_stages_read_the_caption_anew_take_a_fine_one() -> None:
    assert not hasattr(FusionGenerator, "takes_fine")
    taking = {name for name, make in MAKERS.items() if make().takes_fine}
    assert taking == {"tree", "attention", "stack"}
