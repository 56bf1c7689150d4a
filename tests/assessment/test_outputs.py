"""The outputs of a regression, against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from redheart.assessment.outputs import POINTS, output_rows, spearman
from redheart.tasks.task import Task

TASK = Task("rating", "regression", "rating", ("stars", "length"))


def drawn(n=70):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(n, 2)) * [1, 20] + [3, 100]
    return (true + rng.normal(size=(n, 2)) * [0.5, 5]).astype(np.float32), true


def test_every_number_of_an_output_is_the_one_of_scikit_learn_and_scipy():
    predicted, true = drawn()
    true[::7, 1] = np.nan
    decision = {"half_width": {"stars": 0.5, "length": 8.0}}
    for k, row in enumerate(output_rows(TASK, predicted, true, decision)):
        known = ~np.isnan(true[:, k])
        y, p = true[known, k], predicted[known, k].astype(float)
        assert row["name"] == TASK.classes[k]
        assert row["r2"] == pytest.approx(metrics.r2_score(y, p))
        assert row["mean_absolute_error"] == pytest.approx(metrics.mean_absolute_error(y, p))
        assert row["spearman"] == pytest.approx(stats.spearmanr(y, p).statistic)
        assert row["coverage"] == (np.abs(y - p) <= decision["half_width"][row["name"]]).mean()
        assert row["residuals"]["p05"] == pytest.approx(np.percentile(y - p, 5))
        assert row["residuals"]["p95"] == pytest.approx(np.percentile(y - p, 95))
        assert np.array(row["points"]) == pytest.approx(np.stack([y, p], axis=1), rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20))
def test_ranks_of_equal_values_are_shared_as_in_scipy(pairs):
    first, second = np.array(pairs, dtype=float).T
    if len({*first}) == 1 or len({*second}) == 1:
        assert np.isnan(spearman(first, second))
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_without_an_interval_there_is_no_coverage_and_without_values_no_number():
    predicted, true = drawn(5)
    true[:, 1] = np.nan
    stars, length = output_rows(TASK, predicted, true, {})
    assert stars["half_width"] is stars["coverage"] is None
    assert stars["spearman"] is not None
    assert length == {
        **dict.fromkeys(("r2", "mean_absolute_error", "spearman", "half_width", "coverage")),
        "name": "length",
        "residuals": dict.fromkeys(("p05", "p25", "p50", "p75", "p95")),
        "points": [],
    }


def test_a_plot_has_a_bounded_number_of_points_from_the_first_record_to_the_last():
    predicted, true = drawn(POINTS + 777)
    points = output_rows(TASK, predicted, true, {})[0]["points"]
    assert len(points) == POINTS
    ends = [[float(f"{v[i, 0]:.6g}") for v in (true, predicted)] for i in (0, -1)]
    assert [points[0], points[-1]] == ends
