"""A task's labels and decisions as texts, record by record; and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from redheart.csv_lines import Cell, csv_line
from redheart.json_values import Json
from redheart.tasks.task import Record, Task

# Between two labels of a record, and in place of labels where a record has none.
BETWEEN, NONE = "; ", "(none)"
# So many mistakes are told, those of the greatest confidence; and so much of their texts.
MISTAKES, CHARACTERS = 20, 1000


@dataclass(frozen=True)
class Answers:
    """What a model answers for each record of a part, one item a record."""

    labels: list[str]
    """The true label; empty where unknown."""
    predictions: list[str]
    """The decision."""
    probabilities: list[Cell]
    """Its probability; a text where there are several; None for a regression."""
    confidence: np.ndarray
    """How wrong a mistake is: the probability given to what is wrong, or the error of a number in
    deviations of its output; NaN where the answer is right, or the label unknown. float64 [n]."""
    columns: dict[str, list[Cell]]
    """The columns of a table with these answers, by name."""


def answers(
    task: Task, predicted: np.ndarray, target: np.ndarray, chosen: np.ndarray, spread: np.ndarray
) -> Answers:
    """Put a task's predictions into words.

    Parameters
    ----------
    predicted, target
        Shape (n, width), NaN where unknown; of a regression, in the unit of the data.
    chosen
        Shape (n, width): whether a class is predicted; not used for a regression.
    spread
        Shape (width,): the unit in which errors of a regression are compared; above 0.
    """
    if task.kind == "regression":
        return _of_values(task, predicted.astype(np.float64), target.astype(np.float64), spread)
    if task.kind == "multilabel":
        return _of_labels(task, predicted, target, chosen)
    return _of_classes(task, predicted, target)


def mistakes(given: Answers, records: Sequence[Record]) -> list[Json]:
    """Return the mistakes of the greatest confidence, at most `MISTAKES`, the greatest first.

    Parameters
    ----------
    records
        The records of the part, with their `id` and `text`.

    Returns
    -------
    `id`, `text` (its beginning), `label`, `prediction` and `probability`, that of what is wrong:
    None for a regression, whose largest errors these are.
    """
    ranked = np.argsort(-np.nan_to_num(given.confidence, nan=-np.inf), kind="stable")
    wrong = [i for i in ranked[:MISTAKES] if not np.isnan(given.confidence[i])]
    return [
        {
            "id": str(records[i]["id"]),
            "text": _beginning(records[i]["text"]),
            "label": given.labels[i],
            "prediction": given.predictions[i],
            "probability": None
            if given.probabilities[i] is None
            else round(float(given.confidence[i]), 6),
        }
        for i in wrong
    ]


def predictions_table(given: Sequence[Answers], records: Sequence[Record]) -> str:
    """Return a CSV of all records of a part: id, text, and the columns of all tasks."""
    columns: dict[str, list[Cell]] = {
        "id": [str(record["id"]) for record in records],
        "text": [record["text"] for record in records],
    }
    for task in given:
        columns |= task.columns
    rows = zip(*columns.values(), strict=True)
    return "".join(map(csv_line, ([*columns], *map(list, rows))))


def _beginning(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"


def _of_classes(task: Task, predicted: np.ndarray, target: np.ndarray) -> Answers:
    """Answers of a multiclass or a distribution task: the class of the largest share."""
    labelled = ~np.isnan(target).any(axis=1)
    top, rows = predicted.argmax(axis=1), np.arange(len(predicted))
    true = np.nan_to_num(target).argmax(axis=1)
    # A distribution may have several top classes; each of them is right.
    is_right = target[rows, top] == np.nan_to_num(target).max(axis=1)
    return _table(
        task,
        [task.classes[k] if known else "" for k, known in zip(true, labelled, strict=True)],
        [task.classes[k] for k in top],
        [round(float(p), 6) for p in predicted[rows, top]],
        np.where(labelled & ~is_right, predicted[rows, top], np.nan),
    )


def _of_labels(
    task: Task, predicted: np.ndarray, target: np.ndarray, chosen: np.ndarray
) -> Answers:
    known = ~np.isnan(target)
    is_wrong = known & (chosen != (target == 1))
    stated = np.where(chosen, predicted, 1 - predicted.astype(np.float64))
    shares: list[Cell] = [
        BETWEEN.join(f"{p:.4f}" for p in row[marks])
        for row, marks in zip(predicted, chosen, strict=True)
    ]
    is_labelled = known.any(axis=1)
    labels = _joined(task, target == 1)
    return _table(
        task,
        [words if is_known else "" for words, is_known in zip(labels, is_labelled, strict=True)],
        _joined(task, chosen),
        shares,
        np.where(is_wrong.any(axis=1), np.where(is_wrong, stated, -1).max(axis=1), np.nan),
    )


def _of_values(
    task: Task, predicted: np.ndarray, target: np.ndarray, spread: np.ndarray
) -> Answers:
    errors = np.abs(predicted - target) / spread
    labelled = ~np.isnan(errors).all(axis=1)
    worst = np.nan_to_num(errors, nan=-1).argmax(axis=1)
    rows = np.arange(len(predicted))
    columns: dict[str, list[Cell]] = {}
    for k, name in enumerate(task.output_names):
        prefix = task.name if task.width == 1 else f"{task.name}.{name}"
        columns[f"{prefix}.label"] = [_rounded(value) for value in target[:, k]]
        columns[f"{prefix}.prediction"] = [_rounded(value) for value in predicted[:, k]]
    named = [f"{name}: " if task.width > 1 else "" for name in task.output_names]
    texts = [
        [f"{named[k]}{values[i, k]:.4g}" if labelled[i] else "" for i, k in enumerate(worst)]
        for values in (target, predicted)
    ]
    confidence = np.where(labelled, errors[rows, worst], np.nan)
    return Answers(texts[0], texts[1], [None] * len(predicted), confidence, columns)


def _table(
    task: Task,
    labels: list[str],
    predictions: list[str],
    probabilities: Sequence[Cell],
    confidence: np.ndarray,
) -> Answers:
    shares = [*probabilities]
    columns: dict[str, list[Cell]] = {
        f"{task.name}.label": [*labels],
        f"{task.name}.prediction": [*predictions],
        f"{task.name}.probability": shares,
    }
    return Answers(labels, predictions, shares, confidence.astype(np.float64), columns)


def _joined(task: Task, marks: np.ndarray) -> list[str]:
    names = np.array(task.classes, dtype=object)
    return [BETWEEN.join(names[row]) or NONE for row in marks]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.6g}")
