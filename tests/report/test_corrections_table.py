"""The report's table of corrections."""

from __future__ import annotations

from redheart.report.data_tables import corrections_table


def test_every_change_is_a_row_and_without_corrections_there_is_none():
    applied = [
        {"id": "a", "field": "tags", "before": ["x"], "after": ["x", "y"]},
        {"id": "b", "field": "label", "before": None, "after": "good"},
        {"id": "c", "dropped": True},
    ]
    table = corrections_table({"corrections": {"applied": applied}})
    assert [[str(cell) for cell in row] for row in table.rows] == [
        ["a", "tags", '["x"]', '["x", "y"]'],
        ["b", "label", "null", "good"],
        ["c", "", "", "dropped"],
    ]
    assert not corrections_table({}).rows
