"""Answers as they are written."""

from __future__ import annotations

import csv
import io
import json

from hypothesis import given
from hypothesis import strategies as st

from redheart.data.sources import read_items
from redheart.serving.outputs import JsonLines, Table, Words, kept
from redheart.tasks.task import Task

ANSWER = {"topic": {"label": "a", "probability": 0.5, "probabilities": {"a": 0.5, "b": 0.25}}}


def test_a_task_named_as_the_text_leaves_the_text_under_another_name():
    answer = {"text": ANSWER["topic"], "id": ANSWER["topic"]}
    record = {"id": 1, "text": "she lied", "given_id": 2}
    assert kept(record, answer) == {"given_given_id": 1, "given_text": "she lied", "given_id": 2}
    stream = io.StringIO()
    JsonLines(stream).write(record, answer)
    assert json.loads(stream.getvalue())["text"]["label"] == "a"


@given(st.dictionaries(st.sampled_from(["a", "b", "given_a", "given_given_a"]), st.integers()))
def test_no_field_is_lost_whatever_the_tasks_are_named(record):
    answer = {"a": {"label": "x"}, "given_a": {"label": "y"}}
    found = kept(record, answer)
    assert sorted(found.values()) == sorted(record.values())
    assert not found.keys() & answer.keys()


def test_a_table_is_read_again_as_it_was(tmp_path):
    """By the rules of a run's sources: dots make objects, JSON is read as such."""
    record = {"id": "7", "text": 'a "b",\nc', "tags": ["x", "y"], "deep": {"er": 1.5}, "none": None}
    with open(tmp_path / "out.csv", "w", encoding="utf-8", newline="") as stream:
        table = Table(stream)
        table.write(record, ANSWER)
        table.write({**record, "id": "8", "deep": {}}, ANSWER)
    (_, first), (_, second) = read_items(tmp_path / "out.csv", {"id", "text"})
    assert first == {**{k: v for k, v in record.items() if v is not None}, **ANSWER}
    assert (second["id"], "er" in second.get("deep", {})) == ("8", False)


def test_the_columns_of_a_table_that_is_read_stay_in_their_order():
    stream, fields = io.StringIO(), []
    table = Table(stream, fields)
    fields += ["z", "topic", "topic.x", "text"]  # known when the first row is read
    table.write({"topic": "mine", "text": "a"}, ANSWER)
    header, row = csv.reader(io.StringIO(stream.getvalue()))
    assert header[:5] == ["z", "given_topic", "given_topic.x", "text", "topic.label"]
    assert row[:5] == ["", "mine", "", "a", "a"]


def test_words_show_a_long_text_cut_and_no_command_for_a_terminal():
    stream = io.StringIO()
    tasks = [Task("topic", "multiclass", "topic", ("a\x1b]0;x", "b"))]
    answer = {"topic": {"label": "a\x1b]0;x", "probabilities": {"a\x1b]0;x": 0.75, "b": 0.25}}}
    Words(stream, tasks).write({"text": "she\tlied\n" + "x" * 300}, answer)
    text, said = stream.getvalue().splitlines()
    assert text == "she lied " + "x" * 191 + "..."
    assert said == "  topic  a\\x1b]0;x (a\\x1b]0;x 0.75, b 0.25)"
