"""Curves of a group: read from the tables of checkpoints, with the errors that their noise makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.errors import UserError
from redheart.sweet_spots.curves import module_mean, noisy_curve, read_curve
from redheart.sweet_spots.statistics import moving_mean

EPOCHS = (2, 4, 6)
unknown_or_number = st.none() | st.floats(-9, 9)


def checkpoint(epoch, **modules):
    rows = {"A": {"train_loss": 1 / epoch, "val_loss": None, "stability": 0.5}}
    tables = {name: {"x": {"val_metric": value}} for name, value in modules.items()}
    return {"epoch": epoch, "groups": rows, "modules": tables}


def test_a_curve_holds_each_column_by_epoch_and_nan_for_null():
    curve = read_curve([checkpoint(epoch, dsp=epoch / 10) for epoch in EPOCHS], "A", ["dsp"])
    assert (curve.group, curve.epochs.tolist()) == ("A", [2, 4, 6])
    assert curve.train_loss.tolist() == [1 / 2, 1 / 4, 1 / 6]
    assert np.isnan(curve.val_loss).all()
    assert curve.criterion("metric").tolist() == [0.8, 0.6, 0.4]
    assert curve.criterion("loss") is curve.val_loss
    assert np.isnan(read_curve([checkpoint(2)], "A").val_metric).all(), "of no module"


def test_a_group_that_a_checkpoint_lacks_is_named():
    with pytest.raises(
        UserError, match=r"the metrics of epoch 2 have no group 'B' \(they have A\)"
    ):
        read_curve([checkpoint(2)], "B")


@given(st.lists(st.tuples(*[st.floats(-9, 9)] * 2), min_size=1, max_size=12))
def test_a_smoothed_curve_is_its_columns_smoothed(values):
    tables = [
        {
            "epoch": epoch,
            "groups": {"A": {"train_loss": a, "val_loss": b, "stability": a - b}},
            "modules": {"dsp": {"x": {"val_metric": a + b}}},
        }
        for epoch, (a, b) in enumerate(values, 1)
    ]
    curve = read_curve(tables, "A", ["dsp"])
    smoothed = curve.smoothed(3)
    for name in ("train_loss", "val_loss", "stability", "val_metric"):
        expected = moving_mean(getattr(curve, name), 3)
        np.testing.assert_array_equal(getattr(smoothed, name), expected)


tables = st.lists(
    st.fixed_dictionaries(
        {
            module: st.fixed_dictionaries(dict.fromkeys(tasks, unknown_or_number))
            for module, tasks in {"one": "x", "two": "xy", "three": "y"}.items()
        }
    ),
    min_size=1,
    max_size=4,
)


@given(tables)
def test_the_mean_is_over_a_tasks_modules_and_then_over_tasks(rows):
    tasks = []
    for task in "xy":
        known = [
            [row[module][task] for row in rows]
            for module in ("one", "two", "three")
            if task in rows[0][module] and any(row[module][task] is not None for row in rows)
        ]
        if known:
            tasks.append(np.mean(np.array(known, dtype=float), axis=0))
    expected = np.mean(tasks, axis=0) if tasks else np.full(len(rows), np.nan)
    named = [
        {
            module: {task: {"val_metric": value} for task, value in by_task.items()}
            for module, by_task in row.items()
        }
        for row in rows
    ]
    means = module_mean(named, ["one", "two", "three", "absent"])
    np.testing.assert_allclose(means, expected, rtol=1e-12, atol=1e-12)


def test_what_is_as_good_is_within_the_error_of_the_difference():
    """By the covariance of smoothed noise, written out."""
    rng = np.random.default_rng(0)
    raw = np.linspace(1, 0.2, 20) ** 2 + rng.normal(0, 0.05, 20)
    curve = noisy_curve(raw, moving_mean(raw, 3), 3)
    steps = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    covariance = curve.noise**2 * curve.correlation**steps
    smoothed = curve.weights @ covariance @ curve.weights.T
    np.testing.assert_allclose(curve.errors, np.sqrt(np.diag(smoothed)), rtol=1e-9)
    np.testing.assert_allclose(curve.smoothed, curve.weights @ raw, rtol=1e-9)
    best = int(np.argmin(curve.smoothed))
    variances = np.diag(smoothed) + smoothed[best, best] - 2 * smoothed[best]
    for deviates in (0.0, 1.0, 3.0):
        error = deviates * np.sqrt(np.maximum(variances, 0))
        expected = curve.smoothed - curve.smoothed[best] <= error + 1e-12
        expected[best] = True
        assert curve.as_good(best, deviates).tolist() == expected.tolist()
    assert 1 < curve.as_good(best, 3.0).sum() < 20


def test_a_value_that_is_unknown_is_never_as_good():
    raw = np.array([1.0, np.nan, 0.5, 0.6, 0.7])
    curve = noisy_curve(raw, raw, 1)
    assert curve.as_good(2, 100.0).tolist() == [True, False, True, True, True]
    assert curve.as_good(1, 100.0).tolist() == [False, True, False, False, False]
