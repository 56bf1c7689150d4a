"""CSV and TSV: rows as objects, cells as values, and which mistakes cost a row or stop the file."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_items import error

from redheart.data import tables
from redheart.data.tables import SEPARATORS, put, row_items, separator_of


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


def test_put_makes_the_objects_on_the_way() -> None:
    item = {"a": None, "b": 1}
    put(item, "a.x.y", 2)
    assert item == {"a": {"x": {"y": 2}}, "b": 1}
    with pytest.raises(ValueError, match=r"field 'b': expected an object, to hold 'b\.c'"):
        put(item, "b.c", 3)


# An empty cell is no value; csv writes no lone surrogate.
CELLS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5), st.sampled_from([*SEPARATORS]))
def test_what_csv_writes_is_read_back(rows, suffix) -> None:
    separator = SEPARATORS[suffix]
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator).writerows([("one", "two"), *rows])
    content = io.BytesIO(stream.getvalue().encode())
    rows_read = [row for _, row in row_items(Path("in"), content, separator, {"one", "two"})]
    named = [dict(zip(("one", "two"), row, strict=True)) for row in rows]
    assert rows_read == [{name: cell for name, cell in row.items() if cell} for row in named]


@pytest.mark.parametrize(
    ("suffix", "header", "separator"),
    [
        (".csv", b"a,b,c\n1;2;3;4", ","), (".csv", b"a;b\n", ";"), (".csv", b"a\tb\n", "\t"),
        (".csv", b"alone\n", ","), (".csv", b"\xff,b", ","), (".tsv", b"a,b,c\n", "\t"),
    ],
)  # fmt: skip
def test_the_header_alone_tells_the_separator_of_a_csv(suffix, header, separator) -> None:
    assert separator_of(suffix, header) == separator
