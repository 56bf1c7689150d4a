"""The report's figures as SVG text; the same data give the same bytes."""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)
from numpy.typing import NDArray

Json = Mapping[str, Any]
Floats = NDArray[np.float64]

# These four give way to the page's own where a figure stands in it, or dark mode would hide them.
THEME = {"ink": "#1b1f24", "muted": "#5d6773", "rule": "#dde2e8", "paper": "#ffffff"}
# These are read on light and on dark ground; the accent marks what was chosen.
ACCENT, BLUE, ORANGE, GREEN, VIOLET = "#d8404f", "#3a7fc4", "#d07a1f", "#2f9a74", "#8a6cc8"
PART_COLOURS = {"train": BLUE, "val_select": ORANGE, "val_confirm": GREEN, "test": VIOLET}
# From the smallest learning rate to the largest.
RAMP = LinearSegmentedColormap.from_list("rates", [VIOLET, BLUE, GREEN, "#a08a1c"])
MARKERS = "os^DvPX*"
# What a group's panel shows, in the order of the legend.
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

MINUS = "\N{MINUS SIGN}"
NORMAL_95 = 1.96  # standard errors to either side
WIDTH = 7.6  # inches
MOST_CLASSES = 12  # in a figure; the table has them all
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "redheart",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "figure.facecolor": THEME["paper"],
    "axes.facecolor": "none",
    "axes.edgecolor": THEME["muted"],
    "axes.linewidth": 0.7,
    "axes.labelcolor": THEME["muted"],
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": THEME["rule"],
    "grid.linewidth": 0.7,
    "text.color": THEME["ink"],
    "xtick.color": THEME["muted"],
    "ytick.color": THEME["muted"],
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}


def draw_sweep(curves: Json, best: Json) -> str:
    """Draw each learning rate's losses by epoch, the chosen rate in the accent colour.

    The axes show the rates that could be chosen; one that was eliminated may run out of them.

    Parameters
    ----------
    curves, best
        The contents of `curves.json` and `best_lr.json`.
    """

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        eliminated = {row["learning_rate"]: row["eliminated"] for row in best["scores"]}
        rates = [rate for rate in curves["rates"] if rate["epochs"]]
        for i, rate in enumerate(rates):
            style = _rate_style(i, rates, best, eliminated)
            left.plot(rate["epochs"], _floats(rate["val_loss"]), **style)
            right.plot(rate["epochs"], _floats(rate["train_loss"]), **style)
            if rate["learning_rate"] == best["best_learning_rate"]:
                _draw_band(left, rate)
        usable = [rate for rate in rates if not eliminated.get(rate["learning_rate"])]
        _limit(left, [rate[column] for rate in usable for column in ("train_loss", "val_loss")])
        for axes, title in ((left, "Validation loss"), (right, "Training loss")):
            axes.set_title(title)
            _epoch_axis(axes)
        if rates:
            figure.legend(
                *left.get_legend_handles_labels(), loc="outside right upper", title="learning rate"
            )

    return _svg(WIDTH, 3.0, draw)


def draw_training(sweet_spots: Mapping[str, Json]) -> str:
    """Draw each group's own losses by epoch with its sweet spot, a panel per group.

    Parameters
    ----------
    sweet_spots
        The contents of `sweet_spots.json` by seed; the seeds share a group's panel.
    """
    groups = list(next(iter(sweet_spots.values()))["groups"])
    columns = min(2, len(groups))
    rows = math.ceil(len(groups) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        by = next(iter(sweet_spots.values()))["by"]
        for axes, group in zip(grid, groups, strict=False):
            spots = [seed["groups"][group] for seed in sweet_spots.values()]
            _draw_group(axes, spots, by)
            epochs = ", ".join(str(spot["epoch"]) for spot in spots)
            axes.set_title(f"{group} · epoch {epochs}")
        for axes in grid[len(groups) :]:
            axes.set_visible(False)
        for axes in grid[len(groups) - columns : len(groups)]:
            axes.tick_params(labelbottom=True)
            _epoch_axis(axes)
        shown = {k: v for k, v in CURVES.items() if by == "metric" or "metric" not in k}
        handles = [Line2D([], [], label=label, **style) for label, style in shown.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=3 + 2 * (by == "loss"))

    return _svg(WIDTH, 0.5 + 2.1 * rows, draw)


def draw_comparison(rows: Sequence[Mapping[str, Any]], reference: str) -> str:
    """Draw each candidate's difference to a reference with its interval, as a forest plot.

    Parameters
    ----------
    rows
        From top to bottom, each with `label`, `difference`, `low`, `high` (None: undefined),
        `seeds` (each training seed's own difference), `words` (to stand at the row's end), `ships`
        and `yardstick`.
    reference
        The words for what stands at 0.
    """
    reach = _reach(rows)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=THEME["muted"], linewidth=1)
        for y, row in enumerate(rows):
            if row["difference"] is not None:
                _draw_interval(axes, y, row, reach)
            axes.text(
                *(1.02, y, row["words"].replace("-", MINUS)),
                transform=axes.get_yaxis_transform(),
                verticalalignment="center",
                fontweight="bold" if row["ships"] else "normal",
            )
        axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set(color=THEME["ink"], fontweight="bold" if row["ships"] else "normal")
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(_signed))
        axes.set_xlabel(f"macro score on test minus that of {reference}")

    return _svg(WIDTH, 0.8 + 0.32 * len(rows), draw)


def draw_duplicates(dedup: Json) -> str:
    """Draw how similar the removed records are to the kept ones, and how far labels agree.

    Parameters
    ----------
    dedup
        The contents of `dedup_report.json`.
    """
    similarities, agreement = dedup["similarity_histogram"], dedup["clusters"]["agreement"]

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        left.stairs(similarities["counts"], similarities["edges"], fill=True, color=BLUE)
        left.axvline(dedup["threshold"], color=THEME["muted"], linestyle="--")
        left.xaxis.set_major_locator(MaxNLocator(5))
        left.set(
            xlabel="similarity to the record that stays (dashed: the threshold)", xlim=(None, 1)
        )
        left.set_title(f"Removed records ({dedup['removed']:,})")
        _draw_agreement(right, agreement)
        right.set_title(f"Groups with several labels ({agreement['clusters']:,})")
        for axes, count in ((left, dedup["removed"]), (right, agreement["clusters"])):
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.grid(axis="x", visible=False)
            if not count:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, color=THEME["muted"])

    return _svg(WIDTH, 2.5, draw)


def draw_classes(split: Json) -> str:
    """Draw the share of each class in each part beside that in all records, the largest first.

    Parameters
    ----------
    split
        The contents of `split_report.json`.
    """
    by_count = sorted(split["classes"].items(), key=lambda item: -item[1]["count"])
    classes = [name for name, _ in by_count[:MOST_CLASSES]]
    height = 0.8 / len(split["parts"])

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = np.arange(len(classes))
        for place, (part, found) in enumerate(split["parts"].items()):
            axes.barh(
                rows - 0.4 + height * (place + 0.5),
                [found["classes"][name]["share"] for name in classes],
                height=0.85 * height,
                color=PART_COLOURS.get(part, THEME["muted"]),
                label=part,
            )
        whole = [split["classes"][name]["share"] for name in classes]
        axes.vlines(whole, rows - 0.46, rows + 0.46, color=THEME["ink"], label="all records")
        axes.set_yticks(rows, [_short(name) for name in classes])
        axes.set(ylim=(len(classes) - 0.4, -0.6), xlabel="share of the part's records")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(axis="y", length=0, labelcolor=THEME["ink"])
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside right upper")

    return _svg(WIDTH, 0.7 + 0.48 * max(2, len(classes)), draw)


def draw_lengths(lengths: Mapping[str, Sequence[int]]) -> str:
    """Draw the cumulative distribution of the texts' lengths, a line per part.

    Parameters
    ----------
    lengths
        The texts' characters (1 or more) by part; no part is empty.
    """
    shares = np.linspace(0, 1, 201)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for part, values in lengths.items():
            # Quantiles instead of every text: as exact to the eye, and small for any corpus.
            axes.plot(
                *(np.quantile(values, shares), shares),
                color=PART_COLOURS.get(part, THEME["muted"]),
                linewidth=3 if part == "train" else 1.4,
                alpha=0.45 if part == "train" else 1,
                label=f"{part} ({len(values):,})",
            )
        if max(map(max, lengths.values())) > 20 * min(map(min, lengths.values())):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlabel="characters in a text", ylim=(0, 1.01))
        axes.set_title("Share of the part's texts that are no longer")
        axes.legend(loc="lower right")

    return _svg(WIDTH, 2.9, draw)


def inlined(svg: str, name: str, label: str) -> str:
    """Return a figure as part of a page: no prolog, ids of its own, the page's colours.

    Parameters
    ----------
    name
        Precedes every id, since a page may hold several figures.
    label
        What the figure shows, for those who do not see it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = body.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for variable, colour in THEME.items():
        body = body.replace(colour, f"var(--{variable})")
    return body


# --- parts of figures -------------------------------------------------------------------------


def _svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """Return a drawing of `width` x `height` inches, free of the user's style and of dates."""
    stream = io.StringIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Korean names: the metrics fall back, the reader's own fonts show them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return stream.getvalue()


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _limit(axes: Axes, columns: Sequence[Sequence[float | None]]) -> None:
    """Fit the y axis to all finite values of the columns, with a margin."""
    values = _floats([value for column in columns for value in column])
    values = values[np.isfinite(values)]
    if len(values):
        margin = 0.06 * (values.max() - values.min()) or 0.1
        axes.set_ylim(values.min() - margin, values.max() + margin)


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
    loss, error = _floats(rate["val_loss"]), _floats(rate["val_loss_se"])
    axes.fill_between(
        rate["epochs"], loss - error, loss + error, color=ACCENT, alpha=0.15, linewidth=0
    )


def _draw_group(axes: Axes, spots: Sequence[Json], by: str) -> None:
    """Draw one group's curves, a set for each training seed; the choice on what it was made by."""
    right = axes.twinx() if by == "metric" else axes
    right.grid(right is axes)
    for spot in spots:
        curve, epochs = spot["curve"], spot["curve"]["epochs"]
        axes.plot(epochs, _floats(curve["train_loss"]), **CURVES["training loss"])
        axes.plot(epochs, _floats(curve["val_loss"]), **CURVES["validation loss"])
        smoothed = _draw_smoothed(axes, curve, "val_loss", "its moving mean")
        if by == "metric":
            label = "metric (right axis)"
            smoothed = _draw_smoothed(right, curve, "val_metric", label)
        if spot["overfitting_epoch"] is not None:
            axes.axvline(spot["overfitting_epoch"], **CURVES["overfits from here"])
        right.plot(spot["epoch"], smoothed[epochs.index(spot["epoch"])], **CURVES["sweet spot"])


def _draw_smoothed(axes: Axes, curve: Json, column: str, label: str) -> Floats:
    """Draw a moving mean with its 95 % band, and return it."""
    epochs, smoothed = curve["epochs"], _floats(curve[f"smoothed_{column}"])
    error = NORMAL_95 * _floats(curve[f"smoothed_{column}_se"])
    axes.plot(epochs, smoothed, **CURVES[label])
    colour = CURVES[label]["color"]
    axes.fill_between(
        epochs, smoothed - error, smoothed + error, color=colour, alpha=0.15, linewidth=0
    )
    return smoothed


def _draw_agreement(axes: Axes, agreement: Json) -> None:
    """Draw the histogram of the majority's share, the groups of one label in a bar of their own."""
    counts, unanimous = agreement["majority_share"]["counts"], agreement["unanimous"]
    heights = [*counts[:-1], counts[-1] - unanimous, unanimous]
    bars = axes.bar(range(11), heights, color=[*[ORANGE] * 10, BLUE], width=0.8)
    axes.bar_label(bars, [f"{height:,}" if height else "" for height in heights], fontsize=8)
    axes.set_xticks([0.5, 2.5, 4.5, 6.5, 8.5, 10], ["10 %", "30 %", "50 %", "70 %", "90 %", "all"])
    axes.set(xlim=(next((i for i in range(5) if counts[i]), 4) - 0.6, 10.6))
    axes.set_xlabel("records with the group's most frequent label")


def _reach(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return how far from 0 the axis goes; a yardstick far away does not squeeze the others."""
    ends = [
        abs(end)
        for row in rows
        if row["difference"] is not None and not row["yardstick"]
        for end in (row["low"], row["high"], *row["seeds"])
    ]
    return 1.15 * max(ends, default=0.0) or 0.01


def _draw_interval(axes: Axes, y: int, row: Mapping[str, Any], reach: float) -> None:
    """Draw a row of the forest plot; what lies outside the axes becomes an arrow at their end."""
    colour = ACCENT if row["ships"] else THEME["muted"] if row["yardstick"] else BLUE
    axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
    axes.plot(row["seeds"], [y] * len(row["seeds"]), "|", color=colour, markersize=8, alpha=0.7)
    outside = abs(row["difference"]) > reach
    axes.plot(
        [math.copysign(0.99 * reach, row["difference"]) if outside else row["difference"]],
        [y],
        (">" if row["difference"] > 0 else "<") if outside else "o",
        color=colour,
        markersize=7,
        markerfacecolor=THEME["paper"] if row["yardstick"] else colour,
        zorder=3,
    )


def _short(name: str) -> str:
    """Return a name in one line that leaves room for what it names."""
    line = " ".join(name.split())
    return line if len(line) <= 28 else f"{line[:27]}…"


def _signed(value: float, _: int | None = None) -> str:
    return f"{value:+.3g}".replace("-", MINUS) if value else "0"
