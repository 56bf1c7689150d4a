"""Answers in words: every kind of task, unknown labels, and cells that are no formulas."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from redheart.assessment.words import CHARACTERS, MISTAKES, answers, mistakes, predictions_table
from redheart.tasks.task import Task

TOPIC = Task("topic", "multiclass", "topic", ("=work", "home"))
MOOD = Task("mood", "distribution", "mood", ("calm", "tense"))
TAGS = Task("tags", "multilabel", "tags", ("urgent", "private"))
RATING = Task("rating", "regression", "rating")
SCALES = Task("scales", "regression", "scales", ("good", "long"))
UNKNOWN = [np.nan, np.nan]
ONES = np.ones(2)


def records(count):
    return [{"id": f"r{i}", "text": f"text {i}"} for i in range(count)]


def given(task, predicted, target, chosen=None, spread=ONES):
    return answers(task, *map(np.array, (predicted, target, chosen or predicted)), spread)


def test_a_class_is_named_and_wrong_with_the_probability_of_what_is_wrong():
    told = given(TOPIC, [[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], [[1, 0], [1, 0], UNKNOWN])
    assert told.labels == ["=work", "=work", ""]
    assert told.predictions == ["=work", "home", "home"]
    assert told.probabilities == [0.9, 0.7, 0.8]
    assert told.confidence == pytest.approx([np.nan, 0.7, np.nan], nan_ok=True)


def test_each_of_several_top_classes_of_a_distribution_is_right():
    told = given(MOOD, [[0.4, 0.6], [0.4, 0.6]], [[0.5, 0.5], [0.6, 0.4]])
    assert np.isnan(told.confidence).tolist() == [True, False]


def test_labels_are_joined_and_the_worst_known_cell_says_how_wrong_they_are():
    told = given(
        TAGS,
        [[0.9, 0.6], [0.1, 0.3], [0.2, 0.1], [0.9, 0.9]],
        [[1, 0], [np.nan, 1], [0, 0], UNKNOWN],
        [[True, True], [False, True], [False, False], [True, True]],
    )
    assert told.labels == ["urgent", "private", "(none)", ""]
    assert told.predictions == ["urgent; private", "private", "(none)", "urgent; private"]
    assert told.probabilities == ["0.9000; 0.6000", "0.3000", "", "0.9000; 0.9000"]
    assert told.confidence == pytest.approx([0.6, np.nan, np.nan, np.nan], nan_ok=True)
    missed = given(TAGS, [[0.25, 0.0]], [[1, 0]], [[False, False]])
    assert missed.confidence == pytest.approx([0.75])


def test_a_number_is_as_wrong_as_its_error_in_deviations_of_its_output():
    told = given(SCALES, [[1, 10], [1, 10]], [[2, 14], [np.nan, 11]], spread=np.array([1.0, 8.0]))
    assert told.labels == ["good: 2", "long: 11"]
    assert told.predictions == ["good: 1", "long: 10"]
    assert told.confidence.tolist() == [1, 1 / 8]
    assert [*told.columns] == [
        *("scales.good.label", "scales.good.prediction"),
        *("scales.long.label", "scales.long.prediction"),
    ]
    assert told.columns["scales.good.label"] == [2, None]


def test_the_worst_mistakes_come_first_and_only_mistakes():
    n = MISTAKES + 10
    right = np.arange(n) % 3 == 0
    sure = np.linspace(0.55, 0.95, n)
    predicted = np.stack([sure, 1 - sure], axis=1)
    target = np.where(right[:, None], [[1, 0]], [[0, 1]])
    told = mistakes(given(TOPIC, predicted, target), records(n))
    expected = [i for i in np.argsort(-sure) if not right[i]][:MISTAKES]
    assert [m["id"] for m in told] == [f"r{i}" for i in expected]
    assert told[0]["label"] == "home" and told[0]["prediction"] == "=work"
    assert told[0]["probability"] == pytest.approx(sure[expected[0]])


def test_the_largest_errors_of_a_number_have_no_probability_and_long_texts_are_cut():
    part = [{"id": 7, "text": "x" * (CHARACTERS + 5)}, {"id": 8, "text": "short"}]
    told = mistakes(given(RATING, [[1.0], [1.0]], [[1.5], [9.0]], spread=np.ones(1)), part)
    assert [(m["id"], m["label"], m["probability"]) for m in told] == [
        ("8", "9", None),
        ("7", "1.5", None),
    ]
    assert told[1]["text"] == "x" * CHARACTERS + "…"


def test_the_table_holds_every_record_and_no_cell_is_a_formula():
    topic = given(TOPIC, [[0.9, 0.1], [0.3, 0.7]], [[1, 0], UNKNOWN])
    rating = given(RATING, [[-1.25], [2.0]], [[np.nan], [3.5]], spread=np.ones(1))
    part = [{"id": "@a", "text": '=SUM(1)\n"quoted", and more'}, {"id": "b", "text": "plain"}]
    table = predictions_table([topic, rating], part)
    rows = [*csv.reader(io.StringIO(table, newline=""))]
    assert rows.pop(0) == [
        *("id", "text", "topic.label", "topic.prediction", "topic.probability"),
        *("rating.label", "rating.prediction"),
    ]
    assert rows == [
        ["'@a", '\'=SUM(1)\n"quoted", and more', "'=work", "'=work", "0.9", "", "-1.25"],
        ["b", "plain", "", "home", "0.7", "3.5", "2.0"],
    ]
