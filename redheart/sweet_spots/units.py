"""Phase 3 for units: the best epoch of each unit that the crossover by task x module stitches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from redheart.sweet_spots.choice import SweetSpotOptions, sweet_spot
from redheart.sweet_spots.curves import Curve, module_mean

# The key in sweet_spots.json -> the table of modules that its epochs are chosen from.
SOURCES = {"units": "modules", "units_ema": "modules_ema"}


def find_unit_spots(
    metrics: Sequence[Mapping[str, Any]],
    modules_by_unit: Mapping[str, Sequence[str]],
    options: SweetSpotOptions,
) -> dict[str, dict[str, Any]]:
    """Choose the best epoch of each unit by its own metric, for the weights and their average.

    Parameters
    ----------
    metrics
        The contents of the `metrics_<eee>.json`, one a checkpoint.
    modules_by_unit
        The units, as `redheart.recipe.groups.units` returns them. A unit that contributes to no
        task (a frozen backbone) has no metric and is left out.

    Returns
    -------
    `units` and, where averages were saved, `units_ema` of `sweet_spots.json`, with entries like
    those of the groups. The epoch of a unit whose metric is defined nowhere, or is everywhere the
    same, is chosen by its loss.
    """
    metrics = sorted(metrics, key=lambda checkpoint: checkpoint["epoch"])
    return {
        key: {
            unit: _unit_spot(_read_curve(metrics, table, unit, modules), modules, options)
            for unit, modules in modules_by_unit.items()
            if any(module in metrics[0]["modules"] for module in modules)
        }
        for key, table in SOURCES.items()
        if table in metrics[0]
    }


def _unit_spot(curve: Curve, modules: Sequence[str], options: SweetSpotOptions) -> dict[str, Any]:
    values = curve.val_metric[np.isfinite(curve.val_metric)]
    by: Literal["metric", "loss"] = "metric" if len(np.unique(values)) > 1 else "loss"
    return sweet_spot(curve, modules, replace(options, selector=options.unit_selector, by=by))


def _read_curve(
    metrics: Sequence[Mapping[str, Any]], table: str, unit: str, modules: Sequence[str]
) -> Curve:
    """Read a unit's curves; the stability of gradients is known of groups only, so it is NaN."""
    tables = [checkpoint[table] for checkpoint in metrics]
    return Curve(
        group=unit,
        epochs=np.array([checkpoint["epoch"] for checkpoint in metrics], dtype=np.int64),
        train_loss=module_mean(tables, modules, "train_loss"),
        val_loss=module_mean(tables, modules, "val_loss"),
        stability=np.full(len(metrics), np.nan),
        val_metric=module_mean(tables, modules),
    )
