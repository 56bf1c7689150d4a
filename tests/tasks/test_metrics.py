"""The metrics equal scikit-learn's and scipy's, weighted or not."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from redheart.tasks.metrics import MAIN_METRIC, METRICS, macro, main_metric, task_metrics
from redheart.tasks.task import Task

VERDICT = Task("verdict", "multiclass", "label", ("a", "b", "c", "d"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
EMOTION = Task("emotion", "distribution", "emotions", ("joy", "anger", "fear"))
SCORES = Task("scores", "regression", "scores", ("left", "right"))
TASKS = (VERDICT, TAGS, EMOTION, SCORES)


def example(task: Task, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw predictions with many ties, and targets that correlate with them."""
    rng = np.random.default_rng(seed)
    shape = (n, task.width)
    if task.kind == "multiclass":
        return rng.dirichlet([1] * task.width, n), np.eye(task.width)[rng.integers(0, 3, n)]
    if task.kind == "distribution":
        return rng.dirichlet([1] * task.width, n), rng.multinomial(4, [1 / 3] * 3, n) / 4
    target = (rng.random(shape) < 0.4).astype(float) if task.kind == "multilabel" else None
    if target is None:
        target = rng.normal(size=shape)
        return target + rng.normal(size=shape), target
    return np.round(np.clip(target * 0.3 + rng.random(shape), 0, 1), 1), target


def resamples(n: int, count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).multinomial(n, [1 / n] * n, size=count)


def reference(task: Task, prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Every metric of a task by scikit-learn and scipy, on fully labelled records."""
    if task.kind == "multiclass":
        true, chosen = target.argmax(axis=1), prediction.argmax(axis=1)
        return {
            "macro_f1": oracle.f1_score(true, chosen, average="macro"),
            "accuracy": oracle.accuracy_score(true, chosen),
        }
    if task.kind == "multilabel":
        return {
            "mean_average_precision": oracle.average_precision_score(target, prediction),
            "micro_f1": oracle.f1_score(target, prediction >= 0.5, average="micro"),
        }
    if task.kind == "distribution":
        return {
            "js_similarity": 1 - np.mean(jensenshannon(prediction, target, base=2, axis=1) ** 2),
            "top_1_agreement": np.mean(
                [t[p.argmax()] == t.max() for p, t in zip(prediction, target, strict=True)]
            ),
        }
    r2 = oracle.r2_score(target, prediction, multioutput="raw_values")
    return {
        "r2": np.maximum(r2, 0).mean(),
        "mean_absolute_error": oracle.mean_absolute_error(target, prediction),
    }


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_the_oracles(task: Task, seed: int) -> None:
    prediction, target = example(task, 60, seed)
    assert task_metrics(task, prediction, target) == pytest.approx(
        reference(task, prediction, target), abs=1e-12
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_weights_equal_repeated_records(task: Task) -> None:
    prediction, target = example(task, 40, 0)
    weights = resamples(40)
    for name, metric in METRICS[task.kind].items():
        repeated = [
            reference(task, np.repeat(prediction, row, axis=0), np.repeat(target, row, axis=0))
            for row in weights
        ]
        expected = [scores[name] for scores in repeated]
        assert metric(prediction, target, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_unlabelled_records_are_ignored(task: Task) -> None:
    prediction, target = example(task, 30, 0)
    target[::3] = np.nan
    prediction[::3] = np.nan
    labelled = np.arange(30) % 3 != 0
    assert task_metrics(task, prediction, target) == task_metrics(
        task, prediction[labelled], target[labelled]
    )
    weights = resamples(30)
    assert np.array_equal(
        main_metric(task, prediction, target, weights),
        main_metric(task, prediction[labelled], target[labelled], weights[:, labelled]),
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("n", [0, 4])
def test_no_label_is_undefined(task: Task, n: int) -> None:
    prediction, target = np.zeros((n, task.width)), np.full((n, task.width), np.nan)
    assert set(task_metrics(task, prediction, target).values()) == {None}
    assert np.isnan(main_metric(task, prediction, target))
    assert np.isnan(macro([task], {task.name: prediction}, {task.name: target}))
    assert np.isnan(main_metric(task, prediction, target, np.ones((2, n)))).tolist() == [True] * 2


def test_single_cells_may_be_unknown() -> None:
    nan = np.nan
    target = np.array([[1, nan, 0], [0, 1, nan], [1, 0, 0]], dtype=np.float32)
    prediction = np.array([[0.9, 0.1, 0.2], [0.95, 0.8, 0.9], [0.2, 0.3, 0.6]])
    # x: found at ranks 2 and 3; y: at rank 1; z has no positive record and does not count.
    # Cells: hits x1, y1; missed x3; wrongly predicted x2, z3.
    assert task_metrics(TAGS, prediction, target) == pytest.approx(
        {"mean_average_precision": ((1 / 2 + 2 / 3) / 2 + 1) / 2, "micro_f1": 4 / (4 + 1 + 2)}
    )
    values = np.array([[1, nan], [2, 5], [3, 7]])
    assert task_metrics(SCORES, np.array([[1, 0], [2, 5], [3, 5]]), values) == pytest.approx(
        {"r2": (1 + 0) / 2, "mean_absolute_error": (0 + 1) / 2}
    )


def test_perfect_predictions_score_one() -> None:
    for task in TASKS:
        target = example(task, 20, 0)[1]
        assert main_metric(task, target, target) == 1


def test_r2_of_a_constant_target() -> None:
    constant = np.full((5, 2), 0.3, dtype=np.float32)
    near = constant + np.array([0, 1e-3], dtype=np.float32)
    assert main_metric(SCORES, constant, constant) == 1
    assert main_metric(SCORES, near, constant) == pytest.approx((1 + 0) / 2)
    # The target is constant in one resample only. Far from the origin, cancellation must not make the
    # variance of a constant look positive.
    target = np.array([[0, 0], [1e6 + 0.1, 0.7], [1e6 + 0.1, 0.7]])
    weights = np.array([[0, 3, 0], [0, 1, 2], [1, 1, 1]])
    assert main_metric(SCORES, target, target, weights).tolist() == [1, 1, 1]
    assert main_metric(SCORES, target + 0.01, target, weights)[:2].tolist() == [0, 0]


def test_r2_never_falls_below_zero() -> None:
    target = example(SCORES, 20, 0)[1]
    assert main_metric(SCORES, -10 * target, target) == 0


def test_micro_f1_without_a_positive_is_undefined() -> None:
    cells = np.zeros((4, 3))
    assert task_metrics(TAGS, cells, cells) == {"mean_average_precision": None, "micro_f1": None}


def test_float32_probabilities_are_normalised() -> None:
    prediction, target = (array.astype(np.float32) for array in example(EMOTION, 50, 0))
    assert main_metric(EMOTION, 3 * prediction, target) == pytest.approx(
        main_metric(EMOTION, prediction, target), abs=1e-7
    )


def test_top_1_agreement_accepts_any_of_tied_classes() -> None:
    target = np.array([[0.4, 0.4, 0.2]] * 3)
    metrics = task_metrics(EMOTION, np.eye(3), target)
    assert metrics["top_1_agreement"] == pytest.approx(2 / 3)


def test_macro_is_the_mean_over_defined_tasks() -> None:
    drawn = {task.name: example(task, 30, 0) for task in TASKS}
    predictions = {name: pair[0] for name, pair in drawn.items()}
    targets = {name: pair[1] for name, pair in drawn.items()}
    targets["emotion"] = np.full_like(targets["emotion"], np.nan)
    defined = (VERDICT, TAGS, SCORES)
    expected = np.mean([main_metric(t, predictions[t.name], targets[t.name]) for t in defined])
    assert macro(TASKS, predictions, targets) == pytest.approx(expected)
    weights = np.concatenate([np.ones((1, 30)), resamples(30)])
    resampled = macro(TASKS, predictions, targets, weights)
    assert resampled.shape == (6,)
    assert resampled[0] == macro(TASKS, predictions, targets)


def test_a_broken_prediction_is_refused() -> None:
    target = example(SCORES, 4, 0)[1]
    with pytest.raises(ValueError, match="'scores': a prediction is not finite"):
        main_metric(SCORES, np.full((4, 2), np.inf), target)
    with pytest.raises(ValueError, match=r"predictions \(4, 1\), targets \(4, 2\)"):
        main_metric(SCORES, np.zeros((4, 1)), target)


def test_the_main_metric_of_every_kind() -> None:
    assert MAIN_METRIC == {
        "multiclass": "macro_f1",
        "multilabel": "mean_average_precision",
        "distribution": "js_similarity",
        "regression": "r2",
    }


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_average_precision_with_any_ties(data: st.DataObject) -> None:
    cells = st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans(), st.integers(0, 3))
    score, true, weight = map(np.array, zip(*data.draw(st.lists(cells, min_size=1)), strict=True))
    one = Task("one", "multilabel", "one", ("x",))
    result = main_metric(one, score[:, None], true[:, None].astype(float), weight[None])[0]
    if not (true * weight).any():
        assert np.isnan(result)
    else:
        expected = oracle.average_precision_score(true, score, sample_weight=weight)
        assert result == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_macro_f1_with_any_absent_classes(pairs: list[tuple[int, int]]) -> None:
    true, chosen = map(np.array, zip(*pairs, strict=True))
    result = main_metric(VERDICT, np.eye(4)[chosen], np.eye(4)[true])
    assert result == pytest.approx(oracle.f1_score(true, chosen, average="macro"), abs=1e-12)


@pytest.mark.slow
def test_a_thousand_resamples_take_well_under_a_second() -> None:
    five = Task("five", "multilabel", "tags", tuple("abcde"))
    rng = np.random.default_rng(0)
    prediction, target = rng.random((1000, 5)), (rng.random((1000, 5)) < 0.3).astype(float)
    weights = resamples(1000, 1000)
    start = time.process_time()
    main_metric(five, prediction, target, weights)
    assert time.process_time() - start < 1
