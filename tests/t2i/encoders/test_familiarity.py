from __future__ import annotations

import pytest
import torch

from t2i.encoders import Familiarity, caption_statistics
from t2i.encoders.minilm import MiniLM
from t2i.errors import InvalidInput

COLOURS = ["red", "blue", "yellow", "green", "white", "black", "brown", "grey"]
CAPTIONS = [
    f"a {size} bird with a {head} head and a {wing} wing"
    for size in ("small", "large")
    for head in COLOURS
    for wing in COLOURS
]


@pytest.fixture(scope="module")
def embeddings() -> torch.Tensor:
    return MiniLM().encode_batch(CAPTIONS)


def test_statistics_have_the_documented_shapes(embeddings: torch.Tensor) -> None:
    statistics = caption_statistics(embeddings, centres=50)
    assert statistics["captions"].shape == (50, 384)
    assert statistics["captions"].dtype == torch.float16
    assert statistics["distance_quantiles"].shape == (101,)
    assert bool((statistics["distance_quantiles"].diff() >= 0).all())
    assert statistics["pair_distance"].shape == (1,)
    torch.testing.assert_close(statistics["embedding_mean"], embeddings.mean(0))
    torch.testing.assert_close(statistics["embedding_std"], embeddings.std(0, unbiased=False))


def test_many_captions_are_kept_as_few_centres_that_tell_far_from_near() -> None:
    """Three bundles of directions, far from each other: three centres stand for all of them."""
    numbers = torch.Generator().manual_seed(0)
    directions = torch.eye(3, 40).repeat_interleave(200, dim=0)
    captions = directions + 0.05 * torch.randn(600, 40, generator=numbers)
    statistics = caption_statistics(captions, centres=12)
    assert statistics["captions"].shape == (12, 40)
    familiarity = Familiarity.from_statistics(statistics)
    ordinary = familiarity.distances(captions)
    assert float((ordinary > familiarity.threshold).float().mean()) <= 0.02
    assert bool((familiarity.distances(torch.eye(40)[3:]) > familiarity.threshold).all())
    # A centre is nearer to its captions than they are to each other.
    plain = Familiarity(torch.nn.functional.normalize(captions[::50], dim=1), 0.0)
    others = torch.cat([captions[start : start + 49] for start in range(1, 600, 50)])
    assert float(familiarity.distances(others).median()) < 0.75 * float(
        plain.distances(others).median()
    )


def test_what_is_kept_fits_into_200_kilobytes_whatever_the_encoder() -> None:
    numbers = torch.Generator().manual_seed(0)
    for dim in (384, 768):
        statistics = caption_statistics(torch.randn(1200, dim, generator=numbers))
        stored = sum(value.numel() * value.element_size() for value in statistics.values())
        assert 150_000 < stored < 200_000


def test_half_of_the_captions_are_held_out_and_copies_do_not_count(
    embeddings: torch.Tensor,
) -> None:
    few = embeddings[:10].repeat(5, 1)
    statistics = caption_statistics(few)
    assert statistics["captions"].shape == (5, 384)
    assert float(statistics["distance_quantiles"][0]) > 1e-3


def test_the_same_captions_give_the_same_statistics(embeddings: torch.Tensor) -> None:
    first, second = caption_statistics(embeddings), caption_statistics(embeddings)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_strange_caption_is_beyond_the_threshold_and_training_captions_are_not(
    embeddings: torch.Tensor,
) -> None:
    familiarity = Familiarity.from_statistics(caption_statistics(embeddings))
    ordinary = familiarity.distances(embeddings)
    assert float((ordinary > familiarity.threshold).float().mean()) <= 0.02
    strange = familiarity.distances(
        MiniLM().encode_batch(["a steam train in the snow", "quarterly tax report"])
    )
    assert bool((strange > 2 * familiarity.threshold).all())
    assert bool((strange <= 2).all())


def test_another_wording_of_templated_captions_is_not_far() -> None:
    """Held-out captions of one template lie so near that they alone would make all else far."""
    encoder = MiniLM()
    captions = [
        f"a {size} {body} bird with a {head} head and {wing} wings"
        for size in ("small", "large")
        for body in COLOURS
        for head in COLOURS
        for wing in COLOURS[:4]
    ]
    statistics = caption_statistics(encoder.encode_batch(captions))
    familiarity = Familiarity.from_statistics(statistics)
    distance = float(familiarity.distances(encoder.encode(["small bird with red head"])))
    assert 1.25 * float(statistics["distance_quantiles"][99]) < distance < familiarity.threshold


def test_statistics_need_two_different_finite_captions() -> None:
    with pytest.raises(InvalidInput, match="fewer than two"):
        caption_statistics(torch.ones(5, 3))
    with pytest.raises(InvalidInput, match="not finite"):
        caption_statistics(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))
    with pytest.raises(InvalidInput, match="lack captions"):
        Familiarity.from_statistics({"embedding_mean": torch.ones(3)})
