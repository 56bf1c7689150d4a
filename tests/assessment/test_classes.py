"""Each class's numbers against scikit-learn's, and the confused pairs against counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn import metrics

from redheart.assessment.classes import (
    CONFUSED_PAIRS,
    LARGEST_MATRIX,
    class_rows,
    confusion,
    f1_scores,
    mean_of,
    one_hot,
)
from redheart.tasks.metrics import macro_f1
from redheart.tasks.task import Task

TOPIC = Task("topic", "multiclass", "topic", ("a", "b", "c", "never"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))


def drawn(seed=0, n=80):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[truth]
    logits[:, 3] -= 99
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, scores


def test_every_number_of_a_class_is_the_one_of_scikit_learn():
    truth, scores = drawn()
    chosen = scores.argmax(axis=1)
    rows = class_rows(TOPIC, np.eye(4)[[0, 0, 1]], np.eye(4)[truth], one_hot(scores) == 1, scores)
    assert [row["train"] for row in rows] == [2, 1, 0, 0]
    table = metrics.precision_recall_fscore_support(truth, chosen, labels=range(3))
    for k, row in enumerate(rows[:3]):
        found = [row[key] for key in ("precision", "recall", "f1", "support")]
        assert found == pytest.approx([column[k] for column in table])
        assert row["predicted"] == (chosen == k).sum()
        precision = metrics.average_precision_score(truth == k, scores[:, k])
        assert row["average_precision"] == pytest.approx(precision)
    numbers = ("precision", "recall", "f1", "average_precision")
    assert [rows[3][key] for key in numbers] == [None] * 4
    assert mean_of(rows, "f1") == pytest.approx(
        macro_f1(scores, np.eye(4)[truth], np.ones((1, len(truth))))[0]
    )


def test_micro_and_macro_f1_of_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    true = (rng.random((60, 3)) < [0.5, 0.2, 0.0]).astype(float)
    scores = rng.random((60, 3)) * [1, 1, 0.1]
    chosen = scores >= [0.3, 0.6, 0.5]
    found = f1_scores(class_rows(TAGS, true, true, chosen, scores))
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(true, chosen, average="micro"))
    expected = metrics.f1_score(true, chosen, average="macro", zero_division=np.nan)
    assert found["macro_f1"] == pytest.approx(expected)


def test_an_unknown_label_is_not_counted():
    true = np.array([[1, 0, 0], [1, np.nan, 0], [np.nan, 1, 0]])
    chosen = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0]], dtype=bool)
    x, y, z = class_rows(TAGS, true, true, chosen, chosen * 0.9)
    assert (x["support"], x["predicted"], x["recall"]) == (2, 1, 0.5)
    assert (y["support"], y["predicted"], y["precision"]) == (1, 2, 0.5)
    assert z["f1"] is None and x["train"] == 2
    assert f1_scores([x, y, z])["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))


def test_nothing_known_gives_no_number():
    unknown = np.full((3, 3), np.nan)
    rows = class_rows(TAGS, unknown, unknown, np.ones((3, 3), dtype=bool), np.ones((3, 3)))
    assert f1_scores(rows) == {"micro_f1": None, "macro_f1": None}


def test_the_matrix_is_the_one_of_scikit_learn_and_the_pairs_are_its_largest_cells():
    truth, scores = drawn(2)
    chosen = scores.argmax(axis=1)
    found = confusion(TOPIC, truth, chosen)
    assert found["confusion"]["classes"] == list(TOPIC.classes)
    counts = metrics.confusion_matrix(truth, chosen, labels=range(4))
    assert found["confusion"]["counts"] == counts.tolist()
    cells = Counter(
        (TOPIC.classes[t], TOPIC.classes[c]) for t, c in zip(truth, chosen, strict=True)
    )
    told = {(pair["true"], pair["predicted"]): pair["count"] for pair in found["confused"]}
    assert told == {pair: count for pair, count in cells.items() if pair[0] != pair[1]}
    assert [*told.values()] == sorted(told.values(), reverse=True)
    first = found["confused"][0]
    assert first["share"] == first["count"] / (truth == TOPIC.classes.index(first["true"])).sum()


def test_of_many_classes_there_are_the_worst_pairs_and_no_matrix():
    many = Task("many", "multiclass", "many", tuple(map(str, range(LARGEST_MATRIX + 1))))
    truth = np.arange(many.width)
    found = confusion(many, truth, (truth + 1) % many.width)
    assert found["confusion"] is None
    assert len(found["confused"]) == CONFUSED_PAIRS
    assert confusion(many, truth[:0], truth[:0]) == {"confusion": None, "confused": []}


def test_the_first_of_equal_shares_counts_and_an_unlabelled_row_stays_unknown():
    hot = one_hot(np.array([[0.5, 0.5, 0], [np.nan] * 3]))
    assert hot[0].tolist() == [1, 0, 0]
    assert np.isnan(hot[1]).all()
