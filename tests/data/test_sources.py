"""Sources of every format: the same records from each, and what stops or is set aside in which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_items import error

from redheart.data import sources
from redheart.data.sources import input_files, read_items
from redheart.errors import UserError

# --- JSON arrays: read piece by piece ---------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 40))
def test_an_array_in_pieces_is_what_json_reads_whole(tmp_path_factory, values, indent, ascii, step):
    path = tmp_path_factory.getbasetemp() / "array.json"
    path.write_text(
        json.dumps(values, indent=indent, ensure_ascii=ascii).encode("utf-8", "replace").decode(),
        "utf-8",
    )
    expected = json.loads(path.read_text("utf-8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", step)
        places_and_items = list(read_items(path))
    assert [item for _, item in places_and_items] == expected
    assert [place for place, _ in places_and_items] == [
        f"item {i}" for i in range(1, len(expected) + 1)
    ]


@pytest.mark.parametrize("number", ["0.5", "-1e+30", "12345", "-Infinity", "null"])
@pytest.mark.parametrize("step", range(1, 8))
def test_a_number_is_not_cut_where_a_piece_ends(items, monkeypatch, number, step) -> None:
    monkeypatch.setattr(sources, "CHUNK", step)
    text = f"[{number},{number}]"
    assert [item for _, item in items(text.encode())] == json.loads(text)


def test_a_name_that_stands_twice_in_an_object_loses_no_value_unseen(items, tmp_path) -> None:
    twice = '{"text": "a", "label": {"x": 1, "x": 0}}'
    whole, double = items(f'{{"text": "b"}}\n{twice}\n'.encode())
    assert whole[1] == {"text": "b"}
    assert double[1] == "! the field 'x' stands twice in one object"
    path = tmp_path / "array.json"
    path.write_text(f"[{twice}]")
    with pytest.raises(UserError, match=r"the field 'x' stands twice .*; use JSON Lines$"):
        list(read_items(path))


BROKEN = ['[1, 2', "[1 2]", "[1,]", "[,]", '["a\n"]', '[\n1,\n "x', "[1]]", "[tru]", '[{"a": 1},\n\n  {"b" 2}]', "[", '["\\u12"]', "[1,\n2]\n x"]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_broken_array_is_told_with_the_line_and_column_that_json_tells(
    items, monkeypatch, text, step
):
    with pytest.raises(json.JSONDecodeError) as whole:
        json.loads(text)
    monkeypatch.setattr(sources, "CHUNK", step)
    message = error(items, text.encode())
    where = f".jsonl: broken JSON at line {whole.value.lineno} column {whole.value.colno} ("
    assert message.startswith(where)
    assert message.endswith("mend it, or use JSON Lines, where a broken line costs one record")


def test_an_item_of_an_array_that_is_no_utf8_is_set_aside_alone(items) -> None:
    assert items(b'[{"a": "\xe9"}, {"a": "\xc3\xa9"}]') == [
        ("item 1", "! not UTF-8 (byte 0xe9)"),
        ("item 2", {"a": "é"}),
    ]


# --- the content decides the format -----------------------------------------------------------


def test_json_in_a_file_that_is_named_otherwise(items) -> None:
    assert items(b'{"a": 1}', "in.csv") == [("line 1", {"a": 1})]
    assert items(b"[1]", "in.txt") == [("item 1", 1)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_recognised(items, encoding) -> None:
    name = encoding[:6].upper()
    expected = f".jsonl: is {name}, not UTF-8; save it as UTF-8 (the command `iconv`)"
    assert error(items, '{"text": "a"}'.encode(encoding)) == expected


def test_a_workbook_is_to_be_saved_as_csv(items) -> None:
    message = error(items, b"PK\x03\x04 a sheet")
    assert "is a ZIP file, such as a workbook of Excel; save its sheet as CSV in UTF-8" in message


@pytest.mark.parametrize("content", [b"id,text\n1,a\n", b"\xe9t\xe9", b"<xml/>"])
def test_what_is_no_json_says_which_name_makes_a_table(items, content) -> None:
    message = error(items, content)
    assert message.startswith(".jsonl: line 1 begins with neither [ nor {")
    assert message.endswith("give a table a name that ends in .csv or .tsv")


@pytest.mark.parametrize(
    "content",
    [
        '{\n "records": [\n  {"text": "a"}\n ]\n}', '{"records": [\n{"text": "a"},\n{"text": "b"}\n]}',
        '{"a": 1,\n "b": 2}\n{"a": 1,\n "b": 2}', '{"a":\n1}', '{"a": {\n"b": 1}}', '{"a": [1, 2\n, 3]}',
    ],
)  # fmt: skip
def test_an_object_over_several_lines_is_refused(items, content) -> None:
    assert error(items, content.encode()).startswith(
        ".jsonl: begins with a JSON object over several"
    )


def test_input_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert input_files(tmp_path / "a") == [str(tmp_path / "a")]
    with pytest.raises(UserError, match=r"absent: the file is missing; check the path"):
        input_files(tmp_path / "absent")
    with pytest.raises(UserError, match=r"is a directory; name a file, or a folder that `datasets"):
        input_files(tmp_path)


def test_a_number_of_thousands_of_digits_is_refused_in_words(items) -> None:
    number = b"9" * 5000
    told = "a number of more than 4,300 digits; write it as a text"
    assert items(b'{"x": %b}\n{"x": 1}' % number) == [("line 1", f"! {told}"), ("line 2", {"x": 1})]
    assert error(items, b'[{"x": %b}]' % number).endswith(
        f"unreadable JSON ({told}); use JSON Lines"
    )
    ((_, row),) = items(b"x,y\n%b,[%b]\n" % (number, number), "in.csv")
    assert row == {"x": number.decode(), "y": f"[{number.decode()}]"}
