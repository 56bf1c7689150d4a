"""The assessment of the model that ships: everything that test says of it, task by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redheart.assessment.calibration import calibration
from redheart.assessment.certainty import scores_with_intervals
from redheart.assessment.classes import class_rows, confusion, f1_scores, mean_of, one_hot
from redheart.assessment.outputs import output_rows
from redheart.assessment.words import Answers, answers, mistakes
from redheart.assessment.yardsticks import majority_predictions
from redheart.crossover.candidates import BASELINE
from redheart.encoding.tokens import Encoded
from redheart.evaluation.decisions import DecisionOptions, fit_decisions, thresholds_of
from redheart.evaluation.predictions import Table
from redheart.json_values import Json
from redheart.selection.bootstrap import Predictions
from redheart.tasks.metrics import task_metrics
from redheart.tasks.scale import Scale
from redheart.tasks.task import Record, Task


@dataclass(frozen=True)
class Judged:
    """A model, or the linear baseline, with its decisions."""

    predictions: Predictions
    """Its predictions on test by task: shape (n, width)."""
    decisions: Mapping[str, Any]
    """What `fit_decisions` returned, at least for multilabel tasks."""


@dataclass(frozen=True)
class JudgedOn:
    """The records on which a model is judged, and what was known before."""

    records: Sequence[Record]
    """The records of test, with `id` and `text`."""
    targets: Predictions
    """Their targets by task: shape (n, width), NaN where unknown."""
    clusters: np.ndarray
    """Their clusters of near-duplicates: shape (n,)."""
    train: Predictions
    """The targets of train by task."""
    scales: Mapping[str, Scale]
    """The scale of each regression's predictions and targets; without one, they have their unit."""


def assess_shipped(
    tasks: Sequence[Task],
    decided: Mapping[str, Any],
    candidates: Table,
    linear: Table,
    parts: Mapping[str, Encoded],
    records: Sequence[Record],
    clusters: np.ndarray,
    options: DecisionOptions,
    resamples: int,
) -> tuple[Json, list[Answers]]:
    """Assess the shipped model, beside a linear baseline that decides by thresholds of its own.

    Parameters
    ----------
    decided
        The content of `decisions.json`.
    candidates
        The predictions on test of all candidates of the shipped seed.
    linear
        The linear baseline's predictions: on val_select, where its thresholds are fitted as those
        of the model are, and on test.
    parts
        The parts train, val_select and test, whose targets count.
    records
        The records of test.
    clusters
        Their clusters of near-duplicates: shape (n,).

    Returns
    -------
    The content of `assessment.json`, and the answers of each task in words.
    """
    targets = {name: part.targets for name, part in parts.items()}
    labels = [task for task in tasks if task.kind == "multilabel"]
    model = Judged(candidates[decided["candidate"]]["test"], decided["tasks"])
    fitted = fit_decisions(labels, linear[BASELINE], targets, {}, options)
    baseline = Judged(linear[BASELINE]["test"], fitted)
    part = JudgedOn(records, targets["test"], clusters, targets["train"], parts["test"].scales)
    assessment, given = assess(tasks, model, baseline, part, resamples)
    return {"candidate": decided["candidate"], "seed": decided["seed"], **assessment}, given


def assess(
    tasks: Sequence[Task], model: Judged, baseline: Judged, part: JudgedOn, resamples: int
) -> tuple[Json, list[Answers]]:
    """Assess a model on test.

    Parameters
    ----------
    resamples
        Bootstrap resamples behind every interval.

    Returns
    -------
    The content of `assessment.json` without the names of candidate and seed, and the answers of
    each task in words. Every undefined number is None.
    """
    majority = majority_predictions(tasks, part.train, len(part.records))
    everything = model.predictions, baseline.predictions, majority, part.targets
    macro, scores = scores_with_intervals(tasks, *everything, part.clusters, resamples)
    given = {task.name: _answers(task, model, part) for task in tasks}
    by_task = {}
    for task in tasks:
        target = part.targets[task.name]
        own, rival = (_details(task, judged, part) for judged in (model, baseline))
        by_task[task.name] = {
            "kind": task.kind,
            "labelled": int((~np.isnan(target)).any(axis=1).sum()),
            **scores[task.name],
            **own,
            "baseline_metrics": rival["metrics"],
            "calibration": calibration(task, model.predictions[task.name], target),
            "mistakes": mistakes(given[task.name], part.records),
        }
    assessment = {
        "records": len(part.records),
        "clusters": len(np.unique(part.clusters)),
        "resamples": resamples,
        "macro": macro,
        "tasks": by_task,
    }
    return assessment, [*given.values()]


def _details(task: Task, judged: Judged, part: JudgedOn) -> Json:
    """Return the metrics, and the scores of each class or each output."""
    predicted, target = judged.predictions[task.name], part.targets[task.name]
    scale, decision = part.scales.get(task.name), judged.decisions.get(task.name, {})
    metrics = task_metrics(task, predicted, target, scale)
    if task.kind == "regression":
        values = _with_unit(predicted, scale), _with_unit(target, scale)
        return {"metrics": metrics, "outputs": output_rows(task, *values, decision)}
    chosen, train = _chosen(task, predicted, decision), part.train[task.name]
    if task.kind == "multilabel":
        rows = class_rows(task, train, target, chosen, predicted)
        return {"metrics": {**metrics, **f1_scores(rows)}, "classes": rows}
    true = one_hot(target)
    labelled = ~np.isnan(true).any(axis=1)
    rows = class_rows(task, one_hot(train), true, chosen, predicted)
    if task.kind == "multiclass":
        metrics["mean_average_precision"] = mean_of(rows, "average_precision")
    pair = true[labelled].argmax(axis=1), predicted[labelled].argmax(axis=1)
    return {"metrics": metrics, "classes": rows, **confusion(task, *pair)}


def _answers(task: Task, model: Judged, part: JudgedOn) -> Answers:
    scale, decision = part.scales.get(task.name), model.decisions.get(task.name, {})
    predicted, target = model.predictions[task.name], part.targets[task.name]
    spread = scale.deviation if scale else np.ones(task.width)
    chosen = _chosen(task, predicted, decision)
    return answers(task, _with_unit(predicted, scale), _with_unit(target, scale), chosen, spread)


def _chosen(task: Task, predicted: np.ndarray, decision: Mapping[str, Any]) -> np.ndarray:
    """Return which classes are predicted: bool [n, width]."""
    if task.kind == "multilabel":
        return predicted >= thresholds_of(task, decision)
    return one_hot(predicted) == 1


def _with_unit(values: np.ndarray, scale: Scale | None) -> np.ndarray:
    return scale.restored(values) if scale else values
