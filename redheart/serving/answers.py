"""What a model answers: a label, labels or a value for each text, made from its probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from redheart.shapes import Shape, has_shape
from redheart.tasks.task import Task

# The threshold of a label that no decision gives another: at least as likely as not.
EVEN = 0.5

Answer = dict[str, Any]

_BY_KIND: dict[str, Shape] = {
    "multilabel": {"thresholds": dict},
    "regression": {"half_width": dict, "coverage": int | float | None},
}


@dataclass(frozen=True)
class Decision:
    """How the predictions of a task become answers. The default is that of older models."""

    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of a multilabel task: the least probability, 0 to 1, of each label that is given; a label
    without one has `EVEN`."""
    half_width: Mapping[str, float | None] = field(default_factory=dict)
    """Of a regression: what to subtract from and to add to each output for its interval, in the
    unit of the data; None, or no entry: too few records to say."""
    coverage: float | None = None
    """Of a regression: the share of texts, 0 to 1, whose true value the interval should hold."""


def read_decisions(content: Any, tasks: Sequence[Task]) -> dict[str, Decision]:
    """Return each task's decision, from the `decisions` of a shipped model's `recipe.json`.

    Parameters
    ----------
    content
        Task -> decision, as JSON; None: the model is older than decisions.

    Raises
    ------
    ValueError
        The decision of a task lacks a value or has an impossible one; the message names the task.
    """
    given = {} if content is None else content
    return {task.name: _decision(task, given.get(task.name)) for task in tasks}


def _decision(task: Task, given: Any) -> Decision:
    if given is None or task.kind not in _BY_KIND:
        return Decision()
    if not has_shape(given, _BY_KIND[task.kind]):
        raise ValueError(f"the decision of the task '{task.name}'")
    thresholds, half_width = given.get("thresholds", {}), given.get("half_width", {})
    if not has_shape([*thresholds.values(), *half_width.values()], [int | float | None]):
        raise ValueError(f"the decision of the task '{task.name}'")
    known = {name: value for name, value in thresholds.items() if value is not None}
    return Decision(known, half_width, given.get("coverage"))


def answers_of(
    tasks: Sequence[Task], decisions: Mapping[str, Decision], predicted: Mapping[str, np.ndarray]
) -> list[dict[str, Answer]]:
    """Return for each text: task -> answer, as `redheart predict` writes it.

    Parameters
    ----------
    predicted
        Task -> float [n, width]: probabilities, or the values of a regression in their unit.

    Returns
    -------
    Of a task, by its kind:
        multiclass: `label`, its `probability`, and the `probabilities` of all classes;
        multilabel: `labels`, those whose probability is at least their threshold, and
        `probabilities`; distribution: `label`, the class of the largest share, its `margin` over
        the next, and `probabilities`, the shares; regression of one number: `value`, the interval
        from `low` to `high`, and its `coverage`, which are None where the model has no interval;
        regression of several numbers: `values`, such an object for each.
    """
    by_task = [_of_task(task, decisions[task.name], predicted[task.name]) for task in tasks]
    names = [task.name for task in tasks]
    return [dict(zip(names, of_text, strict=True)) for of_text in zip(*by_task, strict=True)]


def _of_task(task: Task, decision: Decision, rows: np.ndarray) -> list[Answer]:
    if task.kind == "regression":
        return [_values(task, decision, row) for row in rows.tolist()]
    names = task.output_names
    by_name = [dict(zip(names, row, strict=True)) for row in rows.tolist()]
    if task.kind == "multilabel":
        least = [(name, decision.thresholds.get(name, EVEN)) for name in names]
        return [
            {"labels": [n for n, threshold in least if p[n] >= threshold], "probabilities": p}
            for p in by_name
        ]
    top = rows.argmax(axis=1).tolist()
    if task.kind == "multiclass":
        return [
            {"label": names[i], "probability": p[names[i]], "probabilities": p}
            for i, p in zip(top, by_name, strict=True)
        ]
    leads = _margins(rows)
    return [
        {"label": names[i], "margin": lead, "probabilities": p}
        for i, lead, p in zip(top, leads, by_name, strict=True)
    ]


def _margins(shares: np.ndarray) -> list[float]:
    """Return each row's largest share minus its second largest, which is 0 for a single class."""
    ordered = np.sort(shares.astype(np.float64), axis=1)
    second = ordered[:, -2] if shares.shape[1] > 1 else 0.0
    margins: list[float] = (ordered[:, -1] - second).tolist()
    return margins


def _values(task: Task, decision: Decision, row: Sequence[float]) -> Answer:
    each = {
        name: _value(value, decision.half_width.get(name), decision.coverage)
        for name, value in zip(task.output_names, row, strict=True)
    }
    return each[task.output_names[0]] if task.width == 1 else {"values": each}


def _value(value: float, half_width: float | None, coverage: float | None) -> Answer:
    if half_width is None:
        return {"value": value, "low": None, "high": None, "coverage": None}
    return {
        "value": value,
        "low": value - half_width,
        "high": value + half_width,
        "coverage": coverage,
    }
