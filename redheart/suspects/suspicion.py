"""How wrong a label looks, and how wrong it would look if it had been exchanged.

The suspicion of a class is its surprise, `-ln p`, plus a quarter of the log-probability of the best
other class: a weighted mean over the checkpoints, less the mean of its class. Classes differ in how
well they are learned, so a rare class does not look wrong as a whole (Northcutt et al. 2021,
"Confident Learning", arXiv 1911.00068, has a threshold for each class for this reason). A
checkpoint weighs as the square root of its training loss: the last ones know the training labels
by heart. docs/mislabelled.md says on which corpora these numbers were chosen.

The labels of the held-out parts were never trained on. So their suspicion under another label is
known without any training: each such exchange is planted, and known to be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redheart.suspects.measures import DEVIATIONS_IN_MAD, LEAST
from redheart.tasks.task import Task

# What the best other class counts beside the own one.
OTHER = 0.25
# The least probability whose logarithm counts, so that one confident checkpoint decides nothing.
FLOOR = 1e-4
# With fewer records a class has no mean of its own.
FEWEST_OF_CLASS = 5
# Of distributions and numbers, the label of the record so many places on is planted.
STEPS = range(1, 6)
# How many quantiles stand for all planted suspicions.
QUANTILES = 400


def checkpoint_weights(task: Task, target: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return how much each checkpoint counts: float64 [checkpoints], which sum to 1.

    Parameters
    ----------
    target
        The labels of train: [n, width], NaN where unknown.
    said
        What each checkpoint predicts for them: [checkpoints, n, width].
    """
    losses = np.array([_mean_loss(task, target, one) for one in said])
    weights = np.sqrt(losses)
    total = weights.sum()
    return weights / total if total > 0 else np.full(len(said), 1 / len(said))


def suspicions(
    task: Task, target: np.ndarray, said: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the suspicion of every label, and quantiles of those of planted labels.

    Parameters
    ----------
    target
        The labels of one population: [n, width], NaN where unknown.
    said
        What each checkpoint predicts for it.
    weights
        From `checkpoint_weights`.

    Returns
    -------
    own : float64 [n], higher where a label looks more wrong; NaN where there is none.
    planted : float64 [`QUANTILES`], rising; empty where nothing could be planted.
    """
    target, said = target.astype(np.float64), said.astype(np.float64)
    own, planted = _SUSPICIONS[task.kind](target, said, weights)
    planted = np.sort(planted[np.isfinite(planted)])
    if not len(planted):
        return own, planted
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return own, np.quantile(planted, places)


def _mean_loss(task: Task, target: np.ndarray, said: np.ndarray) -> float:
    if task.kind == "regression":
        losses = (target - said) ** 2
    else:
        losses = -target * np.log(np.maximum(said, LEAST))
        if task.kind == "multilabel":
            losses = losses - (1 - target) * np.log(np.maximum(1 - said, LEAST))
    known = losses[~np.isnan(losses)]
    return float(known.mean()) if len(known) else 0.0


def _log(probability: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probability, FLOOR))


def _average(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the weighted mean over checkpoints, by a sum in a fixed order."""
    return (weights.reshape(-1, *[1] * (rows.ndim - 1)) * rows).sum(axis=0)


def _of_class(
    target: np.ndarray, said: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every other class of a record is planted."""
    known = ~np.isnan(target).any(axis=1)
    label = np.nan_to_num(target).argmax(axis=1)
    ranked = np.sort(said, axis=2)
    other = np.where(said == ranked[..., -1:], ranked[..., -2:-1], ranked[..., -1:])
    of_label = _average(weights, OTHER * _log(other) - _log(said))
    rows = np.arange(len(label))
    centres = _centres(of_label[rows, label][known], label[known], target.shape[1])
    relative = of_label - centres
    is_other = known[:, None] & (np.arange(target.shape[1]) != label[:, None])
    return np.where(known, relative[rows, label], np.nan), relative[is_other]


def _centres(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of each group, or that of all values where the group is small."""
    whole = values.mean() if len(values) else 0.0
    members = [values[groups == group] for group in range(count)]
    return np.array([m.mean() if len(m) >= FEWEST_OF_CLASS else whole for m in members])


def _of_shares(
    target: np.ndarray, said: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The shares of another record are planted."""

    def divergence(shares: np.ndarray) -> np.ndarray:
        entropy = -(shares * np.log(np.maximum(shares, LEAST))).sum(axis=1)
        return _average(weights, -(shares * _log(said)).sum(axis=2)) - entropy

    return divergence(target), np.concatenate([divergence(rows) for rows in _moved(target)])


def _of_values(
    target: np.ndarray, said: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The values of another record are planted; the output that lies furthest counts."""
    expected = _average(weights, said)
    residual = target - expected
    centre, spread = np.zeros(target.shape[1]), np.ones(target.shape[1])
    for output in range(target.shape[1]):
        values = residual[~np.isnan(residual[:, output]), output]
        if len(values):
            centre[output] = np.median(values)
            deviation = DEVIATIONS_IN_MAD * np.median(np.abs(values - centre[output]))
            spread[output] = deviation or values.std() or 1.0

    def furthest(values: np.ndarray) -> np.ndarray:
        distance = np.abs(values - expected - centre) / spread
        known = ~np.isnan(distance).all(axis=1)
        return np.where(known, np.nan_to_num(distance, nan=-1.0).max(axis=1), np.nan)

    return furthest(target), np.concatenate([furthest(values) for values in _moved(target)])


def _moved(target: np.ndarray) -> list[np.ndarray]:
    """Return the labels with each record's exchanged for that of a record some places on."""
    known = np.flatnonzero(~np.isnan(target).all(axis=1))
    moved = []
    for step in STEPS:
        exchanged = np.full(target.shape, np.nan)
        if step < len(known):
            exchanged[known] = target[np.roll(known, -step)]
        moved.append(exchanged)
    return moved


def _of_labels(
    target: np.ndarray, said: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A record is as suspicious as its worst cell; in turn each cell is planted, flipped."""
    known, applies = ~np.isnan(target), np.nan_to_num(target) > 0.5
    surprise = {True: _average(weights, -_log(said)), False: _average(weights, -_log(1 - said))}
    centre = {}
    for value in (True, False):
        of_value = known & (applies == value)
        cells, outputs = surprise[value][of_value], np.nonzero(of_value)[1]
        centre[value] = _centres(cells, outputs, target.shape[1])
    given = np.where(applies, surprise[True] - centre[True], surprise[False] - centre[False])
    flipped = np.where(applies, surprise[False] - centre[False], surprise[True] - centre[True])
    given = np.where(known, given, -np.inf)
    ranked = np.sort(given, axis=1)
    worst = ranked[:, -1]
    second = ranked[:, -2] if target.shape[1] > 1 else np.full(len(worst), -np.inf)
    others = np.where(given == worst[:, None], second[:, None], worst[:, None])
    planted = np.maximum(flipped, others)[known]
    return np.where(known.any(axis=1), worst, np.nan), planted


_SUSPICIONS = {
    "multiclass": _of_class,
    "distribution": _of_shares,
    "multilabel": _of_labels,
    "regression": _of_values,
}


def pooled(quantiles: Sequence[np.ndarray]) -> np.ndarray:
    """Return the quantiles of planted suspicions as means over seeds; empty if one has none."""
    if any(not len(one) for one in quantiles):
        return np.zeros(0)
    mean: np.ndarray = np.stack(quantiles).mean(axis=0)
    return mean
