"""The least that a model must beat: the same answer for every text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from redheart.tasks.task import Task


def majority_predictions(
    tasks: Sequence[Task], train: Mapping[str, np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Return what train says of a text that nobody has read, the same for every text.

    That is the most frequent class of a multiclass task; each label's share of records; the mean
    distribution; the mean of a regression's values.

    Parameters
    ----------
    train
        The targets of train by task: shape (n, width), NaN where unlabelled.
    count
        Number of texts.

    Returns
    -------
    float64 arrays of shape (count, width) by task.
    """
    return {task.name: np.tile(_constant(task, train[task.name]), (count, 1)) for task in tasks}


def _constant(task: Task, target: np.ndarray) -> np.ndarray:
    known = ~np.isnan(target)
    sums, counts = np.where(known, target, 0).sum(axis=0, dtype=np.float64), known.sum(axis=0)
    if task.kind == "regression":
        return sums / np.maximum(counts, 1)
    unknown = 0.5 if task.kind == "multilabel" else 1 / task.width
    shares = np.where(counts > 0, sums / np.maximum(counts, 1), unknown)
    is_class = task.kind == "multiclass" and counts.any()
    return np.eye(task.width)[shares.argmax()] if is_class else shares
