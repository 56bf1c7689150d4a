"""`redheart predict`: texts of every format in, answers of every format out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import redheart
from redheart.cli.main import main
from redheart.selection import checksums
from redheart.serving import shipped_model

ROOT = Path(__file__).parents[2]
TASKS = {"emotion", "verdict", "tags", "regret"}
RECORDS = [
    {"id": "a", "text": "she lied about the money", "note": {"by": "me", "n": [1, 2]}},
    {"id": "b", "text": "그는\u2028갔다 😀", "note": None},
    {"text": 'why, "nobody"\ncame'},
]


def run(capsys, *arguments):
    """Exit code, standard output and standard error of one command."""
    code = main(["predict", *map(str, arguments)])
    output = capsys.readouterr()
    return code, output.out, output.err


def rows(output):
    return [json.loads(line) for line in output.split("\n") if line]


def lines_of(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(lines_of(RECORDS), "utf-8")
    return path


# --- JSON in, JSON out ------------------------------------------------------------------------


def test_every_field_is_kept_and_each_task_answers(capsys, texts, model_folder):
    code, output, errors = run(capsys, model_folder, texts)
    assert (code, errors) == (0, "")
    answered = rows(output)
    assert [list(row) for row in answered] == [
        ["id", "text", "note", *redheart.load(model_folder).classes],
        ["id", "text", "note", *redheart.load(model_folder).classes],
        ["text", *redheart.load(model_folder).classes],
    ]
    assert [{k: row[k] for k in row if k not in TASKS} for row in answered] == RECORDS
    assert answered[0]["verdict"] != answered[1]["verdict"] != answered[2]["verdict"]


def test_the_command_and_the_api_answer_the_same(capsys, texts, model_folder):
    _, output, _ = run(capsys, model_folder, texts)
    answers = redheart.load(str(model_folder)).predict([record["text"] for record in RECORDS])
    assert [{k: row[k] for k in TASKS} for row in rows(output)] == answers


def test_an_array_a_packed_file_and_a_byte_order_mark_are_read_too(capsys, tmp_path, model_folder):
    array, packed, marked = (tmp_path / name for name in ("a.json", "b.jsonl.gz", "c.jsonl"))
    array.write_text(json.dumps(RECORDS))
    packed.write_bytes(gzip.compress(lines_of(RECORDS).encode()))
    marked.write_bytes(b"\xef\xbb\xbf" + lines_of(RECORDS).replace("\n", "\r\n\r\n").encode())
    outputs = [run(capsys, model_folder, path) for path in (array, packed, marked)]
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(rows(outputs[0][1])) == 3


def test_a_field_of_a_tasks_name_is_kept_under_another_and_told_once(
    capsys, tmp_path, model_folder
):
    records = [{"text": "a", "tags": ["x"]}, {"text": "b", "tags": 1, "given_tags": 2}] * 20
    (tmp_path / "in.jsonl").write_text(lines_of(records))
    code, output, errors = run(capsys, model_folder, tmp_path / "in.jsonl")
    assert errors.splitlines() == [
        f"note: the field 'tags' of the records is kept as '{name}', since the answer of the "
        "task of that name stands in its place"
        for name in ("given_tags", "given_given_tags")
    ]
    first, second, *_ = rows(output)
    assert (code, first["given_tags"], list(first["tags"])) == (
        0,
        ["x"],
        ["labels", "probabilities"],
    )
    assert (second["given_tags"], second["given_given_tags"]) == (2, 1)


def test_answers_can_be_predicted_again(capsys, tmp_path, texts, model_folder):
    _, once, _ = run(capsys, model_folder, texts)
    (tmp_path / "once.jsonl").write_text(once, "utf-8")
    code, twice, _ = run(capsys, model_folder, tmp_path / "once.jsonl")
    assert code == 0
    for first, second in zip(rows(once), rows(twice), strict=True):
        assert {k: first[k] for k in TASKS} == {k: second[k] for k in TASKS}
        assert {k: first[k] for k in TASKS} == {k: second[f"given_{k}"] for k in TASKS}


def test_what_json_does_not_have_becomes_null_and_is_told(capsys, tmp_path, model_folder):
    (tmp_path / "in.jsonl").write_text('{"text": "a", "x": NaN, "y": {"z": [Infinity]}}\n')
    code, output, errors = run(capsys, model_folder, tmp_path / "in.jsonl")
    assert (code, rows(output)[0]["x"], rows(output)[0]["y"]) == (0, None, {"z": [None]})
    assert errors == "note: in 1 records NaN or infinity, which JSON does not have, became null\n"


def test_parquet_is_read_from_a_file_and_from_a_pipe(
    capsys, tmp_path, texts, model_folder, monkeypatch
):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows_of = [{"id": i, "text": record["text"]} for i, record in enumerate(RECORDS)]
    parquet.write_table(arrow.Table.from_pylist(rows_of), tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text(lines_of(rows_of), "utf-8")
    expected = run(capsys, model_folder, tmp_path / "in.jsonl")
    assert run(capsys, model_folder, tmp_path / "in.parquet") == expected
    for content in (
        (tmp_path / "in.parquet").read_bytes(),
        gzip.compress(lines_of(rows_of).encode()),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert run(capsys, model_folder) == expected


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf \r\n\t"], ids=repr)
@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv", "in.txt"])
def test_no_text_is_no_answer(capsys, tmp_path, model_folder, name, content):
    (tmp_path / name).write_bytes(content)
    assert run(capsys, model_folder, tmp_path / name) == (0, "", "")


# --- tables -----------------------------------------------------------------------------------


def test_a_table_becomes_a_table_with_every_cell_as_it_was(capsys, tmp_path, model_folder):
    header, first, second = (
        ["id", "body", "note", "v.x", ""],
        ["007", "she, lied", "", "1.10", "0"],
        ["8", 'a "quoted"\nline', "[1, 2]", "", "1"],
    )
    with open(tmp_path / "in.csv", "w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([header, first, second])
    arguments = model_folder, tmp_path / "in.csv", "--column", "text=body", "--format", "csv"
    code, output, errors = run(capsys, *arguments)
    assert (code, errors) == (0, "")
    names, *found = csv.reader(io.StringIO(output))
    assert names[:4] == ["id", "text", "note", "v.x"]
    assert names[4:8] == [f"emotion.{key}" for key in ("label", "margin")] + [
        "emotion.probabilities.joy",
        "emotion.probabilities.anger",
    ]
    assert [row[:4] for row in found] == [first[:4], second[:4]]
    by_name = dict(zip(names, found[0], strict=True))
    (answer,) = redheart.load(model_folder).predict(["she, lied"])
    assert by_name["verdict.label"] == answer["verdict"]["label"]
    assert float(by_name["regret.value"]) == pytest.approx(answer["regret"]["value"], rel=1e-5)
    assert by_name["regret.low"] == ""
    assert json.loads(by_name["tags.labels"]) == answer["tags"]["labels"]
    _, lines, _ = run(capsys, *arguments[:4])
    assert [list(row)[:3] for row in rows(lines)] == [["id", "v", "text"], ["id", "note", "text"]]
    assert rows(lines)[0]["v"] == {"x": "1.10"}


def test_a_table_in_a_pipe_or_under_any_name_needs_its_format_said(
    capsys, tmp_path, model_folder, monkeypatch
):
    table = "id;text\n1;she lied\n2;\n3;why\n"
    (tmp_path / "in.data").write_text(table)
    ask = ("--input-format", "csv", "--on-error", "skip", "--format", "csv")
    filed = run(capsys, model_folder, tmp_path / "in.data", *ask)
    assert (filed[0], filed[1].splitlines()[1].split(",")[:2]) == (3, ["1", "she lied"])
    assert filed[2].startswith("left out: line 3: no text in the field 'text'; the record has id;")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table.encode())))
    assert run(capsys, model_folder, *ask) == filed
    code, _, errors = run(capsys, model_folder, tmp_path / "in.data")
    assert (code, errors) == (
        1,
        f"error: {tmp_path}/in.data: begins with neither [ nor {{, so it is no JSON; say --plain "
        "for lines of text, --input-format csv or tsv for a table\n",
    )


def test_a_field_that_comes_too_late_for_the_table_is_told(capsys, tmp_path, model_folder):
    (tmp_path / "in.jsonl").write_text(lines_of([{"text": "a"}, {"text": "b", "late": 1}] * 2))
    code, output, errors = run(capsys, model_folder, tmp_path / "in.jsonl", "--format", "csv")
    assert (code, len(list(csv.reader(io.StringIO(output))))) == (0, 5)
    assert errors.startswith("warning: 'late' is no field of the first record, so the table has no")
    assert errors.count("\n") == 1


def test_a_dotted_field_never_hides_an_answer_in_a_table(capsys, tmp_path, model_folder):
    (tmp_path / "in.jsonl").write_text(lines_of([{"text": "a", "verdict.label": "mine"}]))
    _, output, _ = run(capsys, model_folder, tmp_path / "in.jsonl", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(output))
    (answer,) = redheart.load(model_folder).predict(["a"])
    assert row["given_verdict.label"] == "mine"
    assert row["verdict.label"] == answer["verdict"]["label"]


# --- lines of text, words of a command line ----------------------------------------------------


def test_plain_lines_keep_their_numbers(capsys, tmp_path, model_folder):
    content = "\ufeffshe lied\r\n\n{not json}\n  \n그는\u2028갔다\n"
    (tmp_path / "in.txt").write_bytes(content.encode())
    (tmp_path / "in.log").write_bytes(content.encode())
    code, output, errors = run(capsys, model_folder, tmp_path / "in.txt")
    assert (code, errors) == (0, "")
    assert [(row["line"], row["text"]) for row in rows(output)] == [
        (1, "she lied"),
        (3, "{not json}"),
        (5, "그는\u2028갔다"),
    ]
    assert run(capsys, model_folder, tmp_path / "in.log", "--plain") == (0, output, "")


def test_texts_of_the_command_line(capsys, model_folder):
    code, output, _ = run(capsys, model_folder, "--text", "she lied", "--text", "~nobody came")
    assert (code, [row["text"] for row in rows(output)]) == (0, ["she lied", "~nobody came"])
    code, words, _ = run(capsys, model_folder, "--text", "she \x1b[31mlied", "--format", "words")
    assert words.splitlines()[0] == "she \\x1b[31mlied"
    assert [line.split()[0] for line in words.splitlines()[1:]] == list(
        redheart.load(model_folder).classes
    )
    assert run(capsys, model_folder, "--text", " ") == (
        1,
        "",
        "error: text 1: empty text; mend it, or leave such out with --on-error skip\n",
    )


def test_a_person_at_a_terminal_gets_words_and_a_program_gets_json(
    texts, monkeypatch, model_folder
):
    for ask, is_words in ((["--text", "she lied"], True), ([str(texts)], False)):
        terminal = io.TextIOWrapper(io.BytesIO(), "utf-8")
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(["predict", str(model_folder), *ask]) == 0
        shown = terminal.buffer.getvalue().decode()
        assert (shown.splitlines()[0] == "she lied", shown[0] == "{") == (is_words, not is_words)


def test_words_tell_labels_values_and_intervals(capsys, decided_folder):
    _, words, _ = run(capsys, decided_folder, "--text", "she lied", "--format", "words")
    emotion, verdict, tags, regret = (line.strip() for line in words.splitlines()[1:])
    assert verdict.split("  ")[1].split(" ")[0] in ("AUTHOR", "OTHER", "NOBODY")
    assert tags.startswith("tags     money (")
    assert regret.endswith(", 90%)") and " to " in regret
    assert "joy 0." in emotion


def test_a_file_and_words_at_once_or_neither_is_refused(capsys, texts, model_folder, monkeypatch):
    code, _, errors = run(capsys, model_folder, texts, "--text", "a")
    assert (code, errors) == (1, "error: predict: name a file or give --text, not both\n")
    terminal = io.TextIOWrapper(io.BytesIO())
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    code, _, errors = run(capsys, model_folder)
    assert (code, errors.startswith("error: predict: name a file of texts, - for")) == (1, True)


# --- what cannot be predicted ------------------------------------------------------------------

BROKEN = [
    (b"no json", "broken JSON at column 1 (Expecting value)"),
    (
        b'{"txt": "a"}',
        "no text in the field 'text' (did you mean 'txt'?); the record has txt; name",
    ),
    (
        b'{"te\\u001bxt": "a"}',
        "no text in the field 'text' (did you mean 'te\\x1bxt'?); the record has",
    ),
    (b'{"text": 3}', "field 'text': expected a string, got int"),
    (b'{"text": "  "}', "empty text"),
    (b'{"text": null}', "no text in the field 'text'"),
    (b"[1]", 'expected an object, {"text": "..."}, got list'),
    (b'"text"', 'expected an object, {"text": "..."}, got str'),
    (b"[" * 10_000, "nested too deeply"),
    (b'{"text": "half \\ud83d"}', "lone surrogate '\\ud83d' in a string: half of a character"),
    (b'{"text": "a", "x": "\\ud83d"}', "lone surrogate '\\ud83d' in a string: half of a character"),
    (b'{"text": "\xb0\xa1"}', "not UTF-8 (byte 0xb0 at byte 11)"),
    (b'{"text": "a", "text": "b"}', "the field 'text' stands twice in one object"),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN, ids=lambda value: str(value)[:12])
def test_a_broken_line_ends_the_answers_or_is_left_out(
    capsys, tmp_path, model_folder, line, reason
):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + line + b'\n{"text": "too"}\n')
    code, output, errors = run(capsys, model_folder, path)
    assert (code, [row["text"] for row in rows(output)]) == (1, ["fine"])
    assert errors.startswith(f"error: line 2: {reason}")
    remedy = "and name the new file" if "not UTF-8" in reason else "; mend it"
    assert errors.endswith(f"{remedy}, or leave such out with --on-error skip\n")
    code, output, errors = run(capsys, model_folder, path, "--on-error", "skip")
    assert (code, [row["text"] for row in rows(output)]) == (3, ["fine", "too"])
    assert errors.startswith(f"left out: line 2: {reason}") and errors.count("\n") == 1


def test_a_first_line_that_is_broken_ends_or_is_left_out_too(capsys, tmp_path, model_folder):
    (tmp_path / "in.jsonl").write_text('text\n{"text": "fine"}\n')
    assert run(capsys, model_folder, tmp_path / "in.jsonl")[:2] == (1, "")
    code, output, _ = run(capsys, model_folder, tmp_path / "in.jsonl", "--on-error", "skip")
    assert (code, len(rows(output))) == (3, 1)


def test_only_the_first_that_are_left_out_are_named(capsys, tmp_path, model_folder):
    (tmp_path / "in.jsonl").write_text("{}\n" * 30 + '{"text": "fine"}\n')
    code, output, errors = run(capsys, model_folder, tmp_path / "in.jsonl", "--on-error", "skip")
    assert (code, len(rows(output)), errors.count("\n")) == (3, 1, 21)
    assert errors.endswith("left out: 10 more\n")


def test_texts_before_a_place_where_reading_ends_have_answers(capsys, tmp_path, model_folder):
    (tmp_path / "in.json").write_text('[{"text": "fine"}, {"text": "too"}, oh')
    for chosen in ("stop", "skip"):  # behind a broken place nothing can be told apart
        code, output, errors = run(capsys, model_folder, tmp_path / "in.json", "--on-error", chosen)
        assert (code, len(rows(output))) == (1, 2)
        assert "broken JSON at line 1 column 37" in errors


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.jsonl", "in.json"])
def test_another_encoding_is_told(capsys, tmp_path, model_folder, name):
    (tmp_path / name).write_bytes("text\nmore\n".encode("utf-16"))
    code, output, errors = run(capsys, model_folder, tmp_path / name)
    assert (code, output) == (1, "")
    assert f"error: {tmp_path / name}: is " in errors and "iconv" in errors


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.jsonl"])
def test_a_line_in_a_probable_encoding_names_the_command_that_converts_it(
    capsys, tmp_path, model_folder, name
):
    line = '{"text": "그는 갔다"}\n' if name == "in.jsonl" else "text\n그는 갔다\n"
    (tmp_path / name).write_bytes(line.encode("cp949"))
    code, _, errors = run(capsys, model_folder, tmp_path / name)
    assert code == 1
    assert "not UTF-8" in errors and "mend it" not in errors
    assert f"convert it with `iconv -f CP949 -t UTF-8 {tmp_path / name} > " in errors
    assert errors.endswith("name the new file, or leave such out with --on-error skip\n")


def test_a_column_that_is_not_there_is_refused_though_the_record_has_a_text(
    capsys, texts, model_folder
):
    code, output, errors = run(capsys, model_folder, texts, "--column", "text=bdy")
    assert (code, output) == (1, "")
    assert errors.startswith("error: line 1: no text in the column 'bdy'; the record has ")


def test_missing_files_are_named(capsys, tmp_path, model_folder):
    done = run(capsys, model_folder, tmp_path / "absent.jsonl")
    assert done == (1, "", f"error: {tmp_path}/absent.jsonl: the file is missing; check the path\n")
    code, _, errors = run(capsys, model_folder, tmp_path)
    assert (code, errors.startswith(f"error: {tmp_path}: ")) == (1, True)


def test_the_model_of_a_run_by_its_folder_or_its_name(
    capsys, tmp_path, texts, model_folder, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run_folder = tmp_path / "results" / "mine"
    run_folder.mkdir(parents=True)
    (run_folder / "config.json").write_text("{}")  # a run has one too

    def said(path):
        code, output, errors = run(capsys, path, texts)
        assert (code, output) == (1, "")
        return errors

    named = "; name the folder of a model that shipped, such as results/demo/model"
    assert said("mine") == f"error: mine: holds no weights.pt, so no model shipped into it{named}\n"
    assert said("nowhere") == f"error: nowhere: there is no such folder{named}\n"
    assert said(texts) == f"error: {texts}: is a file{named}\n"
    (run_folder / "model").symlink_to(model_folder)
    expected = run(capsys, model_folder, texts)
    for name in (run_folder, "results/mine", "mine"):
        assert run(capsys, name, texts) == expected
    assert said("mien") == f"error: mien: there is no such folder{named}; did you mean 'mine'?\n"


# --- streams ----------------------------------------------------------------------------------


def test_ten_thousand_lines_are_answered_in_batches(capsys, tmp_path, model_folder, monkeypatch):
    count, sizes = 10_000, []
    predicted = shipped_model.ShippedModel._predicted

    def counting(model, texts):
        sizes.append(len(texts))
        return predicted(model, texts)

    monkeypatch.setattr(shipped_model.ShippedModel, "_predicted", counting)
    (tmp_path / "in.jsonl").write_text(
        lines_of({"id": i, "text": f"she lied {i % 7}"} for i in range(count))
    )
    code, output, _ = run(capsys, model_folder, tmp_path / "in.jsonl")
    assert (code, [row["id"] for row in rows(output)]) == (0, [*range(count)])
    assert (sizes[0], max(sizes), sum(sizes)) == (32, 512, count)


def command(*arguments, **streams):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "redheart.cli.main", "predict", *map(str, arguments)]
    return subprocess.Popen(line, env=environment, **streams)


def test_a_pipe_is_answered_line_by_line_and_ends_without_a_word(model_folder):
    """An answer comes while more input is awaited; later nobody reads on."""
    pipe = subprocess.PIPE
    with command(model_folder, "-", stdin=pipe, stdout=pipe, stderr=pipe) as process:
        for text in ("she lied", "why"):
            process.stdin.write(json.dumps({"text": text}).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdout.close()
        process.stdin.write(b'{"text": "nobody came"}\n')
        process.stdin.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, b"")


def test_a_named_pipe_is_read(capsys, tmp_path, texts, model_folder):
    expected = run(capsys, model_folder, texts)
    os.mkfifo(tmp_path / "pipe")
    writer = subprocess.Popen(["cp", texts, tmp_path / "pipe"])
    assert run(capsys, model_folder, tmp_path / "pipe") == expected
    assert writer.wait() == 0


def test_standard_input_is_utf8_whatever_the_terminal_is(capsys, texts, model_folder, monkeypatch):
    expected = run(capsys, model_folder, texts)
    for name in ("-", None):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(texts.read_bytes()), "ascii"))
        assert run(capsys, model_folder, *([name] if name else [])) == expected
    monkeypatch.setattr(sys, "stdin", None)
    assert run(capsys, model_folder, "-") == (
        1,
        "",
        "error: standard input is closed; name a file of texts\n",
    )


@pytest.fixture
def korean_model(model_folder, tmp_path):
    """A model with a class whose name few terminals can show."""
    folder = shutil.copytree(model_folder, tmp_path / "korean")
    for name in ("config.json", "recipe.json"):
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(text.replace('"joy"', '"기쁨 😀"'), "utf-8")
    listed = [folder / name for name in checksums.read_checksums(folder)]
    checksums.write_checksums(folder / checksums.CHECKSUMS, listed)
    return folder


def test_a_terminal_of_any_encoding_gets_the_same_answers(texts, monkeypatch, korean_model):
    read, tables = [], []
    for encoding in ("ascii", "cp949", "utf-8"):
        for chosen, found in (("jsonl", read), ("csv", tables)):
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
            assert main(["predict", str(korean_model), str(texts), "--format", chosen]) == 0
            written = sys.stdout.buffer.getvalue()
            found.append(rows(written.decode(encoding)) if chosen == "jsonl" else written)
    assert read[0] == read[1] == read[2]
    assert "기쁨 😀" in read[0][0]["emotion"]["probabilities"]
    assert tables[0] == tables[1] == tables[2]
    assert "emotion.probabilities.기쁨 😀" in tables[0].decode("utf-8")
