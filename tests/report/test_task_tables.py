"""The tables of the results: order, cells, and values of every type as readers see them."""

from __future__ import annotations

import pytest
from report_inputs import synthetic

from redheart.report.contents import hyperparameters
from redheart.report.task_tables import (
    as_text,
    class_scores_table,
    cut,
    mistakes_table,
    percent,
    scores_table,
    suspects_table,
)
from redheart.report.training_tables import hyperparameters_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("joy", "joy"),
        (0.123456, "0.123"),
        (3, "3"),
        (True, "True"),
        (["a", "b"], "a, b"),
        ([], "none"),
        ({"a": 0.5, "b": 1}, "a 0.5, b 1"),
    ],
)
def test_a_label_of_any_kind_is_words(value, text):
    assert as_text(value) == text


def test_long_texts_are_cut_and_short_ones_are_not():
    assert cut("a" * 240) == "a" * 240 and cut("a b" * 100, 5) == "a ba …"
    assert percent(0.256) == "26 %" and percent(0.0234, 1) == "2.3 %"


def titles(table):
    return [column.title for column in table.columns]


def test_the_classes_of_a_task_begin_with_the_lowest_f1():
    inputs = synthetic()
    table = class_scores_table(inputs.assessment, inputs.decisions, "verdict")
    f1 = [row[titles(table).index("F1")] for row in table.rows]
    assert f1 == sorted(f1) and "threshold" not in titles(table)


def test_labels_have_their_thresholds():
    inputs = synthetic()
    table = class_scores_table(inputs.assessment, inputs.decisions)
    by_task = {row[0]: row[-1] for row in table.rows}
    assert titles(table)[-1] == "threshold"
    assert (by_task["topics"], by_task["verdict"]) == (0.31, None)
    assert class_scores_table(inputs.assessment, {}, "topics").rows  # an older run has none


def test_every_task_has_a_row_with_its_interval():
    assessment = synthetic().assessment
    rows = {row[0]: row for row in scores_table(assessment).rows}
    verdict = assessment["tasks"]["verdict"]
    assert rows["verdict"][1:6] == (
        "macro-F1", 200, verdict["score"], verdict["low"], verdict["high"],
    )  # fmt: skip


def test_mistakes_of_the_page_are_cut_and_those_of_the_files_are_whole():
    assessment = synthetic().assessment
    whole = [row[-1] for row in mistakes_table(assessment).rows]
    shown = [row[-1] for row in mistakes_table(assessment, "verdict").rows]
    assert max(map(len, whole)) > 240 >= max(map(len, shown)) - 2
    assert "sure by" in titles(mistakes_table(assessment, "verdict"))
    assert "sure by" not in titles(mistakes_table(assessment, "regret"))


def test_the_tasks_take_turns_among_the_most_suspicious():
    suspects = synthetic(searched=True).suspects
    rows = suspects_table(suspects, 7).rows
    assert [row[1] for row in rows[:6]] == [*suspects["tasks"], "emotion"]
    assert [row[0] for row in rows] == ["s0"] * 5 + ["s1"] * 2
    assert suspects_table({"tasks": {}}, 7).rows == ()


def test_the_suspected_come_before_the_merely_suspicious_and_are_marked():
    def record(name, suspected):
        words = dict.fromkeys(("part", "label", "model_says", "text"), "x")
        return {"id": name, "suspected": suspected, "confidence": 0.1, **words}

    tasks = {
        "a": {"records": [record("a0", True), record("a1", False)]},
        "b": {"records": [record("b0", True), record("b1", True), record("b2", False)]},
    }
    table = suspects_table({"tasks": tasks}, 4)
    assert [row[0] for row in table.rows] == ["a0", "b0", "b1", "a1"]
    assert table.marked == {0, 1, 2}


def test_hyperparameters_are_what_changes_a_result():
    config = {
        "train": {"epochs": 3, "device": "cpu", "devices": 1}, "store": {"path": "x"},
        "model": {"pretrained": None}, "seeds": [0, 1], "split": {"keep": "a", "test": 0.1},
    }  # fmt: skip
    values = hyperparameters(config)
    assert set(values) == {"train.epochs", "model.pretrained", "seeds", "split.test"}
    rows = dict(hyperparameters_table(values).rows)
    assert rows["model.pretrained"] == "null" and rows["seeds"] == "[0, 1]"
