"""Birds, settings and the judge that the tests of the metrics share."""

from pathlib import Path

import pytest

from training.metrics.attributes import AttributeClassifier
from training.metrics.birds_judge import SHIPPED
from training.metrics.evaluate_birds import EvaluationSettings
from training.metrics.reference import Reference, load_reference


@pytest.fixture(scope="session")
def bird_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("birds")


@pytest.fixture(scope="session")
def small() -> EvaluationSettings:
    return EvaluationSettings(
        count=40,
        seeds=(0, 1),
        resize=64,
        subsets=10,
        subset_size=30,
        variety_captions=5,
        variety_pictures=4,
    )


@pytest.fixture(scope="session")
def references(bird_cache: Path, small: EvaluationSettings) -> tuple[Reference, ...]:
    return tuple(
        load_reference(
            split,
            small.count,
            size=64,
            seed=small.data_seed,
            cache_dir=bird_cache,
            progress=False,
        )
        for split in small.splits
    )


@pytest.fixture(scope="session")
def judge() -> AttributeClassifier:
    return AttributeClassifier.load(SHIPPED)
