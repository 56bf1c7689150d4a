"""From probabilities to decisions: a threshold for each label, an interval for each number.

Both are fitted on validation data, before test is opened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from redheart.json_values import or_null
from redheart.limits import Above, Below
from redheart.tasks.scale import Scale
from redheart.tasks.task import Task

# The threshold of a label that has none of its own.
HALF = 0.5
# A label with fewer positive records keeps `HALF`: the best cut of so few is that of their noise.
LEAST_POSITIVES = 5
# A threshold is the mean of the best cuts of so many bootstrap resamples.
RESAMPLES = 100
# Cuts nearer to 0 or 1 count as this near, since their log-odds are averaged.
NEAREST = 1e-6

# One model's predictions on one part, or the targets: arrays of shape (n, width) by task name.
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class DecisionOptions:
    """How predictions become decisions."""

    thresholds: Literal["fitted", "half"] = "fitted"
    """From which probability on a label of a multilabel task is predicted. `fitted`: each label's
    own, for its best F1 on val_select; `half`: 0.5."""
    coverage: Annotated[float, Above(0), Below(1)] = 0.9
    """Share of the true values that a regression's interval is to hold."""


def fit_decisions(
    tasks: Sequence[Task],
    predictions: Mapping[str, Arrays],
    targets: Mapping[str, Arrays],
    scales: Mapping[str, Scale],
    options: DecisionOptions,
) -> dict[str, Any]:
    """Fit the thresholds of multilabel tasks, and the intervals of regressions.

    Parameters
    ----------
    predictions, targets
        By part and task: shape (n, width). Thresholds are fitted on `val_select`, intervals on
        `val_select` and `val_confirm` together.
    scales
        The scale of each regression's predictions and targets; without one, they have their unit.

    Returns
    -------
    The `tasks` of `decisions.json`: by task its kind and, of a multilabel task, `thresholds` and
    the number of `positives` by label; of a regression, `coverage`, the number of labelled
    `records`, and by output the `half_width` in the unit of the data.
    """
    decided: dict[str, Any] = {}
    for task in tasks:
        name = task.name
        decided[name] = {"kind": task.kind}
        if task.kind == "multilabel":
            pair = predictions["val_select"][name], targets["val_select"][name]
            decided[name] |= _of_labels(task, *pair, options)
        elif task.kind == "regression":
            predicted, true = (
                np.concatenate([arrays[part][name] for part in ("val_select", "val_confirm")])
                for arrays in (predictions, targets)
            )
            decided[name] |= _of_values(task, predicted, true, scales.get(name), options.coverage)
    return decided


def thresholds_of(task: Task, decision: Mapping[str, Any]) -> np.ndarray:
    """Return the threshold of each label of a multilabel task, float64 [width]; 0.5 without one.

    A label is predicted where its probability is at least its threshold.

    Parameters
    ----------
    decision
        The task's entry of `fit_decisions`.
    """
    thresholds = decision.get("thresholds", {})
    return np.array([thresholds.get(name, HALF) for name in task.output_names])


def fitted_thresholds(
    probabilities: np.ndarray, target: np.ndarray, resamples: int = RESAMPLES
) -> np.ndarray:
    """Return for each label the threshold with the best F1, smoothed over bootstrap resamples.

    The cut with the best F1 follows the noise of a few records. So it is found in many resamples of
    the records, and the threshold is the mean of these cuts in log-odds (bagging, Breiman 1996,
    Machine Learning 24). A label with fewer than `LEAST_POSITIVES` positive records keeps 0.5.

    Parameters
    ----------
    probabilities, target
        Shape (n, width); a target is 0, 1, or NaN where unknown.

    Returns
    -------
    float64 [width].
    """
    thresholds = np.full(target.shape[1], HALF)
    count = len(target)
    if not count:
        return thresholds
    drawn = np.random.default_rng(0).integers(0, count, size=(resamples, count))
    weights = np.stack([np.bincount(row, minlength=count) for row in drawn])
    for k, (scores, truth) in enumerate(zip(probabilities.T, target.T, strict=True)):
        known = ~np.isnan(truth)
        if truth[known].sum() >= LEAST_POSITIVES:
            cuts = best_cuts(scores[known], truth[known] == 1, weights[:, known])
            cuts = cuts[~np.isnan(cuts)].clip(NEAREST, 1 - NEAREST)
            thresholds[k] = 1 / (1 + np.exp(-np.log(cuts / (1 - cuts)).mean()))
    return thresholds


def best_cuts(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the cut of the scores with the best F1, in each resample.

    A cut lies midway between neighbouring scores, or between the lowest score and 0. Of several
    cuts with the best F1, the one nearest to 0.5 is taken.

    Parameters
    ----------
    scores, truth
        Shape (n,): probabilities, and whether the label is true.
    weights
        Shape (B, n): how often each record counts in each of B resamples.

    Returns
    -------
    float64 [B]; NaN where a resample holds no positive record.
    """
    order = np.argsort(-scores, kind="stable")
    descending = scores[order].astype(np.float64)
    # Equal scores are predicted together: a cut stands behind the last of them.
    ends = np.flatnonzero(np.diff(descending, append=-np.inf))
    cuts = (descending[ends] + np.append(descending[ends][1:], 0.0)) / 2
    hits = np.cumsum(weights[:, order] * truth[order], axis=1)
    predicted = np.cumsum(weights[:, order], axis=1)[:, ends]
    positives = hits[:, -1:]
    f1 = 2 * hits[:, ends] / np.maximum(predicted + positives, 1)
    distance = np.where(f1 == f1.max(axis=1, keepdims=True), np.abs(cuts - HALF), np.inf)
    return np.where(positives[:, 0] > 0, cuts[distance.argmin(axis=1)], np.nan)


def half_width(errors: np.ndarray, coverage: float) -> float:
    """Return what to add to and to subtract from a prediction to hold a share of the true values.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005, *Algorithmic Learning in a Random
    World*): of n absolute errors, the ceil((n + 1) coverage)-th smallest. If new records are
    exchangeable with these, an interval holds the true value with at least this probability.

    Parameters
    ----------
    errors
        Shape (n,): absolute errors on records that the model was not trained on.

    Returns
    -------
    The half of an interval's width; NaN where there are too few records for this coverage.
    """
    # Rounded, since 0.9 times a number may be a little more than its exact value.
    rank = math.ceil(round((len(errors) + 1) * coverage, 9))
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else math.nan


def _of_labels(
    task: Task, predicted: np.ndarray, true: np.ndarray, options: DecisionOptions
) -> dict[str, Any]:
    fitted = options.thresholds == "fitted"
    thresholds = fitted_thresholds(predicted, true) if fitted else np.full(task.width, HALF)
    positives = (true == 1).sum(axis=0)
    return {
        "thresholds": dict(zip(task.output_names, thresholds.tolist(), strict=True)),
        "positives": dict(zip(task.output_names, positives.tolist(), strict=True)),
    }


def _of_values(
    task: Task, predicted: np.ndarray, true: np.ndarray, scale: Scale | None, coverage: float
) -> dict[str, Any]:
    errors = np.abs(predicted.astype(np.float64) - true)
    errors = errors * scale.deviation if scale else errors
    widths = [half_width(column[~np.isnan(column)], coverage) for column in errors.T]
    return {
        "coverage": coverage,
        "records": int((~np.isnan(true)).any(axis=1).sum()),
        "half_width": dict(zip(task.output_names, map(or_null, widths), strict=True)),
    }
