"""What the config names and no record has: refused with the nearest name, or allowed by name."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from redheart.data.reading import read_source
from redheart.data.records import RecordOptions, read_jsonl
from redheart.errors import UserError
from redheart.tasks.task import Task, parse_tasks

TAGS = Task("tags", "multilabel", "tags", ("joy", "anger", "suprise"))
TOPIC = Task("topic", "multiclass", "label", ("a", "b"))


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.fixture
def read(tmp_path: Path):
    """Read items as JSON Lines, or the bytes of a table; what is kept."""

    def read(content, *tasks: Task, name: str = "in.jsonl", stratify_by=None, **options):
        if not isinstance(content, bytes):
            content = b"".join(json.dumps(item).encode() + b"\n" for item in content)
        (tmp_path / name).write_bytes(content)
        arguments = (tmp_path / name, tmp_path / "out", tasks, RecordOptions(**options))
        read_source(*arguments, stratify_by)
        return read_jsonl(tmp_path / "out")

    return read


def refusal(read, *given, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(*given, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).rpartition("/in")[2].partition(": ")[2]


def tagged(*labels):
    return [{"text": f"text {i}", "tags": value} for i, value in enumerate(labels)]


@pytest.mark.parametrize(
    "labels",
    [
        [{"joy": 1, "anger": 0, "surprise": 0}, {"joy": 0, "anger": 1, "surprise": 1}],
        [{"joy": 1, "anger": 0, "suprise": 0, "surprise": 1}, {"joy": 0, "anger": 1, "suprise": 0}],
        [{"joy": True, "anger": False, "surprise": True}, {"joy": False, "anger": True}],
    ],
)
def test_a_class_that_no_record_has_is_refused_with_the_nearest_name(read, labels) -> None:
    assert refusal(read, tagged(*labels), TAGS) == (
        "task 'tags': no record has a label of 'suprise' (did you mean 'surprise'?); mend the "
        "name, or set data: {allow: [suprise]} if it is meant"
    )
    for name in ("suprise", "tags"):
        assert len(read(tagged(*labels), TAGS, allow=(name,))) == 2


@pytest.mark.parametrize(
    ("task", "values", "absent"),
    [
        (TOPIC, ["a", "a", "c"], "label of 'b'"),
        (TAGS, [["joy"], ["anger"], ["surprise"]], "label of 'suprise' (did you mean 'surprise'?)"),
        (Task("mood", "distribution", "label", ("x", "y")), [{"x": 1}, {"x": 3, "z": 0}], "label of 'y'"),
        (Task("counts", "distribution", "label", ("x", "y"), normalize=True), [{"x": 1, "yy": 2}], "label of 'y' (did you mean 'yy'?)"),
        (Task("scores", "regression", "label", ("x", "y")), [{"x": 0.5, "Y": 1}, [0.0, None]], "value of 'y' (did you mean 'Y'?)"),
    ],
)  # fmt: skip
def test_classes_of_every_kind_are_looked_for(read, task, values, absent) -> None:
    items = [{"text": f"text {i}", task.field: value} for i, value in enumerate(values)]
    message = refusal(read, items, task, max_rejected_share=0.9)
    assert f"task '{task.name}': no record has a {absent};" in message


@pytest.mark.parametrize(
    ("task", "values", "told"),
    [
        (TOPIC, ["a", "a"], "b"),
        (TAGS, [["joy"], ["anger"], {"joy": 0, "suprise": 0}], "suprise"),
        (Task("mood", "distribution", "label", ("x", "y")), [{"x": 1}, {"x": 3, "y": 0}], "y"),
    ],
)
def test_a_class_that_no_record_has_and_none_misspells_is_told(read, capsys, task, values, told):
    items = [{"text": f"text {i}", task.field: value} for i, value in enumerate(values)]
    assert read(items, task, max_rejected_share=0.9)
    said = capsys.readouterr().err
    assert f"task '{task.name}': no record has a label of {told}, which will" in said
    read(items, task, max_rejected_share=0.9, allow=(told,))
    assert capsys.readouterr().err == ""


def test_zero_is_a_value_of_a_number_and_shares_of_a_transform_are_no_outputs(read) -> None:
    scores = Task("scores", "regression", "label", ("x", "y"))
    entropy = Task("doubt", "regression", "label", ("x", "y", "z"), transform="normalized_entropy")
    assert read([{"text": "t", "label": [0, 0.5]}, {"text": "u", "label": [1, 2]}], scores)
    assert read([{"text": "t", "label": [1, 2, 0]}, {"text": "u", "label": [1, 1, 0]}], entropy)


def test_a_class_that_is_only_ever_1_is_refused(read) -> None:
    columns = {f"tags.{name}": name for name in "abc"}
    tags = Task("tags", "multilabel", "tags", ("a", "b", "c"))
    table = b"text,a,b,c\nt,1,,\nu,,1,0\nv,,,1\n"
    message = refusal(read, table, tags, name="in.csv", columns=columns)
    assert message == (
        "task 'tags': a, b is 1 in every record that has a value for it; an empty cell and null "
        'are no 0 but an unknown label: write the 0, or set data: {allow: ["a", "b"]} if it is meant'
    )
    assert len(read(table, tags, name="in.csv", columns=columns, allow=("a", "b"))) == 3


def test_a_field_to_stratify_by_that_no_record_has_is_refused(read) -> None:
    items = [{"text": "t", "label": "a", "topic": "x"}, {"text": "u", "label": "b", "topic": " "}]
    assert refusal(read, items, TOPIC, stratify_by="topik") == (
        "stratify_by: no record has a value in 'topik' (did you mean 'topic'?); the records have "
        "the fields label, text, topic; name one of them, or null for none"
    )
    assert len(read(items, TOPIC, stratify_by="topik", allow=("topik",))) == 2
    assert len(read(items, TOPIC, stratify_by="topic")) == 2


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("Text,Label", "(did you mean 'Text'?); the source has Label, Text; name the column in the config, data: {columns: {text: Text, label: Label}}"),
        ("TEXT,label", "(did you mean 'TEXT'?); the source has TEXT, label; name the column in the config, data: {columns: {text: TEXT}}"),
        ("body text,label", "(did you mean 'body text'?); the source has body text, label; name the column in the config, data: {columns: {text: \"body text\"}}"),
        ("review,label", "; the source has label, review; name the column in the config, data: {columns: {text: COLUMN}}; if line 1 is a record, put a line with the columns' names above it"),
    ],
)  # fmt: skip
def test_a_source_without_a_text_says_what_it_has(read, header, told) -> None:
    table = f"{header}\none,a\ntwo,b\n".encode()
    assert (
        refusal(read, table, TOPIC, name="in.csv")
        == f"no record has a text in 'text'{' ' * (told[0] == '(')}{told}"
    )


@pytest.mark.parametrize("header", ["text|label", "sep=;\ntext;label"])
def test_a_table_whose_cells_are_not_separated_says_so(read, header) -> None:
    assert refusal(read, f"{header}\none|a\ntwo|b\n".encode(), TOPIC, name="in.csv") == (
        f"line 1 makes a single column, {header.split(';')[0]}; put commas, semicolons or "
        "tabs between the cells of a .csv, and tabs between those of a .tsv"
    )


def test_names_of_a_message_are_few_and_short(read) -> None:
    message = refusal(read, [{"x" * 1000: 1, **{f"n{i}": i for i in range(100)}}], TOPIC)
    assert len(message) < 400
    assert "and 81 more" in message


def test_labels_and_fields_in_nfd_are_those_in_nfc(read) -> None:
    options = {"kind": "multiclass", "field": "감정", "classes": ["긍정", nfd("부정")]}
    (task,) = parse_tasks({"mood": options})
    items = [
        {nfd("본문"): "하나", nfd("감정"): nfd("긍정")},
        {"본문": nfd("둘"), "감정": "부정"},
    ]
    records = read(items, task, columns={"text": nfd("본문")}, stratify_by=nfd("감정"))
    assert [record["text"] for record in records] == ["하나", nfd("둘")]
    table = f"text,{nfd('감정')}\none,{nfd('긍정')}\ntwo,부정\n".encode()
    assert len(read(table, task, name="in.csv")) == 2
    with pytest.raises(UserError, match="'긍정' stands twice, in two spellings"):
        parse_tasks({"mood": {**options, "classes": ["긍정", nfd("긍정")]}})


def test_a_field_in_both_spellings_is_refused(read) -> None:
    items = [{"text": "one", "é": 1, nfd("é"): 2}, {"text": "two"}]
    with pytest.raises(UserError, match="field 'é' stands twice"):
        read(items, max_rejected_share=0.4)


def test_a_name_with_a_dot_is_a_name_before_it_is_a_path(read) -> None:
    task = Task("topic", "multiclass", "meta.topic", ("a", "b"))
    assert (
        len(read([{"text": "t", "meta.topic": "a"}, {"text": "u", "meta": {"topic": "b"}}], task))
        == 2
    )
    tags = Task("tags", "multilabel", "tags", ("U.S.", "b"))
    table = b"text,tags.U.S.,tags.b\nt,1,0\nu,0,1\n"
    assert len(read(table, tags, name="in.csv")) == 2
