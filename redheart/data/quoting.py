"""Whether the quotation marks of a table enclose cells, or are part of the texts.

Two readings of a table are possible. In the quoted one (RFC 4180) a mark at the beginning of a cell
opens it, so that it may hold separators and line breaks. In the plain one every line is a row, and
a mark is a character like any other. docs/decisions/012-quotes-in-tables.md says why a table is
read in the one way or in the other, and when it is refused.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from redheart.errors import UserError

QUOTE = '"'
# Characters. A quote that is never closed makes the rest of a table one cell.
LARGEST_CELL = 1 << 24
# A column of labels holds at most this many distinct cells, each this often on average.
MOST_LABELS, LABEL_REPEATS = 1000, 10
# Share of the rows of several lines whose lines may look like rows by chance.
SHARE_BY_CHANCE, SHARE_BY_CHANCE_WITH_LABELS = 0.5, 0.1


class Unclosed(ValueError):
    """A quote is opened and not closed, so that no row behind it can be told apart."""


class Row(NamedTuple):
    """A row of a table, and where it stands in the file."""

    line: int
    """Number of its first line, from 1."""
    lines: Sequence[str]
    """Its lines as they stand in the file; those that are blank are among them."""
    cells: Sequence[str] | ValueError
    """Its cells, or why they cannot be told apart."""


@dataclass
class Survey:
    """What the two readings of a table make of it."""

    width: int
    """Number of cells in the header."""
    plain: int = 0
    """Lines that are rows of this width in the plain reading."""
    plain_misfits: int = 0
    """Lines that are not."""
    quoted: int = 0
    """Rows of this width in the quoted reading."""
    quoted_misfits: int = 0
    """Rows of another width, or broken ones."""
    spread: int = 0
    """Rows of several lines in the quoted reading."""
    is_quoting: bool = False
    """Whether some marks must be quotes: they enclose the header, or a mark that is doubled."""
    certain: int = 0
    """Rows of this width, of one line and without a mark, in which both readings agree."""
    cells: list[Counter[str] | None] = field(default_factory=list)
    """By column, how often each cell stands in these rows; None: too many differ."""

    @property
    def prefers_plain(self) -> bool:
        """Whether the plain reading fits better, or both fit alike and no mark must be a quote."""
        plain = (not self.plain_misfits, self.plain)
        quoted = (not self.quoted_misfits, self.quoted)
        return plain > quoted or (plain == quoted and not self.is_quoting)


def is_plain(path: Path, text: TextIO, separator: str) -> bool:
    """Tell how to read a table: True in the plain way, False in the quoted way; rewind the text.

    Raises
    ------
    UserError
        A cell of several lines looks like several rows. The message names the lines.
    """
    has_quote = any(QUOTE in line for line in text)
    text.seek(0)
    if not has_quote:
        return True
    survey = _survey(text, separator)
    if separator == "\t" and survey.prefers_plain:
        return True
    if survey.spread:
        _refuse_merged(path, text, separator, survey)
    return False


def rows(text: TextIO, separator: str, plain: bool = False) -> Iterator[Row]:
    """Yield the rows of a table that hold a cell."""
    # The limit holds for the whole process; the default would refuse long texts.
    csv.field_size_limit(LARGEST_CELL)
    lines: list[str] = []
    reader = csv.reader(
        _kept(text, lines),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        strict=True,
    )
    while True:
        first = reader.line_num + 1
        lines.clear()
        cells: Sequence[str] | ValueError
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = not plain and re.match("unexpected end|field larger", str(error))
            cells = Unclosed(str(error)) if is_open else ValueError(f"broken CSV ({error})")
        if cells:
            yield Row(first, lines, cells)


def _kept(text: TextIO, lines: list[str]) -> Iterator[str]:
    """Yield the lines of a text, and put each into `lines` too."""
    for line in text:
        lines.append(line)
        yield line


def _survey(text: TextIO, separator: str) -> Survey:
    every_row = rows(text, separator)
    header = next(every_row)
    if isinstance(header.cells, ValueError):
        width = len(_split(header.lines[0], separator))
    else:
        width = len(header.cells)
    survey = Survey(width, cells=[Counter() for _ in range(width)])
    survey.is_quoting = header.lines[-1].startswith(QUOTE)
    survey.spread += len(header.lines) > 1
    for row in every_row:
        _count(survey, row, separator)
    text.seek(0)
    return survey


def _count(survey: Survey, row: Row, separator: str) -> None:
    """Add a row of the quoted reading to the survey."""
    plain = sum(_is_row(line, survey.width, separator) for line in row.lines)
    survey.plain += plain
    survey.plain_misfits += len(row.lines) - plain
    if isinstance(row.cells, ValueError) or len(row.cells) != survey.width:
        survey.quoted_misfits += 1
        return
    survey.quoted += 1
    if len(row.lines) > 1:
        survey.spread += 1
    elif QUOTE in row.lines[0]:
        survey.is_quoting = survey.is_quoting or any(
            as_it_stands != cell and (QUOTE in cell or not cell)
            for as_it_stands, cell in zip(_split(row.lines[0], separator), row.cells, strict=False)
        )
    else:
        survey.certain += 1
        for column, cell in enumerate(row.cells):
            counter = survey.cells[column]
            if counter is not None:
                counter[cell] += 1
                survey.cells[column] = counter if len(counter) <= MOST_LABELS else None


def _split(line: str, separator: str) -> list[str]:
    return line.rstrip("\r\n").split(separator)


def _is_row(line: str, width: int, separator: str) -> bool:
    return line.count(separator) == width - 1 and not line.isspace()


def _refuse_merged(path: Path, text: TextIO, separator: str, survey: Survey) -> None:
    """Refuse a table in which a cell of several lines looks like several rows.

    Of such a row, more than half of the lines are rows by themselves. Chance makes some rows of a
    sound table look so, and more of them where no column of labels helps to tell.
    """
    labels = {
        column: counter
        for column, counter in enumerate(survey.cells)
        if counter and LABEL_REPEATS * len(counter) <= survey.certain
    }
    places = []
    for row in rows(text, separator):
        if len(row.lines) > 1:
            like_rows = sum(
                _is_row(line, survey.width, separator)
                and all(_split(line, separator)[column] in labels[column] for column in labels)
                for line in row.lines
            )
            if 2 * like_rows > len(row.lines):
                places.append((row.line, row.line + len(row.lines) - 1))
    text.seek(0)
    accepted = SHARE_BY_CHANCE_WITH_LABELS if labels else SHARE_BY_CHANCE
    if len(places) > accepted * survey.spread:
        first, last = places[0]
        raise UserError(
            f"{path}: line {first}: a cell that begins with a quotation mark goes on to line "
            f"{last}, but the lines by themselves are rows; if they are rows, double the mark and "
            "enclose the cell in marks; if they are one cell, write the table as JSON Lines"
        )
