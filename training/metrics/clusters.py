"""How well codes that nobody labelled tell the classes: unsupervised cluster error."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.metrics.errors import MetricsError

Assignment = Literal["one-to-one", "majority"]


@dataclass(frozen=True, slots=True)
class ClusterError:
    """Error of codes read as classes.

    Attributes:
        value: share of samples whose code stands for another class than their own.
        chance: the error of giving every sample the commonest class.
        classes: for each code the class that it stands for, -1 for none.
        count: samples that were judged.
        matched_on: samples on which codes were matched to classes.
        assignment: `one-to-one` (each class has one code at most) or `majority` (each code stands
            for the class that is commonest under it).
    """

    value: float
    chance: float
    classes: tuple[int, ...]
    count: int
    matched_on: int
    assignment: Assignment

    def __str__(self) -> str:
        """Return all of it in one line."""
        return (
            f"cluster error {self.value:.4f} (chance {self.chance:.4f}, {self.count} held-out, "
            f"{self.assignment} on {self.matched_on}, codes stand for {list(self.classes)})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "classes": list(self.classes)}


def cluster_error(
    codes: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    code_count: int,
    class_count: int,
    assignment: Assignment = "one-to-one",
    match_codes: NDArray[np.int64] | None = None,
    match_labels: NDArray[np.int64] | None = None,
) -> ClusterError:
    """Match codes to classes as well as can be and return the error that is left.

    Chen et al., 2016, arXiv:1606.03657, section 7.2 (each code is matched to a digit);
    Springenberg, 2016, arXiv:1511.06390, section 4 (each cluster takes its majority's class).

    Args:
        codes: (n,) the code that the model gives each held-out sample.
        labels: (n,) their true classes.
        code_count: how many codes there are.
        class_count: how many classes there are.
        assignment: how codes are matched.
        match_codes: codes of other labelled samples to match on; without them the judged samples
            themselves are used, which flatters a model with many codes.
        match_labels: their classes.

    Raises:
        MetricsError: lengths differ, nothing is given, or a number is out of range.
    """
    if (match_codes is None) != (match_labels is None):
        raise MetricsError("match_labels", None, "come without match_codes", "give both or none")
    if assignment not in ("one-to-one", "majority"):
        raise MetricsError("assignment", assignment, "is unknown", "use 'one-to-one' or 'majority'")
    judged = _table(codes, labels, code_count, class_count)
    matched = judged
    if match_codes is not None and match_labels is not None:
        matched = _table(match_codes, match_labels, code_count, class_count)
    if assignment == "majority":
        classes = np.where(matched.sum(axis=1) > 0, matched.argmax(axis=1), -1)
    else:
        classes = best_assignment(matched)
    right = sum(int(judged[code, kind]) for code, kind in enumerate(classes) if kind >= 0)
    return ClusterError(
        value=1 - right / len(codes),
        chance=1 - float(judged.sum(axis=0).max()) / len(codes),
        classes=tuple(int(kind) for kind in classes),
        count=len(codes),
        matched_on=int(matched.sum()),
        assignment=assignment,
    )


def _table(
    codes: NDArray[np.int64], labels: NDArray[np.int64], code_count: int, class_count: int
) -> NDArray[np.int64]:
    if codes.shape != labels.shape or codes.ndim != 1 or not len(codes):
        raise MetricsError(
            "codes", codes.shape, f"do not match labels {labels.shape}", "give (n,) of both"
        )
    for name, values, limit in (("codes", codes, code_count), ("labels", labels, class_count)):
        if values.min() < 0 or values.max() >= limit:
            raise MetricsError(
                name, int(values.max()), f"are not all from 0 to {limit - 1}", "count from 0"
            )
    table = np.zeros((code_count, class_count), np.int64)
    np.add.at(table, (codes, labels), 1)
    return table


def best_assignment(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose a column for each row, none twice, so that the chosen entries' sum is greatest.

    The Hungarian method with potentials (Kuhn, 1955; Jonker and Volgenant, 1987): rows join one by
    one along the cheapest alternating path, so the time grows with rows² · columns.

    Args:
        table: (rows, columns) gains.

    Returns:
        (rows,) column numbers, -1 for a row that gets none (more rows than columns).
    """
    rows, columns = table.shape
    if rows > columns:
        by_column = best_assignment(table.T)
        chosen = np.full(rows, -1, np.int64)
        chosen[by_column] = np.arange(columns)
        return chosen
    cost = -table.astype(np.float64)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1, np.int64)
    for new in range(rows):
        slack = np.full(columns, np.inf)
        before = np.full(columns, -1, np.int64)
        visited = np.zeros(columns, np.bool_)
        row, last = new, -1
        while True:
            reduced = cost[row] - row_price[row] - column_price
            shorter = ~visited & (reduced < slack)
            slack[shorter], before[shorter] = reduced[shorter], last
            last = int(np.where(visited, np.inf, slack).argmin())
            step = slack[last]
            row_price[new] += step
            row_price[owner[visited]] += step
            column_price[visited] -= step
            slack[~visited] -= step
            visited[last] = True
            if owner[last] < 0:
                break
            row = int(owner[last])
        while last >= 0:
            previous = int(before[last])
            owner[last] = owner[previous] if previous >= 0 else new
            last = previous
    chosen = np.full(rows, -1, np.int64)
    taken = owner >= 0
    chosen[owner[taken]] = np.flatnonzero(taken)
    return chosen
