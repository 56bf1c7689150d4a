"""Tables: their columns and cells, and their conversion to Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redheart import markdown
from redheart.csv_lines import Cell, csv_line

# What LaTeX takes for markup, and how to write it.
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
LONG = 40  # characters; LaTeX breaks the lines of a column with a longer text
# Shares of the width of the text that the columns with long texts may take together.
LATEX_TEXT_WIDTH = 0.75


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    """The text above the column."""
    show: str = ""
    """Format of its numbers on the page, such as `.3f`; empty: a column of text."""


@dataclass(frozen=True)
class Table:
    """A table, before its conversion to Markdown, CSV or HTML."""

    columns: tuple[Column, ...]
    """Its columns, from left to right."""
    rows: tuple[tuple[Cell, ...], ...]
    """Its cells; numbers in full precision; None: no value."""
    marked: frozenset[int] = frozenset()
    """Indices of the chosen rows; the page highlights them."""


def make_table(
    entries: Iterable[Any],
    *columns: tuple[str, str, Callable[[Any], Cell]],
    mark: Callable[[Any], bool] = lambda entry: False,
) -> Table:
    """Make a table with a row per entry; a column is a title, a format and a function of an entry.

    `mark` tells whether the table marks the row of an entry.
    """
    entries = list(entries)
    return Table(
        tuple(Column(title, show) for title, show, _ in columns),
        tuple(tuple(read(entry) for _, _, read in columns) for entry in entries),
        frozenset(i for i, entry in enumerate(entries) if mark(entry)),
    )


def shown(value: Cell, column: Column) -> str:
    """Return a cell as readers see it; a dash for no value."""
    if value is None or value == "":
        return "–"
    return format(value, column.show) if column.show else str(value)


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown; the text of a cell never acts as markup."""
    lines = [
        [markdown.plain(column.title) for column in table.columns],
        ["---:" if column.show else "---" for column in table.columns],
        *(
            [markdown.plain(shown(*pair)) for pair in zip(row, table.columns, strict=True)]
            for row in table.rows
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_latex(table: Table) -> str:
    r"""Return a table in LaTeX, for the packages booktabs and array; its texts are no markup.

    Each row begins with an empty group: behind `\\`, LaTeX would take a bracket for an option.
    Texts are written as they are, so Korean takes XeLaTeX or LuaLaTeX.
    """
    rows = [
        [latex(shown(*pair)) for pair in zip(row, table.columns, strict=True)] for row in table.rows
    ]
    lines = [[latex(column.title) for column in table.columns], *rows]
    head, *body = [f"{{}}{' & '.join(line)} \\\\\n" for line in lines]
    return "".join(
        (
            f"\\begin{{tabular}}{{{_latex_columns(table)}}}\n\\toprule\n",
            *(head, "\\midrule\n", *body),
            "\\bottomrule\n\\end{tabular}\n",
        )
    )


def latex(text: str) -> str:
    """Return one line that LaTeX shows as it is, without characters that it cannot show."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return "".join(LATEX.get(character, character) for character in line)


def _latex_columns(table: Table) -> str:
    """Return the columns of a `tabular`: numbers at the right, long texts in lines."""
    longest = [
        max((len(str(row[k])) for row in table.rows if row[k] is not None), default=0)
        for k in range(len(table.columns))
    ]
    is_long = [n > LONG and not c.show for n, c in zip(longest, table.columns, strict=True)]
    width = LATEX_TEXT_WIDTH / max(1, sum(is_long))
    paragraph = f">{{\\raggedright\\arraybackslash}}p{{{width:.2f}\\linewidth}}"
    kinds = zip(is_long, table.columns, strict=True)
    return "".join(paragraph if long else "r" if c.show else "l" for long, c in kinds)


def to_csv(table: Table) -> str:
    """Return a table as CSV, numbers in full precision; no text acts as a spreadsheet formula."""
    head = [column.title for column in table.columns]
    return "".join(map(csv_line, (head, *table.rows)))
