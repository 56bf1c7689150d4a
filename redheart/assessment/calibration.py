"""Whether a probability is what it says: of all answers given with 0.8, four in five are right."""

from __future__ import annotations

import numpy as np

from redheart.json_values import Json, with_nulls
from redheart.tasks.task import Task

BINS = 10


def calibration(task: Task, probabilities: np.ndarray, target: np.ndarray) -> Json | None:
    """Return the reliability of a task's probabilities.

    What is looked at is, of a class, the probability of the predicted one, and whether it is the
    true one; of labels, each known cell, and whether the label is true; of a distribution, the
    share of its top class, and the true share of that class.

    Parameters
    ----------
    probabilities, target
        Shape (n, width), NaN where a target is unknown.

    Returns
    -------
    The content of `reliability`; None for a regression, whose interval has a coverage instead.
    """
    if task.kind == "regression":
        return None
    if task.kind == "multilabel":
        known = ~np.isnan(target)
        return reliability(probabilities[known], target[known])
    labelled = ~np.isnan(target).any(axis=1)
    probabilities, target = probabilities[labelled], target[labelled]
    top = probabilities.argmax(axis=1)[:, None]
    stated, true = (
        np.take_along_axis(values, top, axis=1)[:, 0] for values in (probabilities, target)
    )
    return reliability(stated, true)


def reliability(probabilities: np.ndarray, outcomes: np.ndarray) -> Json:
    """Return the expected calibration error and the bins of a reliability diagram.

    The probabilities fall into ten bins of equal width. With n_b the count of bin b of n, the error
    is the sum over the bins of n_b / n |mean outcome - mean probability| (Guo et al. 2017,
    arXiv 1706.04599, equation 3).

    Parameters
    ----------
    probabilities, outcomes
        Shape (n,), both 0 to 1.

    Returns
    -------
    `ece` (0 to 1), the number of `records` or cells, and `bins`, each from `low` to below `high`
    (the last bin holds 1 too) with `mean_probability`, the mean outcome `observed`, and `count`;
    None where one is undefined.
    """
    stated, true = probabilities.astype(np.float64), outcomes.astype(np.float64)
    place = np.clip((stated * BINS).astype(np.int64), 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        said, seen = (np.bincount(place, v, BINS) / counts for v in (stated, true))
    gaps = np.where(counts > 0, np.abs(said - seen) * counts, 0)
    bins = [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "mean_probability": float(said[b]),
            "observed": float(seen[b]),
            "count": int(counts[b]),
        }
        for b in range(BINS)
    ]
    ece = float(gaps.sum() / len(stated)) if len(stated) else float("nan")
    return dict(with_nulls({"ece": ece, "records": len(stated), "bins": bins}))
