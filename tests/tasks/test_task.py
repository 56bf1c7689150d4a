"""Tasks: the valid labels of each kind, and the messages for all others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from redheart.tasks.task import Task, lookup, parse_tasks, read_target, target_matrix

MOOD = Task("mood", "distribution", "mood", ("x", "y", "z"))
COUNTED = Task("votes", "distribution", "votes", ("x", "y", "z"), normalize=True)
VERDICT = Task("verdict", "multiclass", "metadata.label", ("A", "B"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
DIGITS = Task("digits", "multiclass", "digits", ("0", "1", "2"))
TRUTH = Task("truth", "multiclass", "truth", ("true", "false"))
SPELLED = Task("spelled", "multiclass", "spelled", ("e", "\u00e9"))
NUMBERED = Task("numbered", "multilabel", "numbered", ("0", "1", "2"))
PAIR = Task("pair", "multilabel", "pair", ("0", "1"))
TOXIC = Task("toxic", "multilabel", "toxic", ("toxic",))
REGRET = Task("regret", "regression", "regret")
SCORES = Task("scores", "regression", "scores", ("a", "b"))
DISPUTE = Task("dispute", "regression", "votes", ("x", "y", "z"), transform="normalized_entropy")
nan = math.nan


@pytest.mark.parametrize(
    ("task", "record", "expected"),
    [
        (MOOD, {"mood": [0.5, 0.25, 0.25]}, [0.5, 0.25, 0.25]),
        (MOOD, {"mood": {"z": 0.25, "x": 0.75}}, [0.75, 0, 0.25]),
        (MOOD, {"mood": [0.51, 0.51, 0.0]}, [0.5, 0.5, 0.0]),
        (COUNTED, {"votes": {"x": 3, "y": 1, "other": 9}}, [0.75, 0.25, 0]),
        (VERDICT, {"metadata": {"label": "B"}}, [0, 1]),
        (TAGS, {"tags": ["z", "x"]}, [1, 0, 1]),
        (TAGS, {"tags": []}, [0, 0, 0]),
        (TAGS, {"tags": {"x": 1, "y": 0}}, [1, 0, nan]),
        (TAGS, {"tags": [1, None, 0]}, [1, nan, 0]),
        (TAGS, {"tags": {"x": True, "y": "False", "z": "true"}}, [1, 0, 1]),
        (TAGS, {"tags": [True, None, False]}, [1, nan, 0]),
        (DIGITS, {"digits": 2}, [0, 0, 1]),
        (DIGITS, {"digits": 1.0}, [0, 1, 0]),
        (DIGITS, {"digits": "2.0"}, [0, 0, 1]),
        (DIGITS, {"digits": True}, [0, 1, 0]),
        (TRUTH, {"truth": False}, [0, 1]),
        (SPELLED, {"spelled": "e\u0301"}, [0, 1]),
        (NUMBERED, {"numbered": [0, 2]}, [1, 0, 1]),
        (NUMBERED, {"numbered": [2, 0, 1]}, [1, 1, 1]),
        (NUMBERED, {"numbered": [0, 1, 1]}, [0, 1, 1]),
        (TOXIC, {"toxic": True}, [1]),
        (TOXIC, {"toxic": 0}, [0]),
        (TOXIC, {"toxic": "false"}, [0]),
        (REGRET, {"regret": 3}, [3]),
        (SCORES, {"scores": {"b": 0.5}}, [nan, 0.5]),
        (DISPUTE, {"votes": [5, 0, 0]}, [0]),
        (DISPUTE, {"votes": [2, 2, 2]}, [1]),
    ],
)
def test_labels_of_every_kind_are_read(task, record, expected):
    row = read_target(task, record)
    assert row.dtype == np.float64
    np.testing.assert_allclose(row, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("task", "record"),
    [
        (MOOD, {}),
        (MOOD, {"mood": None}),
        (VERDICT, {"metadata": None}),
        (VERDICT, {"metadata": "B"}),
        (SCORES, {"scores": [None, None]}),
    ],
)
def test_a_missing_label_is_no_error(task, record):
    assert read_target(task, record) is None


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        (MOOD, [0.5, 0.25], "expected 3 values, got 2"),
        (MOOD, [3, 1, 0], r"sums to 4, not to 1 \(counts\? set normalize: true\)"),
        (MOOD, [1.5, -0.5, 0], r"negative value \(-0.5\)"),
        (MOOD, [0, 0, 0], "no positive value"),
        (MOOD, {"w": 1}, r"none of the keys \['x', 'y', 'z'\]"),
        (MOOD, "x", "expected a list or an object of numbers, got 'x'"),
        (MOOD, [True, 0, 0], "expected a number, got True"),
        (TAGS, ["w"], "unknown class 'w'"),
        (TAGS, [0, 1, 2], "only 0 and 1"),
        (
            TAGS,
            "x|y",
            r"expected a list of classes, .* got 'x\|y'; write .* as JSON does, \[\"x\", \"y\"\]",
        ),
        (TAGS, {"x": "yes"}, "expected only 0 and 1, or true and false, got 'yes'"),
        (TAGS, {"x": 2}, "expected only 0 and 1, or true and false, got 2"),
        (DIGITS, 3, r"unknown class 3; expected one of \['0', '1', '2'\]"),
        (DIGITS, 0.5, "unknown class 0.5"),
        (DIGITS, [1], r"unknown class \[1\]"),
        (PAIR, [0, 1], r"\[0, 1\] could name classes or say 0 or 1 of each"),
        (TOXIC, 2, "expected only 0 and 1, or true and false, got 2"),
        (REGRET, True, "expected a number, got True"),
        (REGRET, "much", "expected a number, got 'much'; write it as JSON does"),
        (REGRET, nan, "expected a finite number, got nan"),
        pytest.param(REGRET, 10**400, "expected a finite number", id="beyond-float64"),
        pytest.param(REGRET, 1e39, "expected a finite number", id="beyond-float32"),
        (SCORES, [1.0, math.inf], "expected a finite number, got inf"),
    ],
)
def test_a_wrong_label_is_refused_with_its_field_and_reason(task, value, message):
    with pytest.raises(ValueError, match=rf"field '{task.field}': .*{message}"):
        read_target(task, {task.field: value})


def test_an_unknown_class_names_the_right_ones():
    with pytest.raises(ValueError, match=r"'metadata.label': unknown class 'C'.*\['A', 'B'\]"):
        read_target(VERDICT, {"metadata": {"label": "C"}})


def test_a_long_wrong_value_is_shown_shortened():
    with pytest.raises(ValueError) as error:
        read_target(REGRET, {"regret": "long " * 1000})
    assert len(str(error.value)) < 200


counts = st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(any)


@settings(max_examples=25)
@given(counts)
def test_counts_become_shares_in_their_order(votes):
    row = read_target(COUNTED, {"votes": votes})
    np.testing.assert_allclose(row, np.array(votes) / sum(votes), rtol=1e-6)


@settings(max_examples=25)
@given(counts)
def test_normalized_entropy_equals_that_of_scipy(votes):
    row = read_target(DISPUTE, {"votes": votes})
    assert row[0] == pytest.approx(entropy(votes, base=3), abs=1e-6)


def test_a_matrix_has_a_row_a_record_and_nan_where_there_is_no_label():
    matrix = target_matrix(
        VERDICT, [{"metadata": {"label": "A"}}, {}, {"metadata": {"label": "B"}}]
    )
    np.testing.assert_array_equal(matrix, [[1, 0], [nan, nan], [0, 1]])


def test_outputs_are_named_by_their_classes_or_by_the_task():
    assert (MOOD.width, MOOD.output_names) == (3, ("x", "y", "z"))
    assert (REGRET.width, REGRET.output_names) == (1, ("regret",))
    # The classes of a transform are counted, not predicted.
    assert (DISPUTE.width, DISPUTE.output_names) == (1, ("dispute",))


def test_tasks_are_parsed_in_the_order_of_the_config():
    parsed = parse_tasks(
        {
            "tags": {"kind": "multilabel", "field": "t", "classes": ["b", "a"], "weight": 0.5},
            "regret": {"kind": "regression", "field": "r"},
        }
    )
    assert parsed == (
        Task("tags", "multilabel", "t", ("b", "a"), weight=0.5),
        Task("regret", "regression", "r"),
    )


def test_a_lookup_ends_where_the_path_does():
    record = {"a": {"b": {"c": 1}}, "x.y": 2, "x": {"y": 3}}
    assert lookup(record, "a.b.c") == 1
    assert lookup(record, "a.b") == {"c": 1}
    assert lookup(record, "x.y") == 2
    assert lookup(record, "a.x.c") is None
    assert lookup(record, "a.b.c.d") is None
