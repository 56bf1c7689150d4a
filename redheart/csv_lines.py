"""Lines of CSV in which no text acts as a spreadsheet's formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

# Spreadsheets read a cell that begins with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

Cell = str | float | None


def csv_line(row: Sequence[Cell]) -> str:
    """Return one line of CSV; numbers keep their full precision, None is an empty cell."""
    stream = io.StringIO()
    # With both characters in the end of a line, a cell that holds either of them is quoted.
    csv.writer(stream, lineterminator="\r\n").writerow(map(escaped, row))
    return stream.getvalue().removesuffix("\r\n") + "\n"


def restored(text: str) -> str:
    """Return the text that `csv_line` wrote as this cell."""
    is_escaped = text.startswith("'") and text.lstrip("'").startswith(FORMULA_STARTS)
    return text[1:] if is_escaped else text


def escaped(cell: Cell) -> Cell:
    """Return a cell that no spreadsheet takes for a formula; numbers and None stay."""
    # A text that looks escaped gets one more mark, so that each can be restored.
    is_formula = isinstance(cell, str) and cell.lstrip("'").startswith(FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell
