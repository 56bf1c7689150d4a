"""Confidence, variability and margin, against loops over records and checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.suspects.measures import Measures, measure
from redheart.tasks.task import Task

VERDICT = Task("verdict", "multiclass", "label", ("a", "b", "c"))
MOOD = Task("mood", "distribution", "mood", ("a", "b", "c"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
RATING = Task("rating", "regression", "rating")


def shares(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), shape[:-1])


@pytest.mark.parametrize("task", [VERDICT, MOOD], ids=lambda task: task.kind)
def test_classes_are_measured_as_by_a_loop(task):
    rng = np.random.default_rng(0)
    said, labels = shares(rng, 4, 6, 3), rng.integers(0, 3, 6)
    target = np.eye(3)[labels]
    target[2] = np.nan
    found = measure(task, target, said)
    for i, label in enumerate(labels):
        if i == 2:
            assert math.isnan(found.confidence[i]) and found.group[i] == -1
            continue
        own = [said[c, i, label] for c in range(4)]
        margins = [
            said[c, i, label] - max(said[c, i, k] for k in range(3) if k != label) for c in range(4)
        ]
        assert found.confidence[i] == pytest.approx(np.mean(own))
        assert found.variability[i] == pytest.approx(np.std(own))
        assert found.margin[i] == pytest.approx(np.mean(margins))
        assert found.group[i] == label
        assert found.says[i] == np.argmax([np.mean(said[:, i, k]) for k in range(3)])


def test_shares_that_are_predicted_exactly_have_a_confidence_of_one():
    target = np.array([[0.2, 0.3, 0.5], [0.0, 0.4, 0.6]])
    found = measure(MOOD, target, np.stack([target, target]))
    assert found.confidence == pytest.approx([1, 1], abs=1e-4)
    assert found.variability == pytest.approx([0, 0])


def test_a_multilabel_record_is_measured_by_its_most_doubted_cell():
    # Wherever z applies, it is doubted a little; the first record's x is doubted far more.
    target = np.array([[1, 0, 1], [1, 0, 1], [1, 0, 0], [0, np.nan, 0]])
    said = np.array([[0.1, 0.1, 0.3], [0.9, 0.2, 0.3], [0.9, 0.1, 0.1], [0.2, 0.9, 0.8]])
    found = measure(TAGS, target, said[None])
    assert found.says.tolist() == [0, 1, 1, 2]
    assert found.group.tolist() == [1, 2, 2, 4]  # x applies; y does not, twice; z does not
    assert found.confidence == pytest.approx([0.1, 0.8, 0.9, 0.2])
    assert found.expected == pytest.approx([0.1, 0.2, 0.1, 0.8])


def test_a_regression_is_measured_by_the_residuals_of_the_others():
    said = np.zeros((2, 101, 1))
    target = np.linspace(-1, 1, 101)[:, None].copy()
    target[0] = 50.0
    target[7] = np.nan
    found = measure(RATING, target, said)
    assert found.confidence[0] < 1e-6 and found.margin[0] > 20
    assert math.isnan(found.margin[7])
    assert (np.delete(found.confidence, [0, 7]) > 0.05).all()


@given(st.integers(0, 5), st.integers(1, 4))
def test_the_columns_are_read_back(n, checkpoints):
    rng = np.random.default_rng(n)
    target = np.eye(3)[rng.integers(0, 3, n)]
    target[::2] = np.nan
    found = measure(VERDICT, target, shares(rng, checkpoints, n, 3))
    again = Measures.from_json(found.as_json())
    for name, column in vars(found).items():
        assert getattr(again, name).dtype == column.dtype
        np.testing.assert_allclose(getattr(again, name), column, atol=1e-6)
