"""How good a prediction is: the metrics of every kind of task, weighted for the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import overload

import numpy as np

from redheart.json_values import or_null
from redheart.tasks.scale import Scale
from redheart.tasks.task import Kind, Task

# A metric takes a prediction and a target, both [n, width], and weights [B, n] that say how often
# each record counts in each of B resamples; it returns [B] scores, NaN where one is undefined.
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# Below this share of the squared values, a variance is rounding error of a constant.
CONSTANT = 1e-12
# Sorted weights of this many resamples are held at once; they fit the processor's cache.
BLOCK_ROWS = 64


@overload
def macro(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    weights: None = None,
) -> float: ...
@overload
def macro(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    weights: np.ndarray,
) -> np.ndarray: ...
def macro(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> float | np.ndarray:
    """Return the mean of the tasks' main metrics, over the tasks where it is defined.

    Parameters
    ----------
    tasks
        The tasks to average; their `weight` belongs to the loss and plays no part here.
    predictions, targets
        Arrays of shape (n, width) by task name.
    weights
        Shape (B, n): how often each record counts in each of B resamples; None: once each.

    Returns
    -------
    A number without weights, else shape (B,); NaN where no task is defined.
    """
    rows = _weight_rows(weights, len(next(iter(targets.values()))))
    scores = [main_metric(t, predictions[t.name], targets[t.name], rows) for t in tasks]
    means = _mean_defined(np.stack(scores, axis=1))
    return means if weights is not None else float(means[0])


@overload
def main_metric(
    task: Task, prediction: np.ndarray, target: np.ndarray, weights: None = None
) -> float: ...
@overload
def main_metric(
    task: Task, prediction: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> np.ndarray: ...
def main_metric(
    task: Task, prediction: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Return a task's main metric (`MAIN_METRIC`); records without a label are ignored.

    Parameters
    ----------
    prediction, target
        Shape (n, width).
    weights
        Shape (B, n): how often each record counts in each of B resamples; None: once each.

    Returns
    -------
    A number without weights, else shape (B,); NaN where the metric is undefined.

    Raises
    ------
    ValueError
        The shapes differ, or a predicted value of a labelled record is not finite.
    """
    rows = _weight_rows(weights, len(target))
    scores = METRICS[task.kind][MAIN_METRIC[task.kind]](*_labelled(task, prediction, target, rows))
    return scores if weights is not None else float(scores[0])


def task_metrics(
    task: Task, prediction: np.ndarray, target: np.ndarray, scale: Scale | None = None
) -> dict[str, float | None]:
    """Return all metrics of a task, the main one first; None where one is undefined.

    Parameters
    ----------
    scale
        The scale of a regression that is learned without its unit. Its absolute error is told in
        the unit; no other metric depends on it. None: prediction and target have their unit.

    Raises
    ------
    ValueError
        The shapes differ, or a predicted value of a labelled record is not finite.
    """
    labelled = _labelled(task, prediction, target, _weight_rows(None, len(target)))
    scores = {name: float(metric(*labelled)[0]) for name, metric in METRICS[task.kind].items()}
    if scale and "mean_absolute_error" in scores:
        predicted, true, rows = labelled
        errors = mean_absolute_error(predicted * scale.deviation, true * scale.deviation, rows)
        scores["mean_absolute_error"] = float(errors[0])
    return {name: or_null(score) for name, score in scores.items()}


def macro_f1(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes that are true or predicted at least once.

    These are the classes that scikit-learn's `f1_score(average="macro")` averages over, in each
    resample anew.
    """
    chosen, true = _one_hot_top(prediction), _one_hot_top(target)
    hits = _weighted_sum(weights, chosen * true)
    return _mean_defined(_ratio(2 * hits, _weighted_sum(weights, chosen + true)))


def accuracy(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of records whose most probable class is the true one."""
    return _weighted_mean(weights, prediction.argmax(axis=1) == target.argmax(axis=1))


def mean_average_precision(
    prediction: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean average precision over the classes that have a positive record.

    The records whose target of a class is known count for that class. Average precision is
    scikit-learn's: the sum of (R_i - R_{i-1}) P_i over the thresholds. Records of the same score
    share one threshold.
    """
    columns = [
        _average_precision(prediction[rows, k], target[rows, k], weights[:, rows])
        for k, rows in enumerate(~np.isnan(target).T)
    ]
    return _mean_defined(np.stack(columns, axis=1))


def micro_f1(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the F1 of all known cells together; a label is predicted from 0.5 on.

    F1 is undefined where no cell is positive, neither in truth nor in prediction.
    """
    is_known = ~np.isnan(target)
    chosen, true = (prediction >= 0.5) & is_known, (target == 1) & is_known
    hits = _weighted_sum(weights, (chosen & true).sum(axis=1))
    positives = chosen.sum(axis=1) + true.sum(axis=1)
    return _ratio(2 * hits, _weighted_sum(weights, positives))


def js_similarity(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return 1 - the Jensen-Shannon divergence in bits (0 to 1), averaged over the records.

    This is the divergence itself and not its square root, the distance (Lin 1991, equation 4.1).
    """
    p = prediction / prediction.sum(axis=1, keepdims=True)
    q = target / target.sum(axis=1, keepdims=True)
    divergence = _entropy_bits((p + q) / 2) - (_entropy_bits(p) + _entropy_bits(q)) / 2
    return _weighted_mean(weights, 1 - np.clip(divergence, 0, 1))


def top_1_agreement(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of records whose most probable class is one of the target's largest."""
    chosen = np.take_along_axis(target, prediction.argmax(axis=1)[:, None], axis=1)[:, 0]
    return _weighted_mean(weights, chosen == target.max(axis=1))


def r2(prediction: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return R², clipped at 0 for each output, then averaged over the outputs.

    The records whose target of an output is known count for that output. Where an output's target
    is constant, R² is 1 if the prediction is exact and 0 otherwise (scikit-learn's `r2_score` does
    the same from 2 records on).
    """
    is_known = ~np.isnan(target)
    # Every origin gives the same variance. With a value of the column as its origin, a constant
    # column becomes exactly 0.
    origin = np.take_along_axis(target, is_known.argmax(axis=0)[None], axis=0) if len(target) else 0
    centred = np.where(is_known, target - origin, 0)
    count, squares = _weighted_sum(weights, is_known), _weighted_sum(weights, centred**2)
    total = squares - _ratio(_weighted_sum(weights, centred) ** 2, count)
    residual = _weighted_sum(weights, np.where(is_known, target - prediction, 0) ** 2)
    constant = total <= CONSTANT * squares
    scores = np.where(constant, residual == 0, 1 - _ratio(residual, total))
    return _mean_defined(np.where(count > 0, np.maximum(scores, 0), np.nan))


def mean_absolute_error(
    prediction: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean absolute error of each output's known values, averaged over the outputs."""
    is_known = ~np.isnan(target)
    errors = np.where(is_known, np.abs(target - prediction), 0)
    return _mean_defined(_ratio(_weighted_sum(weights, errors), _weighted_sum(weights, is_known)))


METRICS: dict[Kind, dict[str, Metric]] = {
    "multiclass": {"macro_f1": macro_f1, "accuracy": accuracy},
    "multilabel": {"mean_average_precision": mean_average_precision, "micro_f1": micro_f1},
    "distribution": {"js_similarity": js_similarity, "top_1_agreement": top_1_agreement},
    "regression": {"r2": r2, "mean_absolute_error": mean_absolute_error},
}

# The first metric of each kind: 0 to 1, higher is better, and the one that macro averages.
MAIN_METRIC: dict[Kind, str] = {kind: next(iter(metrics)) for kind, metrics in METRICS.items()}


def _labelled(
    task: Task, prediction: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the records that carry a label, in float64, after checking the predictions."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"task '{task.name}': predictions {prediction.shape}, targets {target.shape}"
        )
    rows = ~np.isnan(target).all(axis=1)
    prediction = prediction[rows].astype(np.float64)
    if not np.isfinite(prediction).all():
        raise ValueError(f"task '{task.name}': a prediction is not finite")
    return prediction, target[rows].astype(np.float64), weights[:, rows]


def _weight_rows(weights: np.ndarray | None, n: int) -> np.ndarray:
    return np.ones((1, n)) if weights is None else np.asarray(weights, dtype=np.float64)


def _weighted_sum(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum [n] or [n, k] values in each resample: [B] or [B, k].

    `@` will not do: BLAS rounds differently with another number of threads.
    """
    return np.einsum("bn,n...->b...", weights, values.astype(np.float64))


def _weighted_mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return _ratio(_weighted_sum(weights, values), weights.sum(axis=1))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where the denominator is 0."""
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def _mean_defined(scores: np.ndarray) -> np.ndarray:
    """Average [B, k] scores over k without the NaN ones; NaN where all k scores are NaN."""
    defined = ~np.isnan(scores)
    return _ratio(np.where(defined, scores, 0).sum(axis=1), defined.sum(axis=1))


def _one_hot_top(probabilities: np.ndarray) -> np.ndarray:
    return np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]


def _entropy_bits(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)


def _average_precision(score: np.ndarray, true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the average precision of one class in each resample; no argument holds NaN."""
    order = np.argsort(-score, kind="stable")
    positives = np.flatnonzero(true[order])
    # A threshold stands after the last record of each run of equal scores. Recall grows only where
    # the run holds a positive record, so the other thresholds do not count.
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
    last, place = np.unique(ends[np.searchsorted(ends, positives)], return_inverse=True)
    counted = np.flatnonzero(np.diff(place, append=len(last)))
    blocks = range(0, len(weights), BLOCK_ROWS)
    return np.concatenate(
        [
            _block_precision(weights[i : i + BLOCK_ROWS, order], positives, counted, last)
            for i in blocks
        ]
    )


def _block_precision(
    weights: np.ndarray, positives: np.ndarray, counted: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Return the average precision in each resample; the records are sorted by score.

    Parameters
    ----------
    positives
        Places of the positive records.
    counted
        For each threshold, the index in `positives` of the last positive record up to it.
    last
        For each threshold, the place of the last record up to it.
    """
    predicted = weights.cumsum(axis=1)[:, last]
    hits = weights[:, positives].cumsum(axis=1)[:, counted]
    gained = np.diff(hits, axis=1, prepend=0)
    precision = np.divide(hits, predicted, out=np.zeros(hits.shape), where=predicted > 0)
    return _ratio((precision * gained).sum(axis=1), gained.sum(axis=1))
