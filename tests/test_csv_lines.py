"""Cells of CSV: no formula, and each can be read back."""

from __future__ import annotations

import csv

import pytest

from redheart.csv_lines import FORMULA_STARTS, csv_line, restored


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "''@x", "'quoted'", "", "'", "a,b", "-", "\t1"])
def test_a_text_is_no_formula_and_is_restored(text):
    (cell,) = next(csv.reader([csv_line([text])]), [""])
    assert not cell.startswith(FORMULA_STARTS)
    assert restored(cell) == text
