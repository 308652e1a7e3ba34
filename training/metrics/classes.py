"""What a classifier says of generated pictures: Inception Score, AM score, class accuracy.

All of it is arithmetic on logits (n, classes) float32, whichever network made them. A figure says
as much about the classifier as about the pictures, so the classifier's name goes with it.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.metrics.errors import MetricsError
from training.metrics.score import Score


def inception_score(
    logits: Tensor,
    real_logits: Tensor | None = None,
    *,
    network: str,
    resize: int = 0,
    splits: int = 10,
    seed: int = 0,
) -> Score:
    """Return exp of the mean KL of p(y|x) from p(y), over splits; higher is better.

    Salimans et al., 2016, arXiv:1606.03498, section 4. From 1 (all pictures are alike to the
    classifier) to the number of classes. The floor is the real pictures' own score.

    Args:
        logits: (n, classes) of generated pictures.
        real_logits: the same of real ones.
        network: name of the classifier.
        resize: side to which it brings pictures.
        splits: parts whose scores are averaged; the paper takes 10 of 5,000 pictures.
        seed: of the order in which pictures fall into splits.

    Raises:
        MetricsError: there are fewer pictures than splits, or logits are no numbers.
    """
    value, spread = _inception(logits, splits, seed)
    floor = None if real_logits is None else _inception(real_logits, splits, seed)[0]
    return Score(
        name="IS",
        value=value,
        floor=floor,
        count=len(logits),
        floor_count=0 if real_logits is None else len(real_logits),
        network=network,
        resize=resize,
        spread=spread,
        better="higher",
        detail={"splits": splits},
    )


def _inception(logits: Tensor, splits: int, seed: int) -> tuple[float, float]:
    from torchmetrics.image.inception import InceptionScore

    _check(logits)
    if not 1 <= splits <= len(logits):
        raise MetricsError(
            "splits", splits, f"is not from 1 to the {len(logits)} pictures", "use fewer"
        )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # That it keeps the logits, and that one split has no deviation, is known here.
        warnings.filterwarnings("ignore", message=".*will save all extracted features")
        warnings.filterwarnings("ignore", message=".*degrees of freedom")
        metric = InceptionScore(feature=nn.Identity(), splits=splits)
        metric.update(logits.float())
        torch.manual_seed(seed)
        mean, spread = metric.compute()
    return float(mean), float(spread) if splits > 1 else 0.0


def am_score(
    logits: Tensor,
    class_shares: Tensor,
    real_logits: Tensor | None = None,
    *,
    network: str,
    resize: int = 0,
) -> Score:
    """Return KL(class shares of the training set, mean p(y|x)) + mean entropy of p(y|x), in nats.

    Zhou et al., 2018, arXiv:1703.02000, eq. 27 (AM score). Lower is better; 0 needs sure
    answers in the proportions of the training set. It is meant for a classifier of the same data.

    Args:
        logits: (n, classes) of generated pictures.
        class_shares: (classes,) counts or shares of the classes in the training set.
        real_logits: the same of real ones, for the floor.
        network: name of the classifier.
        resize: side to which it brings pictures.

    Raises:
        MetricsError: shapes do not fit, a share is negative, or logits are no numbers.
    """
    _check(logits)
    shares = class_shares.double()
    if shares.shape != logits.shape[1:] or (shares < 0).any() or not shares.sum() > 0:
        raise MetricsError(
            "class_shares",
            tuple(shares.shape),
            f"does not hold a share of each of {logits.shape[1]} classes",
            "give the training set's class counts",
        )
    shares = shares / shares.sum()
    floor = None
    if real_logits is not None:
        _check(real_logits)
        floor = _am(real_logits, shares)
    return Score(
        name="AM",
        value=_am(logits, shares),
        floor=floor,
        count=len(logits),
        floor_count=0 if real_logits is None else len(real_logits),
        network=network,
        resize=resize,
    )


def _am(logits: Tensor, shares: Tensor) -> float:
    log_p = logits.double().log_softmax(dim=1)
    # From logarithms: a class that no picture reaches must make the score large, not infinite.
    log_mean = log_p.logsumexp(dim=0) - torch.tensor(float(len(logits))).log()
    divergence = torch.special.xlogy(shares, shares).sum() - (shares * log_mean).sum()
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    return float(divergence + entropy)


@dataclass(frozen=True, slots=True)
class ClassAccuracy:
    """How often the asked class is the one that a classifier sees.

    Attributes:
        value: share of generated pictures that are seen as the class that was asked.
        each: the same for each class; None where a class was not asked.
        classifier: the classifier's own accuracy on held-out real pictures.
        classifier_count: how many those are.
        count: generated pictures.
        network: name of the classifier.
        resize: side to which it brings pictures.
    """

    value: float
    each: tuple[float | None, ...]
    classifier: float
    classifier_count: int
    count: int
    network: str
    resize: int = 0

    def __str__(self) -> str:
        """Return all but the classes in one line."""
        return (
            f"class accuracy {self.value:.4f} ({self.count} samples; the classifier itself "
            f"{self.classifier:.4f} on {self.classifier_count} held-out; {self.network}, "
            f"resize {self.resize})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "each": list(self.each)}

    def as_score(self) -> Score:
        """Return it as a score, whose floor is the classifier's own accuracy."""
        return Score(
            name="class accuracy",
            value=self.value,
            floor=self.classifier,
            count=self.count,
            floor_count=self.classifier_count,
            network=self.network,
            resize=self.resize,
            better="higher",
        )


def class_accuracy(
    logits: Tensor,
    asked: Tensor,
    held_out_logits: Tensor,
    held_out_labels: Tensor,
    *,
    network: str,
    resize: int = 0,
) -> ClassAccuracy:
    """Compare what a classifier sees with what was asked, beside its accuracy on real pictures.

    Odena et al., 2017, arXiv:1610.09585, section 4.1.

    Args:
        logits: (n, classes) of generated pictures.
        asked: (n,) int64, the class each was asked to show.
        held_out_logits: (m, classes) of real pictures that the classifier did not learn from.
        held_out_labels: (m,) int64, their true classes.
        network: name of the classifier.
        resize: side to which it brings pictures.

    Raises:
        MetricsError: shapes do not fit, a class is unknown, or logits are no numbers.
    """
    for rows, labels, name in (
        (logits, asked, "asked"),
        (held_out_logits, held_out_labels, "held_out_labels"),
    ):
        _check(rows)
        if labels.shape != rows.shape[:1] or labels.min() < 0 or labels.max() >= rows.shape[1]:
            raise MetricsError(
                name,
                tuple(labels.shape),
                f"does not tell one of {rows.shape[1]} classes for each of {len(rows)} pictures",
                "give (n,) class numbers from 0",
            )
    right = (logits.argmax(dim=1) == asked).double()
    total = torch.bincount(asked, minlength=logits.shape[1])
    hits = torch.bincount(asked, right, minlength=logits.shape[1])
    known = (held_out_logits.argmax(dim=1) == held_out_labels).double().mean()
    return ClassAccuracy(
        value=float(right.mean()),
        each=tuple(
            hit / number if number else None
            for hit, number in zip(hits.tolist(), total.tolist(), strict=True)
        ),
        classifier=float(known),
        classifier_count=len(held_out_labels),
        count=len(asked),
        network=network,
        resize=resize,
    )


def linear_accuracy(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    network: str,
    penalty: float = 1e-3,
    resize: int = 0,
) -> Score:
    """Return the test accuracy of a linear classifier on frozen features.

    Multinomial logistic regression on standardised features, solved to its optimum: mean
    cross-entropy + penalty / 2 · |W|². What features of a discriminator or an encoder are worth is
    told this way since Radford et al., 2016, arXiv:1511.06434, section 5.1 (there with an SVM).

    Args:
        features: (n, d) of the training pictures.
        labels: (n,) int64 classes from 0.
        test_features: (m, d) of held-out pictures.
        test_labels: (m,) int64.
        network: name of what made the features.
        penalty: on the weights, not on the offsets.
        resize: side to which the network brings pictures.

    Returns:
        A score whose floor is what always answering the commonest class would reach.

    Raises:
        MetricsError: shapes do not fit, or the penalty is not positive.
    """
    if penalty <= 0:
        raise MetricsError("penalty", penalty, "is not positive", "use 1e-3")
    for rows, truth, name in ((features, labels, "labels"), (test_features, test_labels, "test")):
        if truth.shape != rows.shape[:1] or not len(rows) or truth.min() < 0:
            raise MetricsError(
                name, tuple(truth.shape), f"does not fit {len(rows)} rows", "give one class a row"
            )
    weight, offset, mean, scale = _fit_linear(features, labels, penalty)
    logits = ((test_features.double() - mean) / scale) @ weight + offset
    commonest = torch.bincount(labels).argmax()
    return Score(
        name="linear accuracy",
        value=float((logits.argmax(dim=1) == test_labels).double().mean()),
        floor=float((test_labels == commonest).double().mean()),
        count=len(test_labels),
        real=len(labels),
        floor_count=len(test_labels),
        network=network,
        resize=resize,
        better="higher",
        detail={"penalty": penalty},
    )


def _fit_linear(
    features: Tensor, labels: Tensor, penalty: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x = features.double()
    mean, scale = x.mean(dim=0), x.std(dim=0, unbiased=False).clamp(min=1e-8)
    x = (x - mean) / scale
    classes = int(labels.max()) + 1
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, offset],
        max_iter=500,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(x @ weight + offset, labels)
        value = value + penalty / 2 * weight.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), offset.detach(), mean, scale


def _check(logits: Tensor) -> None:
    if logits.ndim != 2 or not len(logits) or not torch.isfinite(logits).all():
        raise MetricsError(
            "logits", tuple(logits.shape), "are no finite (n, classes) numbers", "check the network"
        )
