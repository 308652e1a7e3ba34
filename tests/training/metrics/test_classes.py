import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from training.metrics.classes import am_score, class_accuracy, inception_score, linear_accuracy
from training.metrics.errors import MetricsError


def _logits(count: int, classes: int = 5, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def _sure(labels: list[int], classes: int) -> torch.Tensor:
    return 100.0 * torch.nn.functional.one_hot(torch.tensor(labels), classes)


def test_inception_score_of_sure_answers_is_the_number_of_classes_shown() -> None:
    assert inception_score(_sure([0, 1, 2, 3] * 4, 10), network="n", splits=1).value == (
        pytest.approx(4.0, rel=1e-4)
    )
    assert inception_score(_sure([2] * 8, 10), network="n", splits=1).value == pytest.approx(1.0)


def test_inception_score_is_exp_of_the_mean_divergence_from_the_marginal() -> None:
    logits = _logits(60)
    p = logits.double().softmax(1).numpy()
    expected = math.exp(float((p * np.log(p / p.mean(0))).sum(1).mean()))
    score = inception_score(logits, _sure([0, 1], 5), network="judge", splits=1)
    assert score.value == pytest.approx(expected, rel=1e-5)
    assert score.floor == pytest.approx(2.0, rel=1e-4)
    assert (score.network, score.count, score.floor_count) == ("judge", 60, 2)


def test_inception_score_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(3)
    inception_score(_logits(40), network="n", splits=4)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.rand(1) == drawn


def test_inception_score_refuses_more_splits_than_pictures_and_numbers_that_are_none() -> None:
    with pytest.raises(MetricsError, match="splits"):
        inception_score(_logits(3), network="n", splits=4)
    with pytest.raises(MetricsError, match="logits"):
        inception_score(torch.full((4, 2), math.nan), network="n", splits=1)


def test_am_score_is_zero_for_sure_answers_in_the_proportions_of_the_training_set() -> None:
    right = am_score(_sure([0, 0, 0, 1], 2), torch.tensor([3.0, 1.0]), network="n")
    assert right.value == pytest.approx(0, abs=1e-6)
    lopsided = am_score(_sure([0, 0, 1, 1], 2), torch.tensor([3.0, 1.0]), network="n")
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert lopsided.value == pytest.approx(expected, rel=1e-5)


def test_am_score_adds_the_entropy_of_unsure_answers() -> None:
    unsure = am_score(torch.zeros(6, 4), torch.ones(4), _sure([0, 1, 2, 3], 4), network="n")
    assert unsure.value == pytest.approx(math.log(4), rel=1e-6)
    assert unsure.floor == pytest.approx(0, abs=1e-6)


def test_am_score_of_a_class_never_shown_is_large_and_finite() -> None:
    value = am_score(_sure([0, 0], 2), torch.ones(2), network="n").value
    assert 10 < value < 1000


def test_am_score_refuses_shares_of_other_classes() -> None:
    with pytest.raises(MetricsError, match="class_shares"):
        am_score(torch.zeros(6, 4), torch.ones(3), network="n")


def test_class_accuracy_stands_beside_the_classifiers_own() -> None:
    measured = class_accuracy(
        _sure([0, 1, 1, 0], 3), torch.tensor([0, 1, 0, 0]),
        _sure([0, 1, 2, 2, 2], 3), torch.tensor([0, 1, 2, 2, 1]),
        network="judge", resize=28,
    )  # fmt: skip
    assert measured.value == 0.75
    assert measured.each == (pytest.approx(2 / 3), 1.0, None)
    assert (measured.classifier, measured.classifier_count) == (0.8, 5)
    assert "0.7500" in str(measured) and "0.8000 on 5 held-out" in str(measured)
    assert measured.as_score().floor == 0.8


def test_class_accuracy_refuses_a_class_that_does_not_exist() -> None:
    rows = _sure([0, 1], 2)
    with pytest.raises(MetricsError, match="asked"):
        class_accuracy(rows, torch.tensor([0, 2]), rows, torch.tensor([0, 1]), network="n")


def test_linear_classifier_reaches_the_optimum_that_another_solver_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (90,), generator=generator)
    centres = torch.randn(3, 4, generator=generator)
    x = centres[labels] + torch.randn(90, 4, generator=generator)
    train, test = slice(0, 60), slice(60, 90)
    score = linear_accuracy(
        x[train], labels[train], x[test], labels[test], network="n", penalty=0.01
    )

    a = x.double().numpy()
    a = (a - a[:60].mean(0)) / a[:60].std(0)
    y = labels.numpy()

    def loss(flat: np.ndarray) -> float:
        w, b = flat[:12].reshape(4, 3), flat[12:]
        rows = log_softmax(a[:60] @ w + b, axis=1)
        return float(-rows[np.arange(60), y[:60]].mean() + 0.005 * (w**2).sum())

    flat = minimize(loss, np.zeros(15), tol=1e-10).x
    answers = (a[60:] @ flat[:12].reshape(4, 3) + flat[12:]).argmax(1)
    assert score.value == pytest.approx((answers == y[60:]).mean())
    assert score.floor is not None and score.value > score.floor + 0.2


def test_linear_accuracy_refuses_labels_that_do_not_fit() -> None:
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(MetricsError, match="labels"):
        linear_accuracy(x, y[:3], x, y, network="n")
