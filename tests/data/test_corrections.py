"""Corrections: lines that change labels or drop records, and every way in which one is refused."""

from __future__ import annotations

import json
import re

import pytest

from redheart.data.corrections import Corrections, as_cell
from redheart.data.reading import read_source
from redheart.data.records import RecordOptions, read_jsonl, write_jsonl
from redheart.errors import UserError
from redheart.tasks.task import Task

VERDICT = Task("verdict", "multiclass", "label", ("good", "bad"))
TAGS = Task("tags", "multilabel", "meta.tags", ("x", "y", "z"))
RATING = Task("rating", "regression", "rating")
MOOD = Task("mood", "distribution", "mood", ("calm", "tense"), normalize=True)
TASKS = (VERDICT, TAGS, RATING, MOOD)
RECORDS = [
    {"id": "r1", "text": "one", "label": "good", "meta": {"tags": ["x"]}, "rating": 1},
    {"id": "r2", "text": "two", "label": "bad", "meta": {"tags": ["y", "z"]}, "rating": 2},
    {"id": "r3", "text": "three", "label": "bad", "meta": {"tags": []}, "mood": [3, 1]},
    {"text": "four", "label": "good", "rating": 4.5},
]


@pytest.fixture
def corrected(tmp_path):
    """Return a function that reads the records with a file of corrections."""

    def read(lines, tasks=TASKS, records=RECORDS, name="fixes.csv"):
        write_jsonl(tmp_path / "source.jsonl", records)
        (tmp_path / name).write_text("id,field,value\n" + lines if name[-1] == "v" else lines)
        report = read_source(
            *(tmp_path / "source.jsonl", tmp_path / "records.jsonl", tasks, RecordOptions()),
            corrections=tmp_path / name,
        )
        return {r["id"]: r for r in read_jsonl(tmp_path / "records.jsonl")}, report

    return read


def test_labels_of_every_kind_are_changed(corrected):
    records, report = corrected(
        "r1,label,bad\nr1,meta.tags,y|z\nr1,rating,3.5\n"
        'r3,mood,"[1, 3]"\nr2,meta.tags,[]\nr3,meta.tags,x\n'
    )
    assert records["r1"]["label"] == "bad" and records["r1"]["rating"] == 3.5
    assert [records[f"r{i}"]["meta"]["tags"] for i in (1, 2, 3)] == [["y", "z"], [], ["x"]]
    assert records["r3"]["mood"] == [1, 3]
    assert report["corrections"]["changed"] == 6 and report["corrections"]["dropped"] == 0
    assert report["corrections"]["applied"][0] == {
        "id": "r1", "field": "label", "before": "good", "after": "bad"
    }  # fmt: skip


@pytest.mark.parametrize("line", ["r2,label,drop", "r2,,drop"])
def test_a_record_is_dropped(corrected, line):
    records, report = corrected(f"{line}\n")
    assert sorted(records) == ["r1", "r3", "record-000004"]
    assert report["corrections"]["applied"] == [{"id": "r2", "dropped": True}]
    assert (report["read"], report["kept"], report["rejected_count"]) == (4, 3, 0)


def test_a_class_that_is_called_drop_is_a_class_where_a_field_is_named(corrected):
    sale = Task("sale", "multiclass", "label", ("drop", "rise"))
    records = [
        {"id": n, "text": n, "label": label}
        for n, label in zip("abc", ["rise", "drop", "rise"], strict=True)
    ]
    found, report = corrected("a,label,drop\nc,,drop\n", (sale,), records)
    assert {n: r["label"] for n, r in found.items()} == {"a": "drop", "b": "drop"}
    assert (report["corrections"]["changed"], report["corrections"]["dropped"]) == (1, 1)


def test_a_label_that_was_refused_can_be_mended_and_a_missing_one_given(corrected):
    records = [*RECORDS, {"id": "r5", "text": "five", "label": "baad"}, {"id": "r6", "text": "six"}]
    found, report = corrected(
        "r5,label,bad\nr6,label,good\nrecord-000004,label,bad\n", TASKS, records
    )
    assert [found[n]["label"] for n in ("r5", "r6", "record-000004")] == ["bad", "good", "bad"]
    assert report["rejected_count"] == 0 and report["missing_ids"] == 1


def test_what_is_undecided_or_so_already_changes_nothing(corrected):
    records, report = corrected("r1,label,\nr2,label,bad\n")
    assert records["r1"]["label"] == "good"
    assert report["corrections"] == {
        "file": "fixes.csv", "changed": 0, "dropped": 0, "undecided": 1, "applied": []
    }  # fmt: skip


def test_json_lines_are_read_too(corrected):
    line = json.dumps({"id": "r1", "field": "meta.tags", "value": ["z"]})
    assert corrected(f"{line}\n", name="fixes.jsonl")[0]["r1"]["meta"]["tags"] == ["z"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("r11,label,bad\n", r"fixes.csv: line 2: no record has the id 'r11'; did you mean 'r1'\?"),
        ("zzzzzz,label,bad\n", "no record has the id 'zzzzzz'; the ids: r1, r2, r3, record-000004"),
        ("r1,lable,bad\n", r"line 2: no task reads the field 'lable'; did you mean 'label'\?"),
        ("r1,label,baad\n", r"line 2: field 'label': unknown class 'baad'; did you mean 'bad'\?"),
        ("r1,meta.tags,x|q\n", r"field 'meta.tags': unknown class 'q'; expected one of"),
        ("r1,rating,high\n", "field 'rating': expected a number, got 'high'"),
        ("r1,,bad\n", "record 'r1' has a value and no field; name the field, or write drop"),
        (",label,bad\n", "expected an id, a field and a value"),
        ("r1,label,bad\nr1,label,good\n", "line 3: says of record 'r1' something else than line 2"),
        ("r1,label,bad\nr1,,drop\n", "line 3: says of record 'r1' something else than line 2"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(corrected, lines, message):
    with pytest.raises(UserError, match=message) as refused:
        corrected(lines)
    assert "\n" not in str(refused.value)


def test_the_same_line_twice_is_one(corrected):
    assert corrected("r1,label,bad\nr1,label,bad\n")[1]["corrections"]["changed"] == 1


@pytest.mark.parametrize(
    ("task", "value"),
    [
        (VERDICT, "good"),
        (TAGS, ["x", "z"]),
        (TAGS, ["x"]),
        (TAGS, []),
        (RATING, 2.5),
        (MOOD, [3, 1]),
        (MOOD, {"calm": 3, "tense": 1}),
    ],
)
def test_a_cell_is_read_back(tmp_path, task, value):
    import csv

    with open(tmp_path / "fixes.csv", "w", newline="") as stream:
        csv.writer(stream).writerows(
            [["id", "field", "value"], ["r", task.field, as_cell(task, value)]]
        )
    record = Corrections(tmp_path / "fixes.csv", [task]).applied_to({"id": "r", "text": ""})
    found = record["meta"]["tags"] if task is TAGS else record[task.field]
    assert found == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,field,Value\nr1,label,bad\n", "names no column 'value'; did you mean 'Value'?"),
        ("id;field\nr1;label\n", "names no column 'value'"),
        (f"id,field,value\nr1,mood,{'[' * 10_000}\n", "line 2: field 'mood'"),
        ("id,field,value\nr1,label\n", "expected 3 cells, as in the header, got 2; mend it"),
        (
            "id,field,value\nr1,label,좋음\n",
            "it is probably CP949 (Korean); convert it with `iconv",
        ),
    ],
)
def test_a_table_of_another_program_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "fixes.csv"
    path.write_bytes(content.encode("cp949"))
    with pytest.raises(UserError, match=re.escape(message)):
        Corrections(path, TASKS).applied_to({"id": "r1", "text": "one"})
