"""Tables: what readers see of a cell, and that no text acts as markup or as a formula."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from redheart.csv_lines import FORMULA_STARTS
from redheart.report.tables import (
    Column,
    Table,
    latex,
    make_table,
    shown,
    to_csv,
    to_latex,
    to_markdown,
)

HOSTILE = '<script>alert("x")</script> a|b\n*c* _d_ `e` [f](http://g)'


def test_a_cell_without_a_value_is_a_dash_in_any_column():
    assert shown(None, Column("loss", ".3f")) == shown("", Column("remark")) == "–"
    assert shown(0.12345, Column("loss", ".3f")) == "0.123"
    assert shown(0.0, Column("loss", ".3f")) == "0.000"


@given(st.lists(st.text(), min_size=2, max_size=2))
def test_any_text_stays_in_its_markdown_cell(cells):
    table = Table((Column("a"), Column("b")), (tuple(cells),))
    lines = to_markdown(table).split("\n")
    assert len(lines) == 4 and lines[-1] == ""
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", lines[2])) == 3


def test_text_is_no_markup_in_markdown():
    text = to_markdown(Table((Column("best_single"),), ((HOSTILE,),)))
    assert text.splitlines()[0] == "| best_single |"
    assert text.splitlines()[2] == (
        r'| \<script\>alert("x")\</script\> a\|b \*c\* \_d\_ \`e\` \[f\](http://g) |'
    )


def test_csv_keeps_numbers_in_full_and_text_as_it_is():
    table = Table((Column("a"), Column("b", ".1f"), Column("c")), ((HOSTILE, -1 / 3, None),))
    rows = list(csv.reader(io.StringIO(to_csv(table), newline="")))
    assert rows == [["a", "b", "c"], [HOSTILE, repr(-1 / 3), ""]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum(a)", "\t=1"])
def test_csv_has_no_formulas(text):
    assert next(csv.reader([to_csv(Table((Column("a"),), ((text,),))).split("\n")[1]])) == [
        f"'{text}"
    ]


class Cells(HTMLParser):
    """The texts of a page's cells; a tag inside a cell shows that its text was markup."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.tags, self.is_in_cell = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")
            self.is_in_cell = True

    def handle_endtag(self, tag):
        self.is_in_cell = self.is_in_cell and tag != "td"

    def handle_data(self, data):
        if self.is_in_cell:
            self.cells[-1] += data


SHOWN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(SHOWN, SHOWN)
@example("# a", "- b")
@example("&amp; &#35;", "http://a.b <http://c.d> ![e](f)")
@example("**a** __b__ ~~c~~ `` d ``", "[a]: /b 'c'")
def test_a_reader_of_markdown_shows_the_text_itself(one, two):
    table = Table((Column("a"), Column("b")), ((one, two),))
    page = Cells(MarkdownIt().enable(["table", "strikethrough"]).render(to_markdown(table)))
    assert page.cells == [" ".join((text or "–").split()) for text in (one, two)]
    assert page.tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()


@given(st.lists(st.tuples(SHOWN, NUMBERS), max_size=5))
def test_what_csv_reads_again_is_what_the_table_holds(rows):
    table = Table((Column("text"), Column("number", ".2f")), tuple(rows))
    head, *lines = csv.reader(io.StringIO(to_csv(table), newline=""))
    assert head == ["text", "number"]
    for (text, number), (text_read, number_read) in zip(rows, lines, strict=True):
        assert text_read.removeprefix("'") == text.removeprefix("'")
        assert not text_read.startswith(FORMULA_STARTS)
        assert number_read == ("" if number is None else repr(number))


def test_a_table_is_made_row_by_row_and_marks_what_is_chosen():
    entries = iter([{"rate": 0.1, "note": ""}, {"rate": None, "note": "ended"}])
    table = make_table(
        entries,
        ("rate", ".2f", lambda entry: entry["rate"]),
        ("note", "", lambda entry: entry["note"]),
        mark=lambda entry: entry["note"] == "ended",
    )
    assert table == Table(
        (Column("rate", ".2f"), Column("note")), ((0.1, ""), (None, "ended")), frozenset({1})
    )
    assert to_markdown(table).splitlines() == [
        "| rate | note |", "| ---: | --- |", "| 0.10 | – |", "| – | ended |",
    ]  # fmt: skip


COMMANDS = re.compile(
    r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textquotedbl)\{\}"
)


@given(st.text())
@example('[b] 50 % & a_b #1 $x$ {~^} \\\\ "quoted" <i>|')
def test_no_text_acts_as_markup_in_latex(text):
    """Without the commands and the escaped marks, nothing is left that LaTeX takes for markup."""
    line = COMMANDS.sub("", latex(text))
    assert not re.search(r"[\\&%$#_{}~^<>|\"]", re.sub(r"\\[&%$#_{}]", "", line))
    assert "\n" not in line and all(map(str.isprintable, line))


def test_a_table_in_latex_has_a_row_a_line_and_breaks_long_texts():
    columns = (Column("a_b"), Column("n", ".2f"), Column("text"))
    text = to_latex(Table(columns, (("[x]", 1 / 3, "y" * 50), ("z", None, "short"))))
    assert text.splitlines() == [
        r"\begin{tabular}{lr>{\raggedright\arraybackslash}p{0.75\linewidth}}",
        r"\toprule",
        r"{}a\_b & n & text \\",
        r"\midrule",
        rf"{{}}[x] & 0.33 & {'y' * 50} \\",
        r"{}z & – & short \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
