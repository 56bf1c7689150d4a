"""The report's tables of learning rates and sweet spots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from redheart.json_values import Json
from redheart.report.candidate_tables import list_epochs
from redheart.report.tables import Table, make_table


def rates_table(best: Json) -> Table:
    """Return a row per learning rate: its score and its outcome."""

    def outcome(row: Json) -> str:
        if row["eliminated"]:
            return "eliminated"
        if row["learning_rate"] == best["best_learning_rate"]:
            return "chosen"
        return "tied" if row["learning_rate"] in best["tie"] else ""

    return make_table(
        best["scores"],
        ("learning rate", "", lambda row: str(row["learning_rate"])),
        ("outcome", "", outcome),
        ("validation loss", ".4f", lambda row: row["val_loss"]),
        ("standard error", ".4f", lambda row: row["standard_error"]),
        ("to the best, low", "+.4f", lambda row: (row["interval"] or [None])[0]),
        ("high", "+.4f", lambda row: (row["interval"] or [None])[-1]),
        (f"score ({best['criterion']})", ".4f", lambda row: row["score"]),
        ("ended in rung", "d", lambda row: (row["eliminated"] or {}).get("rung")),
        ("why eliminated", "", lambda row: (row["eliminated"] or {}).get("reason")),
        mark=lambda row: outcome(row) == "chosen",
    )


def sweet_spots_table(sweet_spots: Mapping[str, Json]) -> Table:
    """Return a row per group and training seed: the chosen epoch and the reason."""
    return make_table(
        spots_by_group(sweet_spots),
        ("group", "", lambda spot: spot["group"]),
        ("seed", "", lambda spot: spot["seed"]),
        ("modules", "", lambda spot: ", ".join(spot["modules"])),
        ("epoch", "d", lambda spot: spot["epoch"]),
        ("score", ".4f", lambda spot: spot["score"]),
        ("noise", ".2g", lambda spot: spot["noise"]),
        ("as good", "", lambda spot: list_epochs(spot["as_good_epochs"])),
        ("overfits from", "d", lambda spot: spot["overfitting_epoch"]),
        ("p", ".2g", lambda spot: spot["overfitting"]["p_value"]),
        ("reason", "", lambda spot: spot["reason"]),
    )


def spots_by_group(sweet_spots: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Return all sweet spots with their `group` and `seed`, the seeds of a group side by side."""
    groups = next(iter(sweet_spots.values()))["groups"]
    return [
        {"group": group, "seed": seed, **spots["groups"][group]}
        for group in groups
        for seed, spots in sweet_spots.items()
    ]


def hyperparameters_table(hyperparameters: Mapping[str, Any]) -> Table:
    """Return a row for each key of the config that changes what is learned, with its value."""
    return make_table(
        hyperparameters.items(),
        ("key", "", lambda row: row[0]),
        ("value", "", lambda row: "null" if row[1] is None else _as_yaml(row[1])),
    )


def _as_yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
