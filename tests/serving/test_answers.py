"""Answers: labels, margins and intervals, from probabilities and decisions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.serving.answers import answers_of, read_decisions
from redheart.tasks.task import Task

TOPIC = Task("topic", "multiclass", "topic", ("work", "home"))
TAGS = Task("tags", "multilabel", "tags", ("urgent", "funny", "odd"))
MOOD = Task("mood", "distribution", "mood", ("calm", "tense", "sad"))
RATING = Task("rating", "regression", "rating")
BOTH = Task("both", "regression", "both", ("cost", "gain"))


def answer(task, row, decision=None):
    decisions = read_decisions(decision and {task.name: decision}, [task])
    (answered,) = answers_of([task], decisions, {task.name: np.array([row])})
    return answered[task.name]


def test_a_class_is_the_most_probable_one():
    assert answer(TOPIC, [0.25, 0.75]) == {
        "label": "home",
        "probability": 0.75,
        "probabilities": {"work": 0.25, "home": 0.75},
    }


def test_labels_are_those_that_reach_their_threshold():
    decision = {"kind": "multilabel", "thresholds": {"urgent": 0.25, "odd": 0.8}}
    found = answer(TAGS, [0.25, 0.5, 0.75], decision)
    assert found["labels"] == ["urgent", "funny"]  # `funny` has no threshold, so one half
    assert found["probabilities"] == {"urgent": 0.25, "funny": 0.5, "odd": 0.75}
    assert answer(TAGS, [0.25, 0.4, 0.75], decision)["labels"] == ["urgent"]
    assert answer(TAGS, [0.0, 0.0, 0.0])["labels"] == []


def test_a_distribution_names_its_top_and_the_lead_over_the_next():
    found = answer(MOOD, [0.25, 0.125, 0.625])
    assert (found["label"], found["margin"]) == ("sad", 0.375)
    assert answer(MOOD, [0.4, 0.4, 0.2])["margin"] == 0
    alone = Task("mood", "distribution", "mood", ("calm",))
    assert answer(alone, [1.0])["margin"] == 1


def test_a_value_has_an_interval_where_the_decision_has_one():
    decision = {"kind": "regression", "coverage": 0.9, "half_width": {"rating": 0.5}}
    assert answer(RATING, [3.0], decision) == {
        "value": 3.0,
        "low": 2.5,
        "high": 3.5,
        "coverage": 0.9,
    }
    unknown = {"value": 3.0, "low": None, "high": None, "coverage": None}
    assert answer(RATING, [3.0]) == unknown
    assert answer(RATING, [3.0], {**decision, "half_width": {"rating": None}}) == unknown


def test_several_values_each_have_their_own():
    decision = {"kind": "regression", "coverage": 0.9, "half_width": {"cost": 1.0, "gain": None}}
    assert answer(BOTH, [5.0, 7.0], decision) == {
        "values": {
            "cost": {"value": 5.0, "low": 4.0, "high": 6.0, "coverage": 0.9},
            "gain": {"value": 7.0, "low": None, "high": None, "coverage": None},
        }
    }
    single = Task("both", "regression", "both", ("cost",))
    assert answer(single, [5.0])["value"] == 5.0


@pytest.mark.parametrize(
    "decision",
    [3, [], {}, {"thresholds": {"urgent": "much"}}, {"thresholds": [0.5]}, {"thresholds": None}],
    ids=str,
)
def test_a_decision_that_lacks_something_is_named_by_its_task(decision):
    with pytest.raises(ValueError, match="the decision of the task 'tags'"):
        read_decisions({"tags": decision}, [TAGS])


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), max_size=5),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_every_label_is_given_exactly_where_it_reaches_its_threshold(rows, least):
    decision = {"thresholds": dict(zip(TAGS.classes, least, strict=True))}
    decisions = read_decisions({"tags": decision}, [TAGS])
    found = answers_of([TAGS], decisions, {"tags": np.array(rows).reshape(-1, 3)})
    assert len(found) == len(rows)
    for row, answered in zip(rows, found, strict=True):
        expected = [n for n, p, t in zip(TAGS.classes, row, least, strict=True) if p >= t]
        assert answered["tags"]["labels"] == expected
