"""Scores with 95 % intervals, and differences to the linear baseline, by task and over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from redheart.json_values import Json, with_nulls
from redheart.selection.bootstrap import (
    Predictions,
    holm_of_differences,
    interval,
    p_value,
    resample_weights,
)
from redheart.tasks.metrics import MAIN_METRIC, main_metric
from redheart.tasks.task import Task


def scores_with_intervals(
    tasks: Sequence[Task],
    model: Predictions,
    baseline: Predictions,
    majority: Predictions,
    targets: Predictions,
    clusters: np.ndarray,
    resamples: int,
) -> tuple[Json, dict[str, Json]]:
    """Return the scores over all tasks, and those of each task.

    Clusters of near-duplicates are resampled, as for the differences of candidates. Model and
    baseline are scored on the same resamples, so that their differences are paired.

    Parameters
    ----------
    model, baseline, majority, targets
        Arrays of shape (n, width) by task.
    clusters
        Shape (n,): each record's cluster of near-duplicates.

    Returns
    -------
    Twice `score`, `low`, `high`, `baseline`, `majority` and `versus_baseline`, once over all tasks
    and once by task; by task, `versus_baseline` holds Holm's p over the tasks too. Undefined
    numbers are None.
    """
    drawn = resample_weights(clusters, resamples)
    weights = np.concatenate([np.ones((1, len(clusters))), drawn])
    scored = [
        {t.name: main_metric(t, run[t.name], targets[t.name], weights) for t in tasks}
        for run in (model, baseline)
    ]
    constant = {t.name: main_metric(t, majority[t.name], targets[t.name]) for t in tasks}
    differences = {t.name: scored[0][t.name] - scored[1][t.name] for t in tasks}
    adjusted = holm_of_differences(differences)
    by_task = {}
    for task in tasks:
        name = task.name
        row = _row(scored[0][name], scored[1][name], constant[name])
        row["versus_baseline"]["p_holm"] = adjusted[name]
        by_task[name] = with_nulls({"metric": MAIN_METRIC[task.kind], **row})
    model_mean, baseline_mean = (_mean_defined([*scores.values()]) for scores in scored)
    majority_mean = float(_mean_defined([np.array([score]) for score in constant.values()])[0])
    return with_nulls(_row(model_mean, baseline_mean, majority_mean)), by_task


def _row(model: np.ndarray, baseline: np.ndarray, majority: float) -> dict[str, Any]:
    own, versus = interval(model), model - baseline
    return {
        "score": float(model[0]),
        "low": own.low,
        "high": own.high,
        "baseline": float(baseline[0]),
        "majority": majority,
        "versus_baseline": {**asdict(interval(versus)), "p": p_value(versus)},
    }


def _mean_defined(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Average arrays of scores without NaN; NaN where all are NaN. So does `metrics.macro`."""
    stacked = np.stack(scores, axis=1)
    defined = ~np.isnan(stacked)
    count = defined.sum(axis=1)
    total = np.where(defined, stacked, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
