"""The report's figures of the sweep and of the sweet spots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from redheart.figures.drawing import (
    ACCENT,
    BLUE,
    GREEN,
    NORMAL_95,
    ORANGE,
    THEME,
    VIOLET,
    WIDTH,
    Drawing,
    Floats,
    epoch_axis,
    limit,
    nothing,
    short,
)
from redheart.json_values import Json, numbers

# From the smallest learning rate to the largest.
RAMP = LinearSegmentedColormap.from_list("rates", [VIOLET, BLUE, GREEN, "#a08a1c"])
MARKERS = "os^DvPX*"
TIE_MARGIN = 1.25  # factor on the rates at the ends of the tie
# The curves and marks in the panel of a group, in the order of the legend.
CURVES: dict[str, dict[str, Any]] = {
    "training loss": {"color": ORANGE},
    "validation loss": {"color": BLUE, "alpha": 0.5, "linestyle": "", "marker": "."},
    "its moving mean": {"color": BLUE},
    "metric (right axis)": {"color": GREEN},
    "sweet spot": {
        **{"color": ACCENT, "marker": "o", "markersize": 8, "linestyle": "", "zorder": 4},
        "markeredgecolor": THEME["paper"],
    },
    "overfits from here": {"color": THEME["muted"], "linestyle": ":"},
}


def draw_sweep(curves: Json, best: Json) -> Drawing:
    """Draw each learning rate's losses by epoch, the chosen rate in the accent colour.

    The axes fit the rates that could be chosen; the curve of an eliminated rate may leave them. The
    panel below shows the loss that the comparison of rates uses, its standard error, and the tie.

    Parameters
    ----------
    curves, best
        The contents of `curves.json` and `best_lr.json`.
    """
    eliminated = {row["learning_rate"]: row["eliminated"] for row in best["scores"]}

    def draw(figure: Figure) -> None:
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.0, 2.2])[:, 0]
        left, right = above.subplots(1, 2, sharex=True, sharey=True)
        rates = [rate for rate in curves["rates"] if rate["epochs"]]
        for i, rate in enumerate(rates):
            style = _rate_style(i, rates, best, eliminated)
            left.plot(rate["epochs"], numbers(rate["val_loss"]), **style)
            right.plot(rate["epochs"], numbers(rate["train_loss"]), **style)
            if rate["learning_rate"] == best["best_learning_rate"]:
                _draw_band(left, rate)
        usable = [rate for rate in rates if not eliminated.get(rate["learning_rate"])]
        limit(left, [rate[column] for rate in usable for column in ("train_loss", "val_loss")])
        for axes, title in ((left, "Validation loss"), (right, "Training loss")):
            axes.set_title(title)
            epoch_axis(axes)
        if rates:
            labelled = left.get_legend_handles_labels()
            above.legend(*labelled, loc="outside upper left", ncols=3, title="learning rate")
        _draw_choice(below, best)

    return Drawing(WIDTH, 5.6, draw)


def draw_spots(sweet_spots: Mapping[str, Json], kind: str = "groups") -> Drawing:
    """Draw a panel for every group or unit: its curves and its sweet spot.

    Parameters
    ----------
    sweet_spots
        The contents of `sweet_spots.json` by seed; the seeds share a panel.
    kind
        The section of `sweet_spots.json` to draw: `groups`, or a section of the same form.
    """
    names = list(next(iter(sweet_spots.values())).get(kind, ()))
    if not names:
        return nothing(f"no {kind} were looked at in this run")
    columns = min(2 if len(names) <= 8 else 3, len(names))
    rows = math.ceil(len(names) / columns)
    entries = {name: [seed[kind][name] for seed in sweet_spots.values()] for name in names}
    by = {name: _chosen_by(spots[0], sweet_spots, kind) for name, spots in entries.items()}

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, (name, spots) in zip(grid, entries.items(), strict=False):
            _draw_spots(axes, spots, by[name])
            epochs = ", ".join(str(spot["epoch"]) for spot in spots)
            words = epochs if columns > 2 else f"epoch {epochs}"
            axes.set_title(f"{short(name)} · {words}", fontsize=8 if columns > 2 else None)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        for axes in grid[len(names) - columns : len(names)]:
            axes.tick_params(labelbottom=True)
            epoch_axis(axes)
        metric = "metric" in by.values()
        shown = {k: v for k, v in CURVES.items() if metric or "metric" not in k}
        handles = [Line2D([], [], label=label, **style) for label, style in shown.items()]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)

    return Drawing(WIDTH, 0.9 + (2.1 if columns < 3 else 1.7) * rows, draw)


def _chosen_by(spot: Json, sweet_spots: Mapping[str, Json], kind: str) -> str:
    """Return the quantity that chose a sweet spot; for a unit its metric, if it has one."""
    if kind == "groups":
        return str(next(iter(sweet_spots.values()))["by"])
    metrics = {value for value in spot["curve"]["val_metric"] if value is not None}
    return "metric" if len(metrics) > 1 else "loss"


def _draw_choice(figure: Any, best: Json) -> None:
    """Draw every rate's loss with its standard error; shade the tie, accent the chosen rate."""
    axes = figure.subplots()
    axes.set_title("Compared by: the last epochs' validation loss, with one standard error")
    scored = [row for row in best["scores"] if row["val_loss"] is not None]
    for row in scored:
        rate = row["learning_rate"]
        chosen, out = rate == best["best_learning_rate"], bool(row["eliminated"])
        axes.errorbar(
            *(rate, row["val_loss"]),
            yerr=row["standard_error"] or 0.0,
            color=ACCENT if chosen else THEME["muted"] if out else BLUE,
            marker="x" if out else "o",
            markersize=7,
            # Hollow: the rate is not tied with the best, or it was eliminated.
            markerfacecolor=None if rate in best["tie"] else THEME["paper"],
            capsize=3,
            zorder=3,
        )
    usable = [row for row in scored if not row["eliminated"]] or scored
    limit(
        axes,
        [
            [
                row["val_loss"] + sign * (row["standard_error"] or 0)
                for row in usable
                for sign in (-1, 1)
            ]
        ],
    )
    if len(best["tie"]) > 1:
        # The band ends half way to where the next rate would be, on the logarithmic axis.
        low, high = min(best["tie"]) / TIE_MARGIN, max(best["tie"]) * TIE_MARGIN
        axes.axvspan(low, high, color=ACCENT, alpha=0.08, linewidth=0)
        axes.annotate(
            *("tied", (math.sqrt(low * high), 1)),
            xycoords=("data", "axes fraction"),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            color=ACCENT,
        )
    if scored:
        axes.set_xscale("log")
        rates = [row["learning_rate"] for row in scored]
        axes.set_xticks(rates, [str(rate) for rate in rates])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate (filled: tied with the best; cross: eliminated)")


def _rate_style(
    index: int, rates: Sequence[Json], best: Json, eliminated: Mapping[float, str | None]
) -> dict[str, Any]:
    rate = rates[index]["learning_rate"]
    chosen = rate == best["best_learning_rate"]
    remark = "chosen" if chosen else "tied" if rate in best["tie"] else ""
    remark = "eliminated" if eliminated.get(rate) else remark
    return {
        "label": f"{rate} ({remark})" if remark else str(rate),
        "color": ACCENT if chosen else to_hex(RAMP(index / max(1, len(rates) - 1))),
        "linewidth": 2.4 if chosen else 1.4,
        "linestyle": "--" if eliminated.get(rate) else "-",
        "marker": MARKERS[index % len(MARKERS)],
        "zorder": 3 if chosen else 2,
    }


def _draw_band(axes: Axes, rate: Json) -> None:
    """Shade one standard error around a rate's validation loss."""
    loss, error = numbers(rate["val_loss"]), numbers(rate["val_loss_se"])
    axes.fill_between(
        rate["epochs"], loss - error, loss + error, color=ACCENT, alpha=0.15, linewidth=0
    )


def _draw_spots(axes: Axes, spots: Sequence[Json], by: str) -> None:
    """Draw one group's or unit's curves and its choice, for each seed."""
    right = axes.twinx() if by == "metric" else axes
    right.grid(right is axes)
    for spot in spots:
        curve, epochs = spot["curve"], spot["curve"]["epochs"]
        axes.plot(epochs, numbers(curve["train_loss"]), **CURVES["training loss"])
        axes.plot(epochs, numbers(curve["val_loss"]), **CURVES["validation loss"])
        smoothed = _draw_smoothed(axes, curve, "val_loss", "its moving mean")
        if by == "metric":
            label = "metric (right axis)"
            smoothed = _draw_smoothed(right, curve, "val_metric", label)
        if spot["overfitting_epoch"] is not None:
            axes.axvline(spot["overfitting_epoch"], **CURVES["overfits from here"])
        right.plot(spot["epoch"], smoothed[epochs.index(spot["epoch"])], **CURVES["sweet spot"])


def _draw_smoothed(axes: Axes, curve: Json, column: str, label: str) -> Floats:
    """Draw a moving mean with its 95 % band, and return it."""
    epochs, smoothed = curve["epochs"], numbers(curve[f"smoothed_{column}"])
    error = NORMAL_95 * numbers(curve[f"smoothed_{column}_se"])
    axes.plot(epochs, smoothed, **CURVES[label])
    colour = CURVES[label]["color"]
    axes.fill_between(
        epochs, smoothed - error, smoothed + error, color=colour, alpha=0.15, linewidth=0
    )
    return smoothed
