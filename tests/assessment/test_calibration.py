"""The expected calibration error, against a loop and against what is known of drawn outcomes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.assessment.calibration import calibration, reliability
from redheart.tasks.task import Task

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.0, 0.25, 1.0])), max_size=30)


def brute_force(stated, true):
    error = 0.0
    for b in range(10):
        inside = [
            (p, y)
            for p, y in zip(stated, true, strict=True)
            if b / 10 <= p < (b + 1) / 10 or (b == 9 and p == 1)
        ]
        if inside:
            said, seen = (math.fsum(column) / len(inside) for column in zip(*inside, strict=True))
            error += len(inside) / len(stated) * abs(said - seen)
    return error


@given(PAIRS)
def test_the_error_is_that_of_a_loop_over_the_bins(pairs):
    stated, true = np.array(pairs).reshape(-1, 2).T / [[40], [1]]
    found = reliability(stated, true)
    assert sum(b["count"] for b in found["bins"]) == found["records"] == len(pairs)
    if pairs:
        assert found["ece"] == pytest.approx(brute_force(stated, true))
    else:
        assert found["ece"] is None
    empty = [b for b in found["bins"] if not b["count"]]
    assert all(b["observed"] is b["mean_probability"] is None for b in empty)


def test_probabilities_that_mean_what_they_say_have_a_small_error_and_bold_ones_a_large_one():
    rng = np.random.default_rng(0)
    stated = rng.random(50_000)
    true = rng.random(50_000) < stated
    assert reliability(stated, true)["ece"] < 0.01
    # E |p - 1/2| = 1/4 for a uniform p.
    assert reliability(stated, rng.random(50_000) < 0.5)["ece"] == pytest.approx(0.25, abs=0.01)


def test_what_is_looked_at_depends_on_the_kind_of_task():
    p = np.array([[0.75, 0.25], [0.125, 0.875], [0.5, 0.5]])
    unlabelled = [np.nan, np.nan]
    classes = calibration(
        Task("t", "multiclass", "t", ("a", "b")), p, np.array([[1, 0], [1, 0], unlabelled])
    )
    assert (classes["records"], classes["ece"]) == (2, pytest.approx((0.25 + 0.875) / 2))
    labels = calibration(
        Task("t", "multilabel", "t", ("a", "b")), p, np.array([[1, np.nan], [1, 0], unlabelled])
    )
    assert labels["records"] == 3
    shares = calibration(
        Task("t", "distribution", "t", ("a", "b")),
        p,
        np.array([[0.75, 0.25], [0.5, 0.5], unlabelled]),
    )
    assert (shares["records"], shares["ece"]) == (2, pytest.approx((0 + 0.375) / 2))
    assert calibration(Task("t", "regression", "t", ("a", "b")), p, p) is None
