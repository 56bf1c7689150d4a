"""CSV and TSV: rows as objects, cells as values, and which mistakes cost a row or stop the file."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import random
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from source_items import error

from redheart.data import quoting
from redheart.data.sources import read_items
from redheart.data.tables import SEPARATORS, put, row_items, separator_of
from redheart.errors import UserError


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
        (b'a,"b"c\n1,2\n', ".csv: line 1: the header: broken CSV (',' expected after '\"'); mend it"),
        (b'a,b\n1,2\n3,"4\n5,6\n', ".csv: line 3: a quote is opened and not closed (unexpected end of data); close it"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_told_apart_stops(items, content, message) -> None:
    assert error(items, content, "in.csv") == message


def test_an_open_quote_does_not_fill_the_memory(items, monkeypatch) -> None:
    monkeypatch.setattr(quoting, "LARGEST_CELL", 100)
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
    # Such a cell can look like two rows.
    assume(not any({"\n", "\r"} & {*cell} and separator in cell for row in rows for cell in row))
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


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    [
        '"two',
        'two"',
        '"two"',
        'a "b" c',
        '"two" and more',
        '"',
        '""',
        '"a""b',
        '5" and 6"',
        '"two""',
    ],
)
def test_the_marks_of_a_tsv_without_quoting_are_text(items, text, newline) -> None:
    rows = ["id\ttext\tlabel", f"1\t{text}\ta", "2\tb\tb", f"3\t{text}\ta", '4\t"x\tb', '5\t"y\ta']
    read = items(newline.join(rows).encode(), "in.tsv", as_text={"text", "label"})
    assert [row["text"] for _, row in read] == [text, "b", text, '"x', '"y']
    assert [place for place, _ in read] == [f"line {n}" for n in range(2, 7)]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b'text\tx\n"a ""b"" c"\t1\n"d"\t2\n', ['a "b" c', "d"]),
        (b'"text"\t"x"\n"a"\t1\n', ["a"]),
        (b'text\tx\n"a\tb"\t1\nc\t2\n', ["a\tb", "c"]),
        (b'text\tx\n"a\nb"\t1\nc\t2\n', ["a\nb", "c"]),
        (b'text\tx\n"a"\t1\nb\t2\n', ['"a"', "b"]),
        (b'text\tx\n"a\nb"\t1\n"c\nd"\t2\n"e\tf\ng"\t3\n', ["a\nb", "c\nd", "e\tf\ng"]),
    ],
)  # fmt: skip
def test_the_quotes_of_a_tsv_count_where_they_must_be_quotes(items, content, texts) -> None:
    assert [row["text"] for _, row in items(content, "in.tsv", as_text={"text"})] == texts


def table(separator, *texts):
    """A table of 40 rows whose last rows have these texts."""
    texts = [*(f"text {i}" for i in range(40 - len(texts))), *texts]
    rows = (separator.join((f"r{i}", text, "ab"[i % 2])) for i, text in enumerate(texts))
    return "\n".join((separator.join(("id", "text", "label")), *rows)).encode()


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_cell_that_swallows_rows_is_refused_with_its_place(items, separator) -> None:
    content = table(separator, '"begins', "lost", "lost too", 'ends"', "last")
    assert error(items, content, "in.csv") == (
        ".csv: line 37: a cell that begins with a quotation mark goes on to line 40, but the lines "
        "by themselves are rows; if they are rows, double the mark and enclose the cell in marks; "
        "if they are one cell, write the table as JSON Lines"
    )


def test_rows_are_swallowed_in_a_table_of_few_rows_or_with_misfits(items) -> None:
    few = b'id,text\n1,"a\n2,b\n3,c"\n'
    misfits = table(",", "a, b", '"begins', "lost", 'ends"')
    for content in (few, misfits):
        assert "by themselves are rows" in error(items, content, "in.csv")


@pytest.mark.parametrize(
    "text",
    [
        "Dear all, hello\nbye, now",
        "a, b\nc, d, e\n\nf, g",
        'He said "x, y"\n"z, a" too',
        "a\r\nb,c",
    ],
)
def test_a_sound_cell_with_commas_and_line_breaks_is_read(items, text) -> None:
    cell = '"' + text.replace('"', '""') + '"'
    read = items(table(",", *[cell] * 3), "in.csv")
    assert [row["text"] for _, row in read][-3:] == [text] * 3
    assert len(read) == 40


def test_a_lost_row_counts_as_many_rows_as_it_has_lines(items, tmp_path) -> None:
    (tmp_path / "in.csv").write_bytes(b'text,x\na,1\n"b\nc\nd" e,2\nf\n"g\nh",1,2\n')
    read = list(read_items(tmp_path / "in.csv"))
    assert [(place, getattr(item, "count", 1)) for place, item in read] == [
        ("line 2", 1), ("line 3", 3), ("line 6", 1), ("line 7", 2),
    ]  # fmt: skip


def review(generator: random.Random) -> str:
    """A text of up to five lines, with commas, and now and then in marks."""
    words = ["good", "bad,", "the", "food", "a,", "went", "there", "again,", "never"]
    sentences = (" ".join(generator.choices(words, k=generator.randint(1, 20))) for _ in range(5))
    text = generator.choice(["\n", "\n\n", "\r\n"]).join(
        itertools.islice(sentences, generator.choice([1, 1, 2, 3, 5]))
    )
    return generator.choice([text, text, f'"{text}', f'{text}"'])


HEADERS = [["text", "label"], ["id", "text", "label"], ["label", "text"], ["id", "text", "y"]]


@pytest.mark.parametrize("names", HEADERS, ids=",".join)
@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("seed", range(3))
def test_sound_reviews_are_read_and_no_row_is_swallowed(names, separator, seed) -> None:
    generator = random.Random(seed)
    rows = [
        {"id": f"r{i}", "text": review(generator), "label": "ab"[i % 2], "y": f"y{i}"}
        for i in range(200)
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names, delimiter=separator, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    sound = io.BytesIO(stream.getvalue().encode())
    read = [row for _, row in row_items(Path("in"), sound, separator, names)]
    assert read == [{name: row[name] for name in names} for row in rows]

    texts = [" ".join(row["text"].replace(",", "").split()) for row in rows]
    lines = (
        separator.join({**row, "text": text}[n] for n in names)
        for row, text in zip(rows, texts, strict=True)
    )
    naive = "\n".join((separator.join(names), *lines)).encode()
    try:
        read = [row for _, row in row_items(Path("in"), io.BytesIO(naive), separator, names)]
    except UserError as error:
        assert "by themselves are rows" in str(error)
        assert separator == ","
    else:
        assert not [row for row in read if isinstance(row, dict) and "\n" in row["text"]]
        assert separator == "," or [row["text"] for row in read] == texts
