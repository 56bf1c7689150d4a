"""What is learned: the tasks of the config, and the targets that they read from records."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from redheart.errors import UserError, did_you_mean
from redheart.limits import AtLeast, AtMost, Distinct, Hint, Matching, MostItems, NotEmpty
from redheart.spelling import nfc

Kind = Literal["distribution", "multiclass", "multilabel", "regression"]
Record = Mapping[str, Any]

# How far a distribution's sum may be from 1 before its record is refused.
SUM_TOLERANCE = 0.05
# A number without a fraction that is written with one, as pandas writes a column with gaps.
WHOLE = re.compile(r"-?\d+\.0")
# A message lists the classes of a task where they are at most so many.
CLASSES_SHOWN = 20
# What to write for a text that is to be a number.
AS_JSON = (
    "; write it as JSON does, as in 0.5 or 1200, and null or an empty cell where it is unknown"
)
# The largest number that float32 can hold; the square of a larger one may not fit float64.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Task:
    """One thing to predict for every text."""

    name: Annotated[
        str,
        Matching("^[A-Za-z][A-Za-z0-9_]*$"),
        Hint("expected letters, digits and _, a letter first"),
    ]
    """The task's name: the key in the config."""
    kind: Kind
    """What the label is. `distribution`: shares of classes; `multiclass`: one class; `multilabel`:
    any number of classes; `regression`: one number or several."""
    field: Annotated[str, NotEmpty()]
    """Where the label stands in a record; dots reach into objects (`metadata.label`)."""
    classes: Annotated[tuple[Annotated[str, NotEmpty()], ...], MostItems(10_000), Distinct()] = ()
    """Names of the outputs, in order; may be empty for a regression of one number."""
    weight: Annotated[float, AtLeast(0), AtMost(1e6)] = 1.0
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
    """Turn the config's `tasks` (already validated) into tasks, in the order given.

    Raises
    ------
    UserError
        Two classes of a task are the same text in NFC and in another spelling.
    """
    return tuple(_parsed(name, options) for name, options in tasks.items())


def _parsed(name: str, options: Mapping[str, Any]) -> Task:
    classes = tuple(map(nfc, options.get("classes", ())))
    if len(set(classes)) < len(classes):
        twice = next(c for i, c in enumerate(classes) if c in classes[:i])
        raise UserError(
            f"tasks.{name}.classes: '{twice}' stands twice, in two spellings (NFC, NFD)"
        )
    return Task(name=name, **{**options, "field": nfc(options["field"]), "classes": classes})


def lookup(record: Record, field: str) -> Any:
    """Return the value of a field; None where it is missing.

    Parameters
    ----------
    field
        A name, which may hold dots, or a dotted path into objects.
    """
    if field in record:
        return record[field]
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
        hint = AS_JSON if isinstance(value, str) else ""
        raise ValueError(f"expected a number, got {_shown(value)}{hint}")
    if not abs(value) <= LARGEST:
        raise ValueError(f"expected a finite number, got {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _values(task: Task, value: Any) -> np.ndarray:
    """Read one number per class from a list (in the order of the classes) or an object."""
    if isinstance(value, Mapping):
        items = [lookup(value, name) for name in task.classes]
        if all(item is None for item in items):
            raise ValueError(f"has none of the keys {_listed(task)}")
    elif isinstance(value, list):
        if len(value) != len(task.classes):
            raise ValueError(f"expected {len(task.classes)} values, got {len(value)}")
        items = value
    else:
        raise ValueError(f"expected a list or an object of numbers, got {_shown(value)}")
    read = _truth if task.kind == "multilabel" else _number
    return np.array([math.nan if item is None else read(item) for item in items])


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


def class_named(classes: Sequence[str], value: Any) -> str | None:
    """Return the class that a label names; None where there is no such class.

    A number names the class that is written as it is, `1.0` also the class `1`, and true the class
    `true`, `True` or `1`.
    """
    if isinstance(value, str):
        names = [nfc(value), nfc(value).strip()]
    elif isinstance(value, bool):
        names = [str(value).lower(), str(value), str(int(value))]
    elif isinstance(value, int | float):
        names = [str(value)]
    else:
        return None
    names += [name.removesuffix(".0") for name in names if WHOLE.fullmatch(name)]
    return next((name for name in names if name in classes), None)


def _multiclass(task: Task, value: Any) -> np.ndarray:
    name = class_named(task.classes, value)
    if name is None:
        raise ValueError(_unknown(task, value))
    return np.eye(task.width)[task.classes.index(name)]


def _unknown(task: Task, value: Any) -> str:
    """Return the message about a label that names no class."""
    near = did_you_mean(value, task.classes) if isinstance(value, str) else ""
    hint = near if "did you mean" in near else f"; expected one of {_listed(task)}"
    return f"unknown class {_shown(value)}{hint}"


def _listed(task: Task) -> str:
    more = len(task.classes) - CLASSES_SHOWN
    return f"{list(task.classes[:CLASSES_SHOWN])}" + (f" and {more:,} more" if more > 0 else "")


def _multilabel(task: Task, value: Any) -> np.ndarray:
    if isinstance(value, list):
        return _listed_labels(task, value)
    if isinstance(value, Mapping):
        return _values(task, value)
    if task.width == 1:
        return np.array([_truth(value)])
    raise ValueError(
        f"expected a list of classes, or an object of 0 and 1, got {_shown(value)}; write a list "
        f"of classes as JSON does, {json.dumps(task.classes[:2], ensure_ascii=False)}"
    )


def _listed_labels(task: Task, labels: list[Any]) -> np.ndarray:
    """Read a list: the names of the classes that apply, or 0, 1 or null for each class in turn."""
    named = [class_named(task.classes, item) for item in labels]
    are_names = None not in named and len(set(named)) == len(named)
    by_name = np.array([float(name in named) for name in task.classes])
    if len(labels) == task.width and not any(isinstance(item, str) for item in labels):
        if not are_names:
            return _values(task, labels)
        if {*labels} <= {0, 1} and (by_name != labels).any():
            raise ValueError(
                f"{labels} could name classes or say 0 or 1 of each; write the names in quotes"
            )
    if None in named:
        raise ValueError(_unknown(task, labels[named.index(None)]))
    return by_name


def _truth(value: Any) -> float:
    """Return 0 or 1 for a number, a truth value or the text of one."""
    word = value.strip().lower() if isinstance(value, str) else None
    truth = {"true": 1.0, "false": 0.0}.get(word) if word is not None else value
    if isinstance(truth, bool | int | float) and truth in (0, 1):
        return float(truth)
    raise ValueError(f"expected only 0 and 1, or true and false, got {_shown(value)}")


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
