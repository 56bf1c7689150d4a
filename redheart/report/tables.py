"""Tables: their columns and cells, and their conversion to Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redheart import markdown
from redheart.csv_lines import Cell, csv_line


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


def to_csv(table: Table) -> str:
    """Return a table as CSV, numbers in full precision; no text acts as a spreadsheet formula."""
    head = [column.title for column in table.columns]
    return "".join(map(csv_line, (head, *table.rows)))
