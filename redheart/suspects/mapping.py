"""The map of a seed: the measures of every record, for each task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from redheart.suspects.measures import Measures, measure, rounded
from redheart.suspects.suspicion import checkpoint_weights, pooled, suspicions
from redheart.tasks.task import Task

# Part -> task -> [n, width].
ByPart = Mapping[str, Mapping[str, np.ndarray]]

TRAIN, HELD_OUT = "train", "held_out"


class Mapped(NamedTuple):
    """What is known of the records of a population for a task, over all seeds."""

    measures: Measures
    """Confidence, variability, margin and the rest."""
    suspicion: np.ndarray
    """How wrong each label looks: [n], NaN where there is none."""
    planted: np.ndarray
    """Quantiles of the suspicions of planted labels."""


def populations(parts: Sequence[str]) -> dict[str, list[str]]:
    """Return the parts that the models have trained on, and the parts that they have not."""
    return {TRAIN: [TRAIN], HELD_OUT: [part for part in parts if part != TRAIN]}


def make_map(
    tasks: Sequence[Task],
    ids: Mapping[str, Sequence[str]],
    targets: ByPart,
    opinions: Sequence[ByPart],
) -> dict[str, Any]:
    """Return the map of the records of all parts.

    Parameters
    ----------
    ids
        The records' ids, by part.
    targets
        Their targets, NaN where unlabelled.
    opinions
        What each checkpoint predicts.

    Returns
    -------
    dict with `checkpoints`, their number; `parts`, the parts of each population; `ids`, by
    population; and `tasks`: task -> population -> the columns of `Measures`, `suspicion` and
    `planted`, in the order of the ids.
    """
    of = populations([*ids])
    return {
        "checkpoints": len(opinions),
        "parts": of,
        "ids": {name: [i for part in parts for i in ids[part]] for name, parts in of.items()},
        "tasks": {task.name: _of_task(task, of, targets, opinions) for task in tasks},
    }


def _of_task(
    task: Task, of: Mapping[str, Sequence[str]], targets: ByPart, opinions: Sequence[ByPart]
) -> dict[str, dict[str, list[Any]]]:
    labels = {
        name: np.concatenate([targets[part][task.name] for part in parts])
        for name, parts in of.items()
    }
    said = {
        name: np.stack([np.concatenate([o[part][task.name] for part in parts]) for o in opinions])
        for name, parts in of.items()
    }
    weights = checkpoint_weights(task, labels[TRAIN], said[TRAIN])
    content = {}
    for name in of:
        own, planted = suspicions(task, labels[name], said[name], weights)
        content[name] = {
            **measure(task, labels[name], said[name]).as_json(),
            "suspicion": [*map(rounded, own.tolist())],
            "planted": [*map(rounded, planted.tolist())],
        }
    return content


def over_seeds(task: str, population: str, maps: Sequence[Mapping[str, Any]]) -> Mapped:
    """Return what the maps of all seeds say of a population, as means.

    The class that a record would be given is that of the first seed. Other seeds may doubt another
    cell of a multilabel record; their measures then do not count for it.
    """
    columns = [content["tasks"][task][population] for content in maps]
    by_seed = [Measures.from_json(one) for one in columns]
    first = by_seed[0]
    agree = np.stack([one.group == first.group for one in by_seed])
    same = np.stack([one.says == first.says for one in by_seed])

    def mean(name: str, counts: np.ndarray) -> np.ndarray:
        values = np.stack([getattr(one, name) for one in by_seed])
        total: np.ndarray = np.where(counts, values, 0.0).sum(axis=0) / counts.sum(axis=0)
        return total

    measures = Measures(
        mean("confidence", agree),
        mean("variability", agree),
        mean("margin", agree),
        first.group,
        first.says,
        mean("expected", same),
    )
    own = np.stack([as_array(one["suspicion"]) for one in columns]).mean(axis=0)
    return Mapped(measures, own, pooled([as_array(one["planted"]) for one in columns]))


def as_array(column: Sequence[float | None]) -> np.ndarray:
    """Return a column of the map as float64, with NaN for null."""
    return np.array([math.nan if value is None else value for value in column], dtype=np.float64)
