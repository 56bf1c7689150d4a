"""Reading the source: which records are kept, which are rejected and why, what stops the run."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.data.reading import read_source
from redheart.data.records import RecordOptions, read_jsonl
from redheart.duplicates.removal import DedupOptions, deduplicate
from redheart.errors import UserError
from redheart.split.dealing import split_records
from redheart.split.parts import SplitOptions
from redheart.tasks.task import AS_JSON, Task

VERDICT = Task("verdict", "multiclass", "label", ("AUTHOR", "OTHER"))
EMOTION = Task("emotion", "distribution", "emotions", ("joy", "anger"))
REGRET = Task("regret", "regression", "regret_factor")
# Few records cannot have all classes.
ALLOWED = ("verdict", "emotion", "regret")
LENIENT = RecordOptions(max_rejected_share=1.0, allow=ALLOWED)
CORPUS = Path(__file__).parents[2] / "data" / "scruples.jsonl.gz"


def good(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"a{number}", "text": f"text number {number}", "label": "OTHER", **fields}


def lines(*items: Any) -> bytes:
    """JSON Lines of the items; bytes stand as they are."""
    return b"".join(
        (item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in items
    )


@pytest.fixture
def source(tmp_path: Path):
    """Write bytes to a file and read it as a source: what is kept, and the report."""

    def read(content: bytes, *tasks: Task, options: RecordOptions = LENIENT, name: str = "in"):
        (tmp_path / name).write_bytes(content)
        report = read_source(tmp_path / name, tmp_path / "out", tasks, options)
        return read_jsonl(tmp_path / "out"), report

    return read


def rejections(report: dict[str, Any]) -> list[tuple[str, Any, str]]:
    return [(entry["place"], entry["id"], entry["reason"]) for entry in report["rejected"]]


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("indent", [None, 2])
def test_the_content_decides_the_format(source, packed, bom, indent) -> None:
    items = [good(1, text="안녕 🙂"), good(2, timestamp="2024-01-01T00:00:00Z")]
    array = bom + b"\n \n" * (not bom) + json.dumps(items, indent=indent).encode()
    records, report = source(packed(array), VERDICT, name="in.txt")
    assert records == items
    assert source(packed(bom + lines(b"", *items, b"  ")), VERDICT, name="in.txt") == (
        items,
        report,
    )
    assert report == {
        "source": "in.txt",
        "read": 2,
        "kept": 2,
        "rejected": [],
        "rejected_count": 0,
        "labelled": {"verdict": 1.0},
        "renormalised": {},
        "missing_ids": 0,
        "non_finite": 0,
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "x", "text": "cut of', "broken JSON at column 21 (Unterminated string starting at)"),
        (b'{"id": "x", "text": "\xff"}', "not UTF-8 (byte 0xff at byte 22)"),
        (b"[" * 100_000, "nested too deeply"),
        ([1], "expected an object, got list"),
        (None, "expected an object, got NoneType"),
        ({"id": "x"}, "no text in the field 'text'"),
        ({"id": "x", "text": None}, "no text in the field 'text'"),
        (good(1, text=7), "field 'text': expected a string, got int"),
        (good(1, text=""), "empty text"),
        (good(1, text=" \t\n\u3000\u200b\x00\ufeff"), "empty text"),
        (good(1, text="x" * 100_001), "field 'text': 100,001 characters, more than data.max_text_characters (100,000)"),
        (good(1, text="half \ud83d"), r"lone surrogate '\ud83d' in a string: half of a character"),
        (good(1, title={"x": ["\udc00"]}), r"lone surrogate '\udc00' in a string: half of a character"),
        (good(1, id=1.5), "field 'id': expected a string or an integer, got float"),
        (good(1, id=True), "field 'id': expected a string or an integer, got bool"),
        (good(1, id="first"), "repeated id: line 1 has it too"),
        (good(1, label="WHO"), "field 'label': unknown class 'WHO'; expected one of ['AUTHOR', 'OTHER']"),
        (good(1, emotions=[0.5, float("nan")]), "field 'emotions': expected a finite number, got nan"),
        (good(1, emotions=[0.5, float("inf")]), "field 'emotions': expected a finite number, got inf"),
        (good(1, emotions=["0.5", 0.5]), "field 'emotions': expected a number, got '0.5'" + AS_JSON),
        (good(1, emotions=[0.5, 0.6]), "field 'emotions': sums to 1.1, not to 1 (counts? set normalize: true)"),
        (good(1, emotions=[-0.5, 1.5]), "field 'emotions': has a negative value (-0.5)"),
        (good(1, emotions="[0.5, 0.5]"), "field 'emotions': expected a list or an object of numbers, got '[0.5, 0.5]'"),
        (good(1, regret_factor="0.5"), "field 'regret_factor': expected a number, got '0.5'" + AS_JSON),
        (good(1, text="x" * 10_000_000), "field 'text': 10,000,000 characters, more than data.max_text_characters (100,000)"),
        ({"records": [good(1)]}, "no text in the field 'text'; if the list 'records' holds the records, `jq -c '.records[]'` makes JSON Lines"),
        (good(1, emotions=[1]), "field 'emotions': expected 2 values, got 1"),
    ],
)  # fmt: skip
def test_a_bad_record_is_set_aside_with_place_and_reason(source, line, reason) -> None:
    first = good(0, id="first", emotions=[0.5, 0.5], regret_factor=0.5)
    records, report = source(lines(first, b"", line, good(2)), VERDICT, EMOTION, REGRET)
    assert [record["id"] for record in records] == ["first", "a2"]
    identity = line.get("id") if isinstance(line, dict) else None
    assert rejections(report) == [("line 3", None if identity is None else str(identity), reason)]
    assert (report["read"], report["kept"], report["rejected_count"]) == (3, 2, 1)
    json.dumps(report, allow_nan=False, ensure_ascii=False).encode()


def test_places_in_an_array_are_items(source) -> None:
    _, report = source(json.dumps([good(1), good(1), 5]).encode())
    assert rejections(report) == [
        ("item 2", "a1", "repeated id: item 1 has it too"),
        ("item 3", None, "expected an object, got int"),
    ]


def test_an_id_of_a_rejected_record_is_free(source) -> None:
    records, _ = source(lines(good(1, text=""), good(1)))
    assert [record["id"] for record in records] == ["a1"]


def test_ids_are_strings_and_missing_ones_are_numbered(source) -> None:
    items = [good(1, id=7), {"text": "b"}, good(3, id=None), good(4, id="  ")]
    records, report = source(lines(items[0], b"", *items[1:]))
    expected = ["7", "record-000002", "record-000003", "record-000004"]
    assert [record["id"] for record in records] == expected
    assert report["missing_ids"] == 3
    assert source(json.dumps(items).encode())[0] == records


def test_an_unprintable_id_is_escaped_in_the_report(source) -> None:
    _, report = source(lines(good(1, id="x\ud800" * 100), good(2)))
    assert report["rejected"][0]["id"].startswith(r"x\ud800x\ud800")
    json.dumps(report, ensure_ascii=False).encode()


def test_older_field_names_are_understood(source) -> None:
    old = {
        "id": "o", "text": "t", "emotion_vector": [0.25, 0.75],
        "metadata": {"title": "T", "action": "A", "label": "OTHER", "label2": 1},
    }  # fmt: skip
    both = good(2, emotion_vector=[1, 0], emotions=[0, 1], title="own", metadata={"title": "x"})
    records, _ = source(lines(old, both, good(3, metadata="none")), VERDICT, EMOTION)
    lifted = {"emotions": [0.25, 0.75], "title": "T", "action": "A", "label": "OTHER"}
    assert records[0] == old | lifted
    assert records[1] == both


def test_shares_of_labels_and_renormalised_sums_are_reported(source) -> None:
    sums = [[0.5, 0.5], [0.5, 0.5 + 1e-8], [0.5, 0.52], {"joy": 0.98, "other": 3}, None]
    items = [good(i, emotions=value) for i, value in enumerate(sums)]
    items[0]["label"] = None
    _, report = source(lines(*items), VERDICT, EMOTION)
    assert report["labelled"] == {"verdict": 0.8, "emotion": 0.8}
    assert report["renormalised"] == {"emotion": 2}


def test_nan_in_a_field_that_no_task_reads_becomes_null(source) -> None:
    odd = good(1, regret_factor=float("nan"), other={"a": [float("inf"), 1.5]})
    records, report = source(lines(odd, good(2)), VERDICT)
    assert records[0] == odd | {"regret_factor": None, "other": {"a": [None, 1.5]}}
    assert report["non_finite"] == 1
    assert rejections(source(lines(odd, good(2, regret_factor=1.0)), REGRET)[1]) == [
        ("line 1", "a1", "field 'regret_factor': expected a finite number, got nan")
    ]


# --- columns of the source --------------------------------------------------------------------


def renaming(**columns: str) -> RecordOptions:
    return RecordOptions(1.0, columns=columns, allow=ALLOWED)


def test_fields_are_taken_from_columns(source) -> None:
    item = {"key": 7, "body": "b", "text": "a summary", "meta": {"verdict": "OTHER"}, "a.b": 1}
    options = renaming(id="key", text="body", label="meta.verdict", dotted="a.b")
    records, report = source(lines(item), VERDICT, options=options)
    assert records == [
        {"id": "7", "text": "b", "label": "OTHER", "dotted": 1, "meta": {"verdict": "OTHER"}}
    ]
    assert report["missing_ids"] == 0


def test_a_column_may_go_into_an_object_and_two_may_be_exchanged(source) -> None:
    item = good(1, joy=0.25, anger=0.75, title="a", action="b")
    options = RecordOptions(
        columns={
            "emotions.joy": "joy",
            "emotions.anger": "anger",
            "title": "action",
            "action": "title",
        }
    )
    records, report = source(lines(item), EMOTION, options=options)
    assert records == [
        {**good(1), "title": "b", "action": "a", "emotions": {"joy": 0.25, "anger": 0.75}}
    ]
    assert report["labelled"] == {"emotion": 1.0}


def test_a_record_without_the_column_has_no_such_field(source) -> None:
    items = [{"body": "a", "text": "not this"}, {"text": "nor this"}]
    records, report = source(lines(*items), options=renaming(text="body"))
    assert [record["text"] for record in records] == ["a"]
    assert rejections(report) == [("line 2", None, "no text in the field 'text'")]


def test_a_column_that_is_not_there_is_one_error_with_the_nearest(source) -> None:
    items = [{"body": "a", "meta": {"verdict": "OTHER"}, "none": None}]
    with pytest.raises(UserError) as caught:
        source(lines(*items), options=renaming(text="bdoy", label="meta.verdit", x="none"))
    assert str(caught.value).partition("/in: ")[2] == (
        "no record has a value in the column 'meta.verdit' for 'label' (did you mean "
        "'meta.verdict'?); no record has a value in the column 'bdoy' for 'text' (did you mean "
        "'body'?); no record has a value in the column 'none' for 'x'; the source has body, meta, "
        "meta.verdict"
    )


def test_broken_lines_are_told_before_missing_columns(source) -> None:
    with pytest.raises(UserError, match=r"none of 1 records is valid \(line 1: broken JSON"):
        source(b'{"body": "a"', options=renaming(text="body"))


def test_a_table_is_read_as_its_tasks_need_it(source) -> None:
    code = Task("code", "multiclass", "code", ("1", "2"))
    content = (
        b"id,body,verdict,joy,anger,regret_factor,class\n1,42,OTHER,0.5,0.5,0.25,2\n2,b,,,,,\n"
    )
    columns = {"text": "body", "label": "verdict", "code": "class"}
    columns |= {"emotions.joy": "joy", "emotions.anger": "anger"}
    options = RecordOptions(columns=columns, allow=(*ALLOWED, "code"))
    records, report = source(
        content, VERDICT, EMOTION, REGRET, code, options=options, name="in.csv"
    )
    assert records == [
        {"id": "1", "text": "42", "label": "OTHER", "emotions": {"joy": 0.5, "anger": 0.5}, "regret_factor": 0.25, "code": "2"},
        {"id": "2", "text": "b"},
    ]  # fmt: skip
    assert set(report["labelled"].values()) == {0.5}


# --- the three shapes of files ----------------------------------------------------------------

SCORES = {"intensity": 0.4, "duration": 0.6, "certainty": 0.8, "propinquity": 0.9}
OWN = {
    "id": "yqk9", "text": "So, I got a controller.", "title": "hiding my controller?", "action": "hiding my controller",
    "label": "OTHER", "emotions": [0.4, 0.6], "regret_factor": 0.15, "bentham_scores": SCORES,
    "surd_metrics": {"selection": 0.7}, "timestamp": "2025-08-16T04:14:52.065151",
}  # fmt: skip
IN_METADATA = {
    **{key: value for key, value in OWN.items() if key not in ("title", "action", "label")},
    "metadata": {key: OWN[key] for key in ("title", "action", "label")},
}
OLDER = {("emotion_vector" if key == "emotions" else key): value for key, value in OWN.items()}


@pytest.mark.parametrize("shape", [OWN, IN_METADATA, OLDER], ids=["own", "metadata", "older"])
@pytest.mark.parametrize("as_table", [False, True])
def test_the_three_shapes_are_recognised_without_config(source, shape, as_table) -> None:
    bentham = Task("bentham", "regression", "bentham_scores", tuple(SCORES))
    if as_table:
        with io.StringIO(newline="") as stream:
            cells = [v if isinstance(v, str) else json.dumps(v) for v in shape.values()]
            csv.writer(stream).writerows([shape, cells])
            content, name = stream.getvalue().encode(), "in.csv"
    else:
        content, name = json.dumps([shape], indent=2).encode(), "in.json"
    (record,), report = source(content, VERDICT, EMOTION, REGRET, bentham, name=name)
    assert record == {**shape, **OWN}
    assert set(report["labelled"].values()) == {1.0}


# --- what stops -------------------------------------------------------------------------------


def packed(content):
    """Compress without the clock, which would be part of a test's name."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n\n", "the file is empty"),
        (packed(b""), "the file is empty"),
        (b"[]", "holds no records"),
        (b'[{"id": 1},\n {"id": }]', "broken JSON at line 2 column 9 (Expecting value)"),
        (b'[{"id": 1}] []', "broken JSON at line 1 column 13 (Extra data)"),
        (b'[\n{"text": "\xe9"}]', "1 of 1 records are not UTF-8; it is probably CP1252 (Western European); convert it with `iconv"),
        (b"[" * 100_000, "unreadable JSON"),
        (b'{\n "records": []\n}', "begins with a JSON object over several lines"),
        (b'{"a": 1,\n "b": 2}\n{"a": 1,\n "b": 2}', "begins with a JSON object over several lines"),
        (b'{"records": []}', "no record has a text in 'text'; the source has records; name the column"),
        ("no JSON\nat all".encode("utf-16"), "is UTF-16, not UTF-8; save it as UTF-8"),
        (packed(b"x" * 1000)[:-9], "the gzip file is cut off or damaged"),
        (packed(lines(good(1)) * 99)[:40], "the gzip file is cut off or damaged"),
        (b"\x1f\x8b no gzip", "the gzip file is cut off or damaged"),
    ],
)  # fmt: skip
def test_an_unreadable_source_stops_with_one_line(source, content, message) -> None:
    with pytest.raises(UserError) as caught:
        source(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/in: " in str(caught.value)


def test_a_refused_source_leaves_nothing_and_an_older_result_as_it_was(tmp_path: Path) -> None:
    path, target = tmp_path / "in", tmp_path / "results" / "out"
    path.write_bytes(gzip.compress(lines(*map(good, range(5000))))[:-9])
    with pytest.raises(UserError, match="cut off or damaged"):
        read_source(path, target, (), LENIENT)
    assert list(target.parent.iterdir()) == []
    target.write_text("older")
    with pytest.raises(UserError, match="cut off or damaged"):
        read_source(path, target, (), LENIENT)
    assert [file.read_text() for file in target.parent.iterdir()] == ["older"]


def test_a_source_may_be_replaced_by_its_records(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines(*map(good, range(5000))))
    assert read_source(path, path, (VERDICT,), LENIENT)["kept"] == 5000
    assert len(read_jsonl(path)) == 5000


def split_of(*items: Any, tmp_path: Path) -> dict[str, list[int]]:
    """Take items through all of phase 0 that may refuse them."""
    (tmp_path / "in").write_bytes(lines(*items))
    read_source(tmp_path / "in", tmp_path / "out", (VERDICT,), RecordOptions(allow=ALLOWED))
    records, _ = deduplicate(
        read_jsonl(tmp_path / "out"), DedupOptions(), lambda record: record["label"]
    )
    return split_records(records, (), [record["label"] for record in records], SplitOptions())


@pytest.mark.slow
@pytest.mark.parametrize("labels", [["OTHER"], ["OTHER"] * 3, ["OTHER", "AUTHOR"] * 3])
def test_too_few_records_for_their_classes_and_parts(tmp_path: Path, labels) -> None:
    items = [good(i, text=chr(97 + i) * 30, label=label) for i, label in enumerate(labels)]
    with pytest.raises(UserError) as caught:
        split_of(*items, tmp_path=tmp_path)
    count, classes = len(labels), len(set(labels))
    assert f"too few records: {count} records in {classes} classes cannot fill" in str(caught.value)
    assert "; add records, raise that part's share, or" in str(caught.value)


def test_one_class_is_shared_out_as_any(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = [good(i, text=str(rng.bytes(30).hex())) for i in range(60)]
    parts = split_of(*items, tmp_path=tmp_path)
    assert [len(members) for members in parts.values()] == [45, 6, 3, 6]


PEAK = """
import resource, sys
from redheart.data.reading import read_source
from redheart.data.records import RecordOptions
print(read_source(*sys.argv[1:], (), RecordOptions())["kept"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["lines", "array", "table"])
def test_memory_does_not_grow_with_the_texts(tmp_path: Path, form) -> None:
    """120 MB are read with less than 60 MB more than a few records are."""
    peaks = []
    for count in (10, 12_000):
        path = tmp_path / ("in.csv" if form == "table" else "in.json")
        with open(path, "w") as stream:
            stream.write({"lines": "", "array": "[", "table": "id,text\n"}[form])
            for i in range(count):
                text = f"{i} " + "word " * 2000
                item = json.dumps(good(i, text=text))
                line = {
                    "lines": f"{item}\n",
                    "array": ", " * (i > 0) + item,
                    "table": f"{i},{text}\n",
                }
                stream.write(line[form])
            stream.write("]" if form == "array" else "")
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path), str(tmp_path / "out")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        kept, peak = map(int, done.stdout.split())
        assert kept == count
        peaks.append(peak)
    assert path.stat().st_size > 110_000_000
    assert peaks[1] - peaks[0] < 60_000_000


def test_a_broken_first_line_costs_one_record(source) -> None:
    cut = b'{"id": "x", "te'
    assert source(lines(cut, good(1)))[1]["rejected_count"] == 1
    assert source(lines(b'{"id": 1} {"id": 2}', good(1)))[1]["rejected_count"] == 1


def test_missing_and_forbidden_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        read_source(tmp_path / "none", tmp_path / "out", (), LENIENT)
    with pytest.raises(UserError, match="is a directory"):
        read_source(tmp_path, tmp_path / "out", (), LENIENT)
    (tmp_path / "closed").write_bytes(b"{}")
    (tmp_path / "closed").chmod(0)
    if os.geteuid():  # root reads everything; see test_files.py
        with pytest.raises(UserError, match="no permission"):
            read_source(tmp_path / "closed", tmp_path / "out", (), LENIENT)
    assert not (tmp_path / "out").exists()


def test_too_many_rejected_stop_the_run(source) -> None:
    content = lines(*(good(i, text="" if i % 10 == 0 else "t") for i in range(40)))
    assert source(content, options=RecordOptions(max_rejected_share=0.1))[1]["kept"] == 36
    with pytest.raises(UserError) as caught:
        source(content, options=RecordOptions())
    assert str(caught.value).endswith(
        "in: 4 of 40 records (10.00%) are invalid, more than 5.00% (line 1, line 11, "
        "line 21: empty text); mend them or raise data.max_rejected_share"
    )


def test_a_task_without_any_label_names_the_nearest_field(source) -> None:
    items = [good(1, emotion=[1, 0], surd={"risk": 1, "none": None}, empty=None)]
    misnamed = Task("surd", "regression", "surd.risks")
    with pytest.raises(UserError) as caught:
        source(lines(*items), VERDICT, EMOTION, misnamed)
    assert str(caught.value).partition("/in: ")[2] == (
        "task 'emotion': no record has a label in 'emotions' (did you mean 'emotion'?); "
        "task 'surd': no record has a label in 'surd.risks' (did you mean 'surd.risk'?); "
        "the records have the fields emotion, id, label, surd, surd.risk, text"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("id", "text", "label", "metadata", "emotion_vector"), JSON)
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        JSON | FIELDS | st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")), max_size=5
    )
)
def test_any_content_ends_in_valid_records_and_reasons(tmp_path_factory, items) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    # A letter in UTF-8: else the whole file could be in another encoding.
    path.write_bytes(lines(good(0, title="é", emotions=[1, 0]), *items))
    report = read_source(path, path.with_name("out"), (VERDICT, EMOTION), LENIENT)
    records = read_jsonl(path.with_name("out"))
    assert report["read"] == report["kept"] + report["rejected_count"]
    assert len({record["id"] for record in records}) == len(records) == report["kept"]
    json.dumps([records, report], allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.exists(), reason="needs the corpus")
def test_the_real_corpus(tmp_path: Path) -> None:
    task = Task(
        "verdict", "multiclass", "label", ("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO")
    )
    report = read_source(CORPUS, tmp_path / "out", (task,), RecordOptions())
    records = read_jsonl(tmp_path / "out")
    assert {entry["reason"] for entry in report["rejected"]} == {"empty text"}
    assert report["kept"] == len(records) == 10_451


KOREAN = "text,label\n" + "".join(f"친구가 선물을 보냈다 {i},OTHER\n" for i in range(30))


@pytest.mark.parametrize(
    ("text", "encoding", "told"),
    [
        (KOREAN, "cp949", "probably CP949 (Korean)"),
        (KOREAN.replace("text", "본문"), "cp949", "line 1: the header: not UTF-8 (byte 0xba); it is probably CP949 (Korean)"),
        ("text\n" + "私は友達に贈り物をあげた\n" * 9, "cp932", "probably CP932 (Japanese)"),
        ("text\n" + "我的朋友是一个很好的人\n" * 9, "gb18030", "probably GB18030 (Chinese)"),
        ("text\n" + "caf\u00e9 und Stra\u00dfe\n" * 9, "cp1252", "probably CP1252 (Western European)"),
        ("text\n" + "Это мой друг и он подарил книгу\n" * 9, "cp1251", "probably CP1251 (Cyrillic)"),
        ("text\n" + "Это мой друг и он подарил книгу\n" * 9, "koi8-r", "probably KOI8-R (Cyrillic)"),
        ("text\n" + "Ο φίλος μου έστειλε δώρο\n" * 9, "cp1253", "find out its encoding"),
        # The rows in English are many: to raise the share would drop just the Korean texts.
        ("text\n" + "plain text\n" * 400 + "친구가 선물을 보냈다\n" * 3, "cp949", "3 of 403 records are not UTF-8; it is probably CP949"),
    ],
)  # fmt: skip
def test_another_encoding_is_named_with_the_command_that_converts_it(
    source, text, encoding, told
) -> None:
    with pytest.raises(UserError) as caught:
        source(text.encode(encoding), options=RecordOptions(), name="in.csv")
    message = str(caught.value)
    assert told in message
    assert "in.csv > " in message and "in.utf8.csv`, and name the new file" in message
    assert "max_rejected_share" not in message


def test_a_packed_file_is_unpacked_before_it_is_converted(source) -> None:
    with pytest.raises(
        UserError, match=r"`gunzip -c \S*in.csv.gz \| iconv -f CP949 -t UTF-8 > \S*in.utf8.csv`"
    ):
        source(gzip.compress(KOREAN.encode("cp949")), name="in.csv.gz")


def test_a_damaged_record_among_others_that_are_utf_8_is_set_aside(source) -> None:
    content = lines(*(good(i, text="né") for i in range(3)), b'{"text": "\xe9\xe9 \xe9"}')
    content = content.replace(b"\\u00e9", "é".encode())
    assert source(content)[1]["rejected_count"] == 1


def test_rows_that_a_broken_cell_takes_along_count_as_lost(source) -> None:
    rows = [f"r{i},text {i}" for i in range(40)]
    rows[10], rows[14] = 'r10,"begins', 'r14,ends" and goes on'
    content = "\n".join(["id,text", *rows]).encode()
    _, report = source(content, name="in.csv")
    assert (report["read"], report["kept"], report["rejected_count"]) == (40, 35, 5)
    with pytest.raises(UserError, match=r"5 of 40 records \(12.50%\) are invalid"):
        source(content, options=RecordOptions(), name="in.csv")


def test_a_reason_is_told_once_with_three_places(source) -> None:
    bad = lines(*(good(i, label=f"x{i}") for i in range(9)), good(9))
    with pytest.raises(UserError) as caught:
        source(bad, VERDICT, options=RecordOptions(allow=ALLOWED))
    assert str(caught.value).count("unknown class") == 1
    assert "(line 1, line 2, line 3: field 'label': unknown class 'x0'" in str(caught.value)
