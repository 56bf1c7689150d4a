"""Tables: what stands in their cells, and how it becomes Markdown or CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# Spreadsheets take a cell that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# A single underscore inside a word is no Markdown; `best_single` stays readable.
MARKDOWN_MARKS = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")

Cell = str | float | None


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    """What stands above it."""
    show: str = ""
    """Format of its numbers for readers, such as `.3f`; empty: a column of text."""


@dataclass(frozen=True)
class Table:
    """A table, before it is Markdown, CSV or HTML."""

    columns: tuple[Column, ...]
    """Its columns, from left to right."""
    rows: tuple[tuple[Cell, ...], ...]
    """Its cells; numbers in full, None where there is nothing to tell."""
    marked: frozenset[int] = frozenset()
    """Indices of the rows that were chosen; the page sets them off."""


def make_table(
    entries: Iterable[Any],
    *columns: tuple[str, str, Callable[[Any], Cell]],
    mark: Callable[[Any], bool] = lambda entry: False,
) -> Table:
    """Make a table with a row per entry; a column is its title, its format and its cell's source.

    `mark` tells whether an entry's row is to be set off.
    """
    entries = list(entries)
    return Table(
        tuple(Column(title, show) for title, show, _ in columns),
        tuple(tuple(read(entry) for _, _, read in columns) for entry in entries),
        frozenset(i for i, entry in enumerate(entries) if mark(entry)),
    )


def shown(value: Cell, column: Column) -> str:
    """Return a cell as readers see it; a dash where there is nothing."""
    if value is None or value == "":
        return "–"
    return format(value, column.show) if column.show else str(value)


def to_markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown; what stands in a cell is text and never markup."""
    lines = [
        [_markdown_text(column.title) for column in table.columns],
        ["---:" if column.show else "---" for column in table.columns],
        *(
            [_markdown_text(shown(*pair)) for pair in zip(row, table.columns, strict=True)]
            for row in table.rows
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_csv(table: Table) -> str:
    """Return a table as CSV, numbers in full; no text in it runs as a spreadsheet's formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.title for column in table.columns])
    writer.writerows([_csv_cell(cell) for cell in row] for row in table.rows)
    return stream.getvalue()


def _markdown_text(text: str) -> str:
    return MARKDOWN_MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def _csv_cell(cell: Cell) -> Cell:
    is_formula = isinstance(cell, str) and cell.startswith(FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell
