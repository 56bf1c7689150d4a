"""Which of two models is better: paired differences over the records that both were measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from redheart.comparing.runs import ACCESS, CLUSTERS, NotComparable, Run
from redheart.json_values import Json, with_nulls
from redheart.selection.bootstrap import Predictions, bootstrap_scores, holm, interval, p_value
from redheart.tasks.metrics import MAIN_METRIC
from redheart.tasks.task import Record, Task, target_matrix

MEASURED = ("val_select", "val_confirm", "test")


@dataclass(frozen=True)
class Pairs:
    """The records that two runs have in one part, with what each model predicts of them."""

    tasks: tuple[Task, ...]
    """The tasks that both runs define alike."""
    targets: Predictions
    """The targets: task -> [n, width]; those of a regression in the scale of A."""
    predicted: tuple[Predictions, Predictions]
    """The predictions of A and of B, likewise."""
    clusters: np.ndarray
    """Shape (n,): near-duplicates in either run are one cluster."""
    relabelled: int
    """Records that were left out, since the runs know different labels of them."""


def compare_part(first: Run, second: Run, part: str, resamples: int) -> Json:
    """Compare the shipped models of two runs on a part.

    Returns
    -------
    `comparable`, and where it is false `why`. Else `records`, `relabelled`, `identical`, and for
    `macro` and each of `tasks` the two scores, the difference B - A with its 95 % interval, and p;
    for tasks also p by Holm.
    """
    try:
        pairs = paired(first, second, part)
        return {"part": part, "comparable": True, **_differences(pairs, resamples)}
    except NotComparable as reason:
        return {"part": part, "comparable": False, "why": str(reason)}


def same_tasks(first: Run, second: Run) -> tuple[tuple[Task, ...], list[str]]:
    """Return the tasks that both runs define alike, and of the others why they are left out.

    A task's weight belongs to training, and its field to the reading of records.
    """
    theirs = {task.name: task for task in second.tasks}
    shared, left_out = [], [f"{n}: only in B" for n in theirs if n not in _names(first.tasks)]
    for task in first.tasks:
        other = theirs.get(task.name)
        if other is None:
            left_out.append(f"{task.name}: only in A")
        elif differing := _differing(task, other):
            left_out.append(f"{task.name}: its {' and '.join(differing)} differ")
        else:
            shared.append(task)
    return tuple(shared), sorted(left_out)


def _names(tasks: Sequence[Task]) -> set[str]:
    return {task.name for task in tasks}


def _differing(task: Task, other: Task) -> list[str]:
    ours, theirs = (asdict(replace(t, weight=1.0, field="")) for t in (task, other))
    return [key for key in ours if ours[key] != theirs[key]]


def paired(first: Run, second: Run, part: str) -> Pairs:
    """Return what both runs predict of the records that both have in a part, by id and text.

    A record that one run trained on is in no other part of that run, so neither model knows it.

    Raises
    ------
    NotComparable
        A run is not that far, or nothing is left to compare.
    """
    runs = (first, second)
    tasks, left_out = same_tasks(first, second)
    if not tasks:
        raise NotComparable(f"the runs have no task in common ({'; '.join(left_out)})")
    predicted = [run.predicted(part) for run in runs]
    records = [run.records(part) for run in runs]
    rows = _rows_of_shared(part, *records)
    labels = [
        {task.name: target_matrix(_of(run, task), _chosen(of_run, kept)) for task in tasks}
        for run, of_run, kept in zip(runs, records, rows, strict=True)
    ]
    same = np.ones(len(rows[0]), dtype=bool)
    for task in tasks:
        ours, theirs = (of_run[task.name] for of_run in labels)
        same &= ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=1)
    if not same.any():
        raise NotComparable(f"the runs know other labels of all {len(same):,} records of {part}")
    kept_rows = [kept[same] for kept in rows]
    clusters = [_clusters(run, part)[kept] for run, kept in zip(runs, kept_rows, strict=True)]
    of_a, of_b = (
        {task.name: of_run[task.name][kept] for task in tasks}
        for of_run, kept in zip(predicted, kept_rows, strict=True)
    )
    targets = {name: rows[same] for name, rows in labels[0].items()}
    standard = [_standardized(first, values) for values in (targets, of_a, of_b)]
    return Pairs(
        tasks, standard[0], (standard[1], standard[2]), joined(*clusters), int((~same).sum())
    )


def _standardized(run: Run, values: Predictions) -> Predictions:
    """Return values in a run's scale, in which squares of those far from 0 lose no digit."""
    return {
        task: run.scales[task].standardized(rows) if task in run.scales else rows
        for task, rows in values.items()
    }


def _of(run: Run, task: Task) -> Task:
    return next(own for own in run.tasks if own.name == task.name)


def _chosen(records: Sequence[Record], rows: np.ndarray) -> list[Record]:
    return [records[row] for row in rows.tolist()]


def _clusters(run: Run, part: str) -> np.ndarray:
    return np.array(run.read(CLUSTERS)[part], dtype=np.int64)


def _rows_of_shared(
    part: str, first: Sequence[Record], second: Sequence[Record]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the records of both stand in each; test must be the same part in both."""
    ours, theirs = (
        {(str(record["id"]), record["text"]): row for row, record in enumerate(records)}
        for records in (first, second)
    )
    shared = [record for record in ours if record in theirs]
    if part == "test" and not len(shared) == len(ours) == len(theirs):
        raise NotComparable(
            f"the runs have other test parts ({len(ours):,} and {len(theirs):,} records, "
            f"{len(shared):,} of them in both)"
        )
    if not shared:
        raise NotComparable(f"no record is in {part} of both runs")
    return tuple(np.array([of[record] for record in shared]) for of in (ours, theirs))  # type: ignore[return-value]


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the clusters of records that are linked in either of two partitions.

    Parameters
    ----------
    first, second
        Shape (n,): each record's cluster by one run and by the other.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ours, theirs = (np.unique(ids, return_inverse=True)[1] for ids in (first, second))
    theirs = theirs + ours.max(initial=-1) + 1
    size = int(theirs.max(initial=-1)) + 1
    links = coo_array((np.ones(len(ours)), (ours, theirs)), shape=(size, size))
    components: np.ndarray = connected_components(links, directed=False)[1]
    return components[ours]


def _differences(pairs: Pairs, resamples: int) -> Json:
    tasks = {
        task.name: {"metric": MAIN_METRIC[task.kind], **_difference([task], pairs, resamples)}
        for task in pairs.tasks
    }
    macro = _difference(pairs.tasks, pairs, resamples)
    if math.isnan(macro["difference"]):
        raise NotComparable("no score is defined: these records have no label, or all the same")
    adjusted = holm({name: row["p"] for name, row in tasks.items()})
    rows = {name: {**row, "p_holm": adjusted[name]} for name, row in tasks.items()}
    first, second = pairs.predicted
    content: Json = with_nulls(
        {
            "records": len(pairs.clusters),
            "clusters": len(np.unique(pairs.clusters)),
            "relabelled": pairs.relabelled,
            "identical": all(np.array_equal(first[name], second[name]) for name in tasks),
            "macro": macro,
            "tasks": rows,
        }
    )
    return content


def _difference(tasks: Sequence[Task], pairs: Pairs, resamples: int) -> dict[str, Any]:
    models = dict(zip("ab", ([predicted] for predicted in pairs.predicted), strict=True))
    scores = bootstrap_scores(tasks, models, pairs.targets, pairs.clusters, resamples)
    difference = scores["b"] - scores["a"]
    found: Mapping[str, float] = asdict(interval(difference))
    points = {name: float(values[0]) for name, values in scores.items()}
    return {**points, **found, "p": p_value(difference)}


def openings(run: Run) -> int | None:
    """Return how often the test part of a run was opened; None: this run has not opened it."""
    access = run.read_or_none(ACCESS)
    return None if access is None else len(access)
