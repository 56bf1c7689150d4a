"""Each output of a regression by itself: how far off, and how often its interval holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from redheart.json_values import Json, number, with_nulls
from redheart.tasks.metrics import mean_absolute_error, r2
from redheart.tasks.task import Task

# At most so many points of a scatter plot.
POINTS = 2000
PERCENTILES = (5, 25, 50, 75, 95)
# Numbers of a plot have so many digits.
DIGITS = 6


def output_rows(
    task: Task, predicted: np.ndarray, true: np.ndarray, decision: Mapping[str, Any]
) -> list[Json]:
    """Return how well each output of a regression is predicted.

    Parameters
    ----------
    predicted, true
        Shape (n, width), in the unit of the data; NaN where a value is unknown.
    decision
        The task's entry of `decisions.json`.

    Returns
    -------
    By output `name`, `r2` (as the metric: 0 at least), `mean_absolute_error`, `spearman`, the
    interval's `half_width` and its `coverage` on these records (the share of values in it),
    percentiles of the `residuals` (true - predicted), and `points`; None where one is undefined.
    """
    return [
        with_nulls({"name": name, **_output(predicted[:, k], true[:, k], _width(decision, name))})
        for k, name in enumerate(task.output_names)
    ]


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, ties with their mean rank; NaN where one is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (first, second)]
    # Not `@`: BLAS rounds differently with another number of threads.
    products = [(a * b).sum() for a, b in ((ranks[0], ranks[1]), *((r, r) for r in ranks))]
    scale = float(np.sqrt(products[1] * products[2])) if len(first) else 0.0
    return float(products[0]) / scale if scale else float("nan")


def _width(decision: Mapping[str, Any], name: str) -> float:
    return number(decision.get("half_width", {}).get(name))


def _output(predicted: np.ndarray, true: np.ndarray, half_width: float) -> Json:
    known = ~np.isnan(true)
    predicted, true = predicted[known].astype(np.float64), true[known].astype(np.float64)
    pair = predicted[:, None], true[:, None], np.ones((1, len(true)))
    residuals = true - predicted
    percentiles = np.percentile(residuals, PERCENTILES) if len(true) else [float("nan")] * 5
    is_held = np.abs(residuals) <= half_width
    defined = len(true) and not np.isnan(half_width)
    return {
        "r2": float(r2(*pair)[0]),
        "mean_absolute_error": float(mean_absolute_error(*pair)[0]),
        "spearman": spearman(predicted, true),
        "half_width": half_width,
        "coverage": float(is_held.mean()) if defined else None,
        "residuals": {
            f"p{share:02}": float(value)
            for share, value in zip(PERCENTILES, percentiles, strict=True)
        },
        "points": _points(predicted, true),
    }


def _points(predicted: np.ndarray, true: np.ndarray) -> list[list[float]]:
    """Return pairs of true and predicted value, of at most `POINTS` records evenly spread."""
    shown = np.unique(np.linspace(0, len(true) - 1, min(len(true), POINTS)).round().astype(int))
    return [[float(f"{v[i]:.{DIGITS}g}") for v in (true, predicted)] for i in shown]
