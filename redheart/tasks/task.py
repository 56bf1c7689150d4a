"""What is learned: the tasks of the config, and the targets that they read from records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from redheart.limits import AtLeast, Distinct, Matching, NotEmpty

Kind = Literal["distribution", "multiclass", "multilabel", "regression"]
Record = Mapping[str, Any]

# How far a distribution's sum may be from 1 before its record is refused.
SUM_TOLERANCE = 0.05
# The largest number that float32 can hold; the square of a larger one may not fit float64.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Task:
    """One thing to predict for every text."""

    name: Annotated[str, Matching("^[A-Za-z][A-Za-z0-9_]*$")]
    """The task's name: the key in the config."""
    kind: Kind
    """What the label is. `distribution`: shares of classes; `multiclass`: one class; `multilabel`:
    any number of classes; `regression`: one number or several."""
    field: Annotated[str, NotEmpty()]
    """Where the label stands in a record; dots reach into objects (`metadata.label`)."""
    classes: Annotated[tuple[Annotated[str, NotEmpty()], ...], Distinct()] = ()
    """Names of the outputs, in order; may be empty for a regression of one number."""
    weight: Annotated[float, AtLeast(0)] = 1.0
    """Factor of the task's loss in the sum over tasks."""
    normalize: bool = False
    """Whether the values are counts, to be divided by their sum; for `distribution` alone."""
    transform: Literal["", "normalized_entropy"] = ""
    """What is computed from the field's counts and predicted in their place; empty: nothing is; for
    `regression` alone."""

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.classes) if self.classes and not self.transform else 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, one each."""
        return self.classes if self.classes and not self.transform else (self.name,)


def parse_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[Task, ...]:
    """Turn the config's `tasks` (already validated) into tasks, in the order given."""
    return tuple(
        Task(name=name, **{**options, "classes": tuple(options.get("classes", ()))})
        for name, options in tasks.items()
    )


def lookup(record: Record, field: str) -> Any:
    """Return the value at a dotted path of a record; None where a part of the path is missing."""
    value: Any = record
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


def read_target(task: Task, record: Record) -> np.ndarray | None:
    """Return a record's target for a task.

    Returns
    -------
    float64 array of shape (width,), or None where the field is missing or null.
        distribution: sums to 1; multiclass: one-hot; multilabel: 0 or 1, NaN where unknown;
        regression: the values, NaN where unknown.

    Raises
    ------
    ValueError
        The field exists but holds no label of this task; the message names the field.
    """
    value = lookup(record, task.field)
    if value is None:
        return None
    try:
        row = _READERS[task.kind](task, value)
    except ValueError as error:
        raise ValueError(f"field '{task.field}': {error}") from None
    return None if np.isnan(row).all() else row.astype(np.float64)


def target_matrix(task: Task, records: Sequence[Record]) -> np.ndarray:
    """Return the targets of many records: shape (n, width), NaN where unlabelled.

    The values of a regression are float64, since float32 would lose those that differ little from
    one another beside their size (times in milliseconds); all other targets are float32.
    """
    dtype = np.float64 if task.kind == "regression" else np.float32
    rows = np.full((len(records), task.width), np.nan, dtype=dtype)
    for i, record in enumerate(records):
        row = read_target(task, record)
        if row is not None:
            rows[i] = row
    return rows


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {_shown(value)}")
    if not abs(value) <= LARGEST:
        raise ValueError(f"expected a finite number, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _values(task: Task, value: Any) -> np.ndarray:
    """Read one number per class from a list (in the order of the classes) or an object."""
    if isinstance(value, Mapping):
        items = [value.get(name) for name in task.classes]
        if all(item is None for item in items):
            raise ValueError(f"has none of the keys {list(task.classes)}")
    elif isinstance(value, list):
        if len(value) != len(task.classes):
            raise ValueError(f"expected {len(task.classes)} values, got {len(value)}")
        items = value
    else:
        raise ValueError(f"expected a list or an object of numbers, got {_shown(value)}")
    return np.array([math.nan if item is None else _number(item) for item in items])


def _counts(task: Task, value: Any) -> np.ndarray:
    values = np.nan_to_num(_values(task, value), nan=0.0)
    if (values < 0).any():
        raise ValueError(f"has a negative value ({values.min():g})")
    if values.sum() <= 0:
        raise ValueError("has no positive value")
    return values


def _distribution(task: Task, value: Any) -> np.ndarray:
    values = _counts(task, value)
    total = values.sum()
    if not task.normalize and abs(total - 1) > SUM_TOLERANCE:
        raise ValueError(f"sums to {total:.3g}, not to 1 (counts? set normalize: true)")
    return values / total


def _multiclass(task: Task, value: Any) -> np.ndarray:
    if value not in task.classes:
        raise ValueError(f"unknown class {_shown(value)}; expected one of {list(task.classes)}")
    return np.eye(task.width)[task.classes.index(value)]


def _multilabel(task: Task, value: Any) -> np.ndarray:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        unknown = sorted(set(value) - set(task.classes))
        if unknown:
            raise ValueError(f"unknown class {_shown(unknown[0])}")
        return np.array([float(name in value) for name in task.classes])
    values = _values(task, value)
    labels = values[~np.isnan(values)]
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("expected only 0 and 1")
    return values


def _regression(task: Task, value: Any) -> np.ndarray:
    if task.transform == "normalized_entropy":
        shares = _counts(task, value)
        shares = shares[shares > 0] / shares.sum()
        return np.array([-(shares * np.log(shares)).sum() / math.log(len(task.classes))])
    return _values(task, value) if task.classes else np.array([_number(value)])


_READERS = {
    "distribution": _distribution,
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "regression": _regression,
}
