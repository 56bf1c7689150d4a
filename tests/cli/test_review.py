"""redheart review: the dialogue and the table, and that no decision is ever lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from redheart.cli import review
from redheart.cli.main import main
from redheart.data.corrections import Corrections
from redheart.tasks.task import parse_tasks

TASKS = {
    "verdict": {"kind": "multiclass", "field": "label", "classes": ["good", "bad", "so-so"]},
    "tags": {"kind": "multilabel", "field": "tags", "classes": ["x", "y", "z"]},
    "rating": {"kind": "regression", "field": "rating"},
}
RECORDS = [
    {"id": "a", "text": "one\x1b[2J\ntwo", "label": "good", "tags": ["x"], "rating": 1},
    {"id": "b", "text": "three", "label": "bad", "tags": [], "rating": 2.5},
    {"id": "c", "text": "four", "label": "bad"},
]
UNNAMED = {"text": "four", "confidence": 0.2, "suspected": False}
ROWS = [
    ("a", "train", "label", "good", "bad"),
    ("b", "train", "label", "bad", "good"),
    ("a", "train", "tags", "x", "x|y"),
    ("b", "train", "rating", "2.5", "1.1"),
    ("t", "test", "label", "bad", "good"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run with suspects; the working folder is beside it."""
    folder = tmp_path / "results" / "mine"
    (folder / "data" / "split").mkdir(parents=True)
    (folder / "tables").mkdir()
    (folder / "config.json").write_text(json.dumps({"tasks": TASKS, "data": {"corrections": None}}))
    (folder / "data/split/train.json").write_text(json.dumps(RECORDS))
    (folder / "data/split/test.json").write_text(json.dumps([{**RECORDS[1], "id": "t"}]))
    texts = {record["id"]: record["text"] for record in RECORDS}
    with open(folder / "tables/suspects.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "part", "field", "text", "label", "model_says", "confidence"])
        for identity, part, field, label, says in ROWS:
            writer.writerow([identity, part, field, texts.get(identity, "t"), label, says, 0.1])
    others = [
        {**dict(zip(("id", "part", "field", "label", "model_says"), row, strict=True)), **UNNAMED}
        for row in (("c", "train", "label", "bad", "good"), ("t", "test", "label", "bad", "good"))
    ]
    content = {"tasks": {"verdict": {"records": others}, "tags": {"records": []}}}
    (folder / "suspects.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def answer(monkeypatch):
    """Return a function that answers the questions to come; then the person interrupts."""

    def prepare(*answers):
        left = list(answers)

        def answered():
            if not left:
                raise KeyboardInterrupt
            return left.pop(0)

        monkeypatch.setattr("builtins.input", answered)

    return prepare


def lines(path="fixes.csv"):
    with open(path, newline="") as stream:
        return [tuple(row) for row in csv.reader(stream)][1:]


def test_every_answer_is_a_line_that_the_run_understands(run, answer, capsys, tmp_path):
    answer("2", "", "1 3", "0.5", "3")
    assert main(["review", "mine"]) == 0
    assert lines() == [
        ("a", "label", "bad"),
        ("b", "label", "bad"),
        ("a", "tags", "x|z"),
        ("b", "rating", "0.5"),
        ("c", "label", "so-so"),
    ]
    said = capsys.readouterr().out
    assert "fixes.csv: 5 decided now, 0 left" in said and "data: {corrections: fixes.csv}" in said
    assert "\x1b" not in said and "one [2J two" in said
    corrections = Corrections("fixes.csv", parse_tasks(TASKS))
    mended = [corrections.applied_to(record) for record in RECORDS]
    assert [m["label"] for m in mended] == ["bad", "bad", "so-so"]
    assert [m["tags"] for m in mended[:2]] == [["x", "z"], []] and mended[1]["rating"] == 0.5
    assert corrections.report()["changed"] == 4


def test_a_review_is_interrupted_and_goes_on(run, answer, capsys):
    answer("2")  # then Ctrl-C
    assert main(["review", "mine"]) == 0
    assert lines() == [("a", "label", "bad")] and "1 decided now, 4 left" in capsys.readouterr().out
    answer("m", "q")
    assert main(["review", "mine"]) == 0
    assert lines() == [("a", "label", "bad"), ("b", "label", "good")]
    answer("m", "k", "1")
    assert main(["review", "mine"]) == 0
    assert lines()[2:] == [
        ("a", "tags", "x|y"),
        ("b", "rating", "2.5"),
        ("c", "label", "good"),
    ]
    answer()
    assert main(["review", "mine"]) == 0
    assert "0 decided now, 0 left" in capsys.readouterr().out


def test_a_dropped_record_is_asked_about_no_more(run, answer):
    answer("d", "k", "k", "k")
    assert main(["review", "mine"]) == 0
    assert lines() == [
        ("a", "", "drop"),
        ("b", "label", "bad"),
        ("b", "rating", "2.5"),
        ("c", "label", "bad"),
    ]


def test_an_answer_that_is_no_label_is_asked_again(run, answer, capsys):
    answer("9", "goood", "3", "q")
    assert main(["review", "mine"]) == 0
    assert lines() == [("a", "label", "so-so")]
    said = capsys.readouterr().out
    assert "there is no label 9; expected 1 to 3" in said and "did you mean 'good'?" in said


def test_records_of_test_are_asked_about_only_where_that_is_wished(run):
    config = json.loads((run / "config.json").read_text())
    parts = [{s.row["part"] for s in review.read_suspects(run, config, w)} for w in (False, True)]
    assert parts == [{"train"}, {"train", "test"}]


def test_a_table_is_filled_in_and_understood(run, capsys, answer):
    assert main(["review", "mine", "--csv", "table.csv"]) == 0
    table = Path("table.csv")
    text = table.read_text()
    assert text.splitlines()[0] == "id,field,value,part,label,model_says,confidence,text"
    empty = Corrections("table.csv", parse_tasks(TASKS))
    assert empty.undecided == 5 and not empty.by_id
    table.write_text(text.replace("b,label,,", "b,label,good,"))
    corrections = Corrections("table.csv", parse_tasks(TASKS))
    assert corrections.applied_to(RECORDS[1])["label"] == "good"
    assert main(["review", "mine", "--csv", "table.csv"]) == 1
    assert "is there already, and may be filled in" in capsys.readouterr().err
    # The dialogue goes on with a table that is half filled in.
    answer("d")
    assert main(["review", "mine", "--file", "table.csv"]) == 0
    assert Corrections("table.csv", parse_tasks(TASKS)).applied_to(RECORDS[0]) is None


def test_a_run_without_suspects_says_what_to_do(run, capsys):
    (run / "tables/suspects.csv").unlink()
    assert main(["review", "mine"]) == 1
    assert "run it to the end, with data_map.enabled: true" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "id,field,value\na,label,bad",
        "id;field;value\r\na;label;bad\r\n",
        "\ufeffvalue;note;id;field\nbad;so;a;label",
    ],
)
def test_a_table_from_another_program_is_continued(run, answer, content):
    Path("fixes.csv").write_bytes(content.encode())
    answer("2")
    assert main(["review", "mine"]) == 0
    found = Corrections("fixes.csv", parse_tasks(TASKS)).by_id
    assert found["a"][0].value == "bad"
    assert found["b"][0].value == "bad"


def test_a_drop_beside_a_field_is_a_decision_about_the_record(run, answer, capsys):
    Path("fixes.csv").write_text("id,field,value\na,label,drop\n")
    answer("q")
    assert main(["review", "mine"]) == 0
    assert "1 of 3: b " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("fixes.jsonl", '{"id": "a"}\n', "decisions are lines of a table"),
        ("fixes.csv.gz", None, "decisions are lines of a table"),
        ("fixes.csv", "id,field\na,label\n", "names no column 'value'"),
        ("fixes.csv", '{"id": "a", "field": "label", "value": "bad"}\n', "names no column 'id'"),
        ("none/fixes.csv", None, "cannot be written"),
    ],
)
def test_a_file_that_takes_no_decisions_is_refused_before_one_is_made(
    run, capsys, name, content, said
):
    if content:
        Path(name).write_text(content)
    assert main(["review", "mine", "--file", name]) == 1
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""
    assert Path(name).exists() == bool(content)
    assert not content or Path(name).read_text() == content


def test_an_empty_file_is_a_new_one(run, answer):
    Path("fixes.csv").write_text("")
    answer("k")
    assert main(["review", "mine"]) == 0
    assert lines() == [("a", "label", "good")]


def test_a_table_that_cannot_be_written_is_one_line(run, capsys):
    assert main(["review", "mine", "--csv", "none/fixes.csv"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_message_commands_no_terminal(run, capsys):
    assert main(["review", "mine", "--file", "fi\x1b[2Jxes"]) == 1
    said = capsys.readouterr().err
    assert "fi\\x1b[2Jxes" in said and "\x1b" not in said


def test_no_text_of_the_table_acts_as_a_formula_and_the_dialogue_shows_it_as_it_is(run):
    path = run / "tables/suspects.csv"
    path.write_text(path.read_text().replace(",three,", ",'=1+1,"))
    config = {"tasks": TASKS}
    assert "=1+1" in [one.row["text"] for one in review.read_suspects(run, config, False)]
    review.write_table(Path("t.csv"), review.read_suspects(run, config, False))
    with open("t.csv", newline="") as stream:
        texts = {row["id"]: row["text"] for row in csv.DictReader(stream)}
    assert texts["b"] == "'=1+1"
