"""Each class by itself, and which classes are taken for which others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from redheart.json_values import Json, with_nulls
from redheart.tasks.metrics import mean_average_precision
from redheart.tasks.task import Task

# A confusion matrix of more classes would be a large file that nobody can look at.
LARGEST_MATRIX = 100
# So many pairs of classes are named, those that are confused most often.
CONFUSED_PAIRS = 9


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return the largest value of each row as 1, the first of several; NaN where all are NaN.

    Parameters
    ----------
    values
        Shape (n, width): probabilities, or targets with NaN where unlabelled.
    """
    labelled = ~np.isnan(values).all(axis=1)
    hot = np.eye(values.shape[1])[np.nan_to_num(values, nan=-np.inf).argmax(axis=1)]
    return np.where(labelled[:, None], hot, np.nan)


def class_rows(
    task: Task, train: np.ndarray, true: np.ndarray, chosen: np.ndarray, scores: np.ndarray
) -> list[Json]:
    """Return how well each class is found.

    Parameters
    ----------
    train, true
        Shape (n, width): 1 where a record has a class, 0 where not, NaN where unknown; of the
        records of train, and of those that are judged.
    chosen
        Shape (n, width): whether a class is predicted.
    scores
        Shape (n, width): its probability.

    Returns
    -------
    By class `name`, the records in `train`, `support` and `predicted`, `precision`, `recall`, `f1`
    and `average_precision`; None where one is undefined: precision without a prediction, recall and
    average precision without a record, F1 without either.
    """
    known = ~np.isnan(true)
    rows: list[Json] = []
    for k, name in enumerate(task.output_names):
        rows_known = known[:, k]
        is_true, is_chosen = true[rows_known, k] == 1, chosen[rows_known, k]
        hits, support, predicted = (is_true & is_chosen).sum(), is_true.sum(), is_chosen.sum()
        column = (slice(None), slice(k, k + 1))
        rows.append(
            {
                "name": name,
                "train": int((train[:, k] == 1).sum()),
                "support": int(support),
                "predicted": int(predicted),
                "precision": _ratio(hits, predicted),
                "recall": _ratio(hits, support),
                "f1": _ratio(2 * hits, support + predicted),
                "average_precision": float(
                    mean_average_precision(scores[column], true[column], np.ones((1, len(true))))[0]
                ),
            }
        )
    return [with_nulls(row) for row in rows]


def f1_scores(rows: Sequence[Json]) -> dict[str, float | None]:
    """Return `micro_f1`, over all cells, and `macro_f1`, over the classes that have an F1.

    Parameters
    ----------
    rows
        The result of `class_rows`.
    """
    hits = sum(row["recall"] * row["support"] for row in rows if row["support"])
    marked = sum(row["support"] + row["predicted"] for row in rows)
    return {
        "micro_f1": 2 * round(hits) / marked if marked else None,
        "macro_f1": mean_of(rows, "f1"),
    }


def mean_of(rows: Sequence[Json], key: str) -> float | None:
    """Return the mean of a column of `class_rows` where it is defined; None where it never is."""
    defined = [row[key] for row in rows if row[key] is not None]
    return sum(defined) / len(defined) if defined else None


def confusion(task: Task, true: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
    """Return the confusion matrix, and the pairs of classes that are confused most often.

    Parameters
    ----------
    true, chosen
        Shape (n,): the index of each labelled record's class, and of its predicted class.

    Returns
    -------
    `confusion`: the `classes` and the `counts`, a row for each true class; None for more than
    `LARGEST_MATRIX` classes. `confused`: pairs `true`, `predicted` with their `count` and the
    `share` of the true class's records.
    """
    pairs, counts = np.unique(true * task.width + chosen, return_counts=True)
    support = np.bincount(true, minlength=task.width)
    wrong = [
        {
            "true": task.classes[pair // task.width],
            "predicted": task.classes[pair % task.width],
            "count": int(count),
            "share": float(count / support[pair // task.width]),
        }
        for pair, count in zip(pairs, counts, strict=True)
        if pair // task.width != pair % task.width
    ]
    wrong.sort(key=lambda pair: (-pair["count"], -pair["share"]))
    return {
        "confusion": _matrix(task, pairs, counts) if task.width <= LARGEST_MATRIX else None,
        "confused": wrong[:CONFUSED_PAIRS],
    }


def _matrix(task: Task, pairs: np.ndarray, counts: np.ndarray) -> Json:
    matrix = np.zeros(task.width**2, dtype=np.int64)
    matrix[pairs] = counts
    return {
        "classes": list(task.classes),
        "counts": matrix.reshape(task.width, task.width).tolist(),
    }


def _ratio(numerator: int, denominator: int) -> float:
    return float(numerator / denominator) if denominator else float("nan")
