"""Scores with intervals: the same as the comparison's, paired, and corrected over the tasks."""

from __future__ import annotations

import numpy as np
import pytest
from noisy_predictions import TASKS, drawn_targets, noisy

from redheart.assessment.certainty import scores_with_intervals
from redheart.assessment.yardsticks import majority_predictions
from redheart.selection.bootstrap import bootstrap_scores, holm, interval
from redheart.tasks.metrics import macro, main_metric


@pytest.fixture(scope="module")
def scored():
    targets = drawn_targets(90, 0)
    model, baseline = noisy(targets, 0.5, 1), noisy(targets, 0.7, 2)
    clusters = np.arange(90) // 2
    majority = majority_predictions(TASKS, targets, 90)
    found = scores_with_intervals(TASKS, model, baseline, majority, targets, clusters, 200)
    return model, baseline, majority, targets, clusters, found


def test_the_score_over_all_tasks_is_the_one_by_which_candidates_are_compared(scored):
    model, baseline, majority, targets, clusters, (overall, _) = scored
    runs = {"model": [model], "baseline": [baseline]}
    resampled = bootstrap_scores(TASKS, runs, targets, clusters, 200)
    versus = interval(resampled["model"] - resampled["baseline"])
    own = interval(resampled["model"])
    assert overall["score"] == pytest.approx(macro(TASKS, model, targets))
    assert overall["baseline"] == pytest.approx(macro(TASKS, baseline, targets))
    assert overall["majority"] == pytest.approx(macro(TASKS, majority, targets))
    assert (overall["low"], overall["high"]) == pytest.approx((own.low, own.high))
    told = overall["versus_baseline"]
    assert (told["difference"], told["low"], told["high"]) == pytest.approx(
        (versus.difference, versus.low, versus.high)
    )


def test_each_task_has_its_score_in_its_interval_and_holms_p_over_the_tasks(scored):
    model, baseline, _, targets, _, (_, by_task) = scored
    assert [*by_task] == [task.name for task in TASKS]
    for task in TASKS:
        row = by_task[task.name]
        pair = (main_metric(task, run[task.name], targets[task.name]) for run in (model, baseline))
        assert (row["score"], row["baseline"]) == pytest.approx((*pair,))
        assert row["low"] <= row["score"] <= row["high"]
        assert row["versus_baseline"]["difference"] == pytest.approx(row["score"] - row["baseline"])
    p = {name: row["versus_baseline"]["p"] for name, row in by_task.items()}
    assert {n: row["versus_baseline"]["p_holm"] for n, row in by_task.items()} == pytest.approx(
        holm(p)
    )


def test_a_task_without_a_label_has_no_score_and_the_mean_is_over_the_others(scored):
    model, baseline, majority, targets, clusters, (_, full) = scored
    name = TASKS[0].name
    blank = {**targets, name: np.full_like(targets[name], np.nan)}
    overall, by_task = scores_with_intervals(TASKS, model, baseline, majority, blank, clusters, 200)
    empty = by_task[name]
    assert empty["score"] is empty["low"] is empty["majority"] is None
    assert {*empty["versus_baseline"].values()} == {None}
    rest = [full[task.name]["score"] for task in TASKS[1:]]
    assert overall["score"] == pytest.approx(np.mean(rest))
