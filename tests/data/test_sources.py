"""Sources of every format: the same records from each, and what stops or is set aside in which."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.data import sources, tables
from redheart.data.sources import input_files, read_items
from redheart.data.tables import put
from redheart.errors import UserError


@pytest.fixture
def items(tmp_path: Path):
    """Write bytes to a file and read its items; a broken item is read as its reason."""

    def read(content: bytes, name: str = "in.jsonl", **options: Any) -> list[tuple[str, Any]]:
        (tmp_path / name).write_bytes(content)
        return shown(read_items(tmp_path / name, **options))

    return read


def shown(places_and_items) -> list[tuple[str, Any]]:
    return [
        (place, f"! {item}" if isinstance(item, ValueError) else item)
        for place, item in places_and_items
    ]


def error(read, *given: Any) -> str:
    """The one line of the error, without the folder."""
    with pytest.raises(UserError) as caught:
        read(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value).rpartition("/in")[2]


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


# --- CSV and TSV ------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("name", "separator"), [("in.csv", ","), ("in.TSV", "\t"), ("in.csv", ";")]
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_table_is_read_by_its_name(items, packed, name, separator, newline, bom) -> None:
    rows = [
        ["id", "text", "x"],
        ["1", f'"a{separator} ""b""{newline}안녕"', "0.5"],
        ["2", "c", "-1e3"],
    ]
    text = newline.join(separator.join(row) for row in rows) + newline
    name += ".gz" * (packed is gzip.compress)
    assert items(packed(bom + text.encode()), name, as_text={"id", "text"}) == [
        ("line 2", {"id": "1", "text": f'a{separator} "b"{newline}안녕', "x": 0.5}),
        ("line 4", {"id": "2", "text": "c", "x": -1000.0}),
    ]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3", 3), ("0.50", 0.5), ("-2e-3", -0.002), (" 7 ", 7), ("[0.1, 0.2]", [0.1, 0.2]),
        ('{"a": 1}', {"a": 1}), ("007", "007"), ("0,5", "0,5"), ("NaN", "NaN"), ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"), ("true", "true"), ("null", "null"), ("3 of 4", "3 of 4"), ("[", "["),
        ("[" * 10_000, "[" * 10_000), (".5", ".5"), ("x", "x"),
    ],
)  # fmt: skip
def test_a_cell_that_is_json_is_a_value(items, cell, value) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    ((_, row),) = items(f"a,b\n{quoted},{quoted}\n".encode(), "in.csv", as_text={"b"})
    assert row == {"a": value, "b": cell}


def test_an_empty_cell_is_missing_and_a_dot_makes_an_object(items) -> None:
    content = b",s.risk,s.time,text\n0,0.5,,a\n1,,,b\n\n2,,0.25,\n"
    assert items(content, "in.csv") == [
        ("line 2", {"s": {"risk": 0.5}, "text": "a"}),
        ("line 3", {"text": "b"}),
        ("line 5", {"s": {"time": 0.25}}),
    ]


def test_a_broken_row_is_set_aside_and_the_next_are_read(items) -> None:
    content = b'text,x\na,1\nb\nc,1,2\n"d" e,1\n\xff,1\n"f\ng",2\nh,3\n'
    assert items(content, "in.csv") == [
        ("line 2", {"text": "a", "x": 1}),
        ("line 3", "! expected 2 cells, as in the header, got 1"),
        ("line 4", "! expected 2 cells, as in the header, got 3"),
        ("line 5", "! broken CSV (',' expected after '\"')"),
        ("line 6", "! not UTF-8 (byte 0xff)"),
        ("line 7", {"text": "f\ng", "x": 2}),
        ("line 9", {"text": "h", "x": 3}),
    ]


def test_a_long_text_fits_into_a_cell(items) -> None:
    ((_, row),) = items(b"text\n" + b"x" * 10_000_000, "in.csv")
    assert len(row["text"]) == 10_000_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,a\n1,2,3\n", ".csv: line 1: the header: several columns are named 'a'; mend it"),
        (b"a.b,a\n1,2\n", ".csv: line 1: the header: 'a' cannot hold a value and 'a.b' too; mend it"),
        (b"\n\xff,b\n1,2\n", ".csv: line 2: the header: not UTF-8 (byte 0xff); mend it"),
        (b'a,"b"c\n1,2\n', ".csv: line 1: the header: broken CSV (',' expected after '\"'); mend it"),
        (b'a,b\n1,2\n3,"4\n5,6\n', ".csv: line 3: a quote is opened and not closed (unexpected end of data); close it"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_told_apart_stops(items, content, message) -> None:
    assert error(items, content, "in.csv") == message


def test_an_open_quote_does_not_fill_the_memory(items, monkeypatch) -> None:
    monkeypatch.setattr(tables, "LARGEST_CELL", 100)
    expected = ".csv: line 2: a quote is opened and not closed (field larger than field limit (100)); close it"
    assert error(items, b'a\n"' + b"x\n" * 100 + b'"\n', "in.csv") == expected


def test_a_header_alone_holds_nothing(items) -> None:
    assert items(b"id,text\n", "in.csv") == []


# --- the content decides the format -----------------------------------------------------------


def test_json_in_a_file_that_is_named_otherwise(items) -> None:
    assert items(b'{"a": 1}', "in.csv") == [("line 1", {"a": 1})]
    assert items(b"[1]", "in.txt") == [("item 1", 1)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_recognised(items, encoding) -> None:
    expected = ".jsonl: is UTF-16, not UTF-8; save it as UTF-8 (the command `iconv`)"
    assert error(items, '{"text": "a"}'.encode(encoding)) == expected


@pytest.mark.parametrize(
    "content", [b"id,text\n1,a\n", b"PK\x03\x04 a sheet", b"\xe9t\xe9", b"<xml/>"]
)
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


def test_put_makes_the_objects_on_the_way() -> None:
    item = {"a": None, "b": 1}
    put(item, "a.x.y", 2)
    assert item == {"a": {"x": {"y": 2}}, "b": 1}
    with pytest.raises(ValueError, match=r"field 'b': expected an object, to hold 'b\.c'"):
        put(item, "b.c", 3)


# --- with pyarrow -----------------------------------------------------------------------------

ROWS = [
    {"text": "a", "label": 1, "emotions": [0.25, 0.75], "meta": {"when": datetime(2024, 1, 2)}, "price": Decimal("0.5"), "raw": b"\xff"},
    {"text": "b", "label": -1, "emotions": None, "meta": None, "price": None, "raw": b"ok"},
    {"text": None, "label": None, "emotions": [], "meta": {"when": None}, "price": None, "raw": None},
]  # fmt: skip
EXPECTED = [
    {"text": "a", "label": "OTHER", "emotions": [0.25, 0.75], "meta": {"when": "2024-01-02T00:00:00"}, "price": 0.5, "raw": None},
    {"text": "b", "label": None, "emotions": None, "meta": None, "price": None, "raw": "ok"},
    {"text": None, "label": None, "emotions": [], "meta": {"when": None}, "price": None, "raw": None},
]  # fmt: skip
FEATURES = {
    "label": {"names": ["AUTHOR", "OTHER"], "_type": "ClassLabel"},
    "text": {"dtype": "string"},
}


def table(pyarrow, rows):
    """A table as `datasets` writes it: classes are numbers, and their names in the metadata."""
    described = json.dumps({"info": {"features": FEATURES}})
    return pyarrow.Table.from_pylist(rows).replace_schema_metadata({"huggingface": described})


def save(pyarrow, folder: Path, *shards) -> None:
    """Write a folder as `datasets.save_to_disk` does."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        content = table(pyarrow, rows)
        with pyarrow.ipc.new_stream(str(folder / name), content.schema) as writer:
            writer.write_table(content)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": n} for n in names]})
    )
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table(pyarrow, ROWS), tmp_path / "in.bin")
    places_and_items = [("row 1", EXPECTED[0]), ("row 2", EXPECTED[1]), ("row 3", EXPECTED[2])]
    assert list(read_items(tmp_path / "in.bin")) == places_and_items
    (tmp_path / "in.cut").write_bytes((tmp_path / "in.bin").read_bytes()[:-20])
    message = error(lambda: list(read_items(tmp_path / "in.cut")))
    assert message.startswith(".cut: is cut off or damaged (")
    assert message.endswith("); copy it again")


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"text": str(i)} for i in range(1000)]
    save(pyarrow, tmp_path / "in", rows)
    assert [item for _, item in read_items(tmp_path / "in")] == rows


def test_a_folder_of_datasets(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    save(pyarrow, tmp_path / "in", ROWS[:1], ROWS[1:])
    places_and_items = [("row 1", EXPECTED[0]), ("row 2", EXPECTED[1]), ("row 3", EXPECTED[2])]
    # The column of a shard of its own may have no type.
    assert [(p, {**r, "meta": None}) for p, r in read_items(tmp_path / "in")] == [
        (place, {**row, "meta": None}) for place, row in places_and_items
    ]
    assert [Path(name).name for name in input_files(tmp_path / "in")] == [
        "state.json",
        "data-00000-of-00002.arrow",
        "data-00001-of-00002.arrow",
    ]


def test_all_splits_of_a_folder_are_read_in_their_order(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    for split, row in (("train", ROWS[0]), ("test", ROWS[1])):
        save(pyarrow, tmp_path / "in" / split, [row])
    (tmp_path / "in" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    places = [(place, item["text"]) for place, item in read_items(tmp_path / "in")]
    assert places == [("train row 1", "a"), ("test row 1", "b")]
    assert len(input_files(tmp_path / "in")) == 5
    assert next(read_items(tmp_path / "in" / "test"))[0] == "row 1"


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    save(pyarrow, tmp_path / "in", ROWS)
    shard = tmp_path / "in" / "data-00000-of-00001.arrow"
    shard.write_bytes(shard.read_bytes()[:300])
    message = error(lambda: list(read_items(tmp_path / "in")))
    assert message.startswith("/data-00000-of-00001.arrow: is cut off or damaged (")


@pytest.mark.parametrize("content", ["[]", '{"_data_files": 3}', "{}"])
def test_a_folder_that_is_not_described_is_refused(tmp_path: Path, content) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(
        UserError, match=r"state\.json: has no list '_data_files'; save the data set"
    ):
        list(read_items(tmp_path))


def test_without_pyarrow_a_line_says_what_to_install(items, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    expected = ".parquet: to read it takes pyarrow; install it (`pip install pyarrow`)"
    assert error(items, b"PAR1....", "in.parquet") == expected
