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
    csv.writer(stream, lineterminator="\r\n").writerow(map(_escaped, row))
    return stream.getvalue().removesuffix("\r\n") + "\n"


def _escaped(cell: Cell) -> Cell:
    is_formula = isinstance(cell, str) and cell.startswith(FORMULA_STARTS)
    return f"'{cell}" if is_formula else cell
