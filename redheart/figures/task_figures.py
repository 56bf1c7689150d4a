"""The figures of the results: the tasks' scores, and what each task gets right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from redheart.figures.drawing import (
    ACCENT,
    BLUE,
    GREEN,
    ORANGE,
    THEME,
    WIDTH,
    Drawing,
    nothing,
    short,
    signed,
)
from redheart.json_values import Json, numbers

# In a figure; the tables have all of them.
MOST_CLASSES = 20
MOST_OUTPUTS = 6
# A cell of a confusion matrix has its count written in it up to this many classes.
CELLS_WITH_COUNTS = 12
# More points than this are a picture inside of an SVG file, which would else be megabytes long.
MOST_POINTS = 400
SHARES = "cividis"  # bright is much; the colours differ for every kind of colour vision
MARKS: dict[str, dict[str, Any]] = {
    "the model, 95 % interval": {"color": ACCENT, "marker": "o", "markersize": 6},
    "TF-IDF + linear": {"color": BLUE, "marker": "s", "linestyle": ""},
    "most frequent answer": {"color": THEME["muted"], "marker": "|", "linestyle": ""},
}


def draw_scores(assessment: Json) -> Drawing:
    """Draw each task's score with its interval, beside the yardsticks; right: the difference.

    Parameters
    ----------
    assessment
        The contents of `assessment.json`.
    """
    tasks = {name: task for name, task in assessment["tasks"].items() if task["score"] is not None}
    if not tasks:
        return nothing("no task is labelled in the test part")
    rows = list(tasks.values())

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        model, linear, majority = MARKS.values()
        for y, task in enumerate(rows):
            left.plot([task["low"], task["high"]], [y, y], color=ACCENT, linewidth=2)
            left.plot([task["score"]], [y], **model, zorder=3)
            _point(left, task["baseline"], y, linear)
            _point(left, task["majority"], y, {**majority, "markersize": 11})
            _draw_difference(right, y, task["versus_baseline"])
        left.set_yticks(range(len(rows)), [short(name) for name in tasks])
        left.set(ylim=(len(rows) - 0.5, -0.5), xlabel="score, 0 to 1", xlim=(-0.02, 1.02))
        right.axvline(0, color=THEME["muted"], linewidth=1)
        right.set_xlabel("the model's gain over TF-IDF + linear")
        right.xaxis.set_major_locator(MaxNLocator(4))
        right.xaxis.set_major_formatter(FuncFormatter(signed))
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0, labelcolor=THEME["ink"])
        handles = [Line2D([], [], label=label, **style) for label, style in MARKS.items()]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)

    return Drawing(WIDTH, 1.1 + 0.3 * max(2, len(rows)), draw)


def draw_task(task: Json) -> Drawing:
    """Draw what one task gets right and wrong.

    Parameters
    ----------
    task
        The task's entry in `assessment.json`. Of a regression the figure shows predictions against
        true values and the errors; of all other kinds the confusions (multilabel: each label's
        precision and recall) and how far the probabilities can be believed.
    """
    if task["kind"] == "regression":
        return _draw_outputs(task.get("outputs") or [])
    classes = task.get("classes") or []
    count = min(len(classes), MOST_CLASSES)
    is_matrix = bool(task.get("confusion"))

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        if is_matrix:
            _draw_confusion(left, task["confusion"])
        else:
            _draw_labels(left, classes)
            figure.legend(loc="outside upper left", ncols=3)
        _draw_reliability(right, task.get("calibration"))

    return Drawing(WIDTH, max(3.2, 1.2 + (0.24 if is_matrix else 0.3) * count), draw)


def draw_map(suspects: Json) -> Drawing:
    """Draw the map of the training records: confidence against variability, a panel per task.

    The axes are those of Swayamdipta et al. 2020, *Dataset Cartography*, figure 1.

    Parameters
    ----------
    suspects
        The contents of `suspects.json`.
    """
    maps = {name: task["map"] for name, task in suspects["tasks"].items() if task.get("map")}
    maps = {name: points for name, points in maps.items() if points["confidence"]}
    if not maps:
        return nothing("no record has a place on the map")
    columns = min(2, len(maps))
    rows = -(-len(maps) // columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(maps) :]:
            axes.set_visible(False)
        for axes, (name, points) in zip(grid, maps.items(), strict=False):
            _draw_points(axes, points)
            axes.set_title(short(name))
        label = "spread of that probability over the checkpoints"
        figure.supxlabel(label, fontsize=9, color=THEME["muted"])
        label = "mean probability of the record's own label"
        figure.supylabel(label, fontsize=9, color=THEME["muted"])
        styles = {"not suspected": BLUE, "suspected": ACCENT}
        handles = [
            Line2D([], [], label=label, color=colour, marker="o", linestyle="", markersize=5)
            for label, colour in styles.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)

    return Drawing(WIDTH, 0.9 + (2.6 if rows == 1 else 2.1) * rows, draw)


def most_confused(confusion: Json, most: int = MOST_CLASSES) -> list[int]:
    """Return which classes a matrix shows: all, or those with the most errors, in their order.

    Parameters
    ----------
    confusion
        `classes` and `counts`, a row for each true class, a column for each predicted one.
    """
    counts = np.array(confusion["counts"], dtype=np.int64).reshape(len(confusion["classes"]), -1)
    if len(counts) <= most:
        return list(range(len(counts)))
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-(errors.sum(axis=0) + errors.sum(axis=1)), kind="stable")
    return sorted(order[:most].tolist())


def _point(axes: Axes, value: float | None, y: int, style: Mapping[str, Any]) -> None:
    if value is not None:
        axes.plot([value], [y], **style)


def _draw_difference(axes: Axes, y: int, versus: Json) -> None:
    """Draw a difference with its interval; filled: significant by Holm."""
    if versus["difference"] is None:
        return
    is_clear = versus["p_holm"] is not None and versus["p_holm"] < 0.05
    axes.plot([versus["low"], versus["high"]], [y, y], color=ACCENT, linewidth=2)
    face = ACCENT if is_clear else THEME["paper"]
    axes.plot([versus["difference"]], [y], "o", color=ACCENT, markerfacecolor=face, markersize=6)


def _draw_confusion(axes: Axes, confusion: Json) -> None:
    """Draw a confusion matrix, each row as shares of the records of its true class."""
    chosen = most_confused(confusion)
    names = [short(confusion["classes"][i], 16) for i in chosen]
    counts = np.array(confusion["counts"], dtype=np.int64)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shown, shares = counts[np.ix_(chosen, chosen)], (counts / totals)[np.ix_(chosen, chosen)]
    axes.pcolormesh(shares, cmap=SHARES, vmin=0, vmax=1, edgecolors=THEME["paper"], linewidth=0.5)
    if len(chosen) <= CELLS_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(shown):
            colour = "#101010" if shares[row, column] > 0.5 else "#f5f5f5"
            place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
            axes.text(column + 0.5, row + 0.5, str(count), color=colour, **place)
    size = 8 if len(chosen) <= CELLS_WITH_COUNTS else 6.5
    places = np.arange(len(chosen)) + 0.5
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    axes.set(ylim=(len(chosen), 0), xlabel="predicted", ylabel="true")
    few = "" if len(chosen) == len(counts) else f", the {len(chosen)} most confused classes"
    axes.set_title(f"Confusions{few}")
    axes.tick_params(length=0, labelcolor=THEME["ink"])
    axes.grid(visible=False)


def _draw_labels(axes: Axes, classes: Sequence[Json]) -> None:
    """Draw each label's precision, recall and F1, the label with the lowest F1 first."""
    rows = sorted(classes, key=lambda row: (row["f1"] is None, row["f1"] or 0.0))[:MOST_CLASSES]
    styles = (("precision", BLUE, "<"), ("recall", ORANGE, ">"), ("f1", ACCENT, "o"))
    for key, colour, marker in styles:
        values = numbers([row[key] for row in rows])
        label = "F1" if key == "f1" else key
        axes.plot(values, range(len(rows)), marker, color=colour, label=label, markersize=5)
    axes.set_yticks(range(len(rows)), [short(row["name"]) for row in rows])
    axes.set(ylim=(max(1, len(rows)) - 0.5, -0.5), xlim=(-0.03, 1.03))
    few = "" if len(rows) == len(classes) else f", the {len(rows)} lowest F1"
    axes.set_title(f"Labels at their thresholds{few}")
    axes.tick_params(axis="y", length=0, labelcolor=THEME["ink"])


def _draw_reliability(axes: Axes, calibration: Json | None) -> None:
    """Draw what share came true of predictions with about the same probability."""
    bins = [row for row in (calibration or {}).get("bins", ()) if row["count"]]
    axes.set_title("Are the probabilities right?")
    axes.plot([0, 1], [0, 1], color=THEME["muted"], linestyle="--", linewidth=1)
    if bins:
        stated, observed = (
            numbers([b[key] for b in bins]) for key in ("mean_probability", "observed")
        )
        counts = numbers([row["count"] for row in bins])
        axes.plot(stated, observed, color=BLUE, linewidth=1.2)
        axes.scatter(stated, observed, s=14 + 110 * counts / counts.max(), color=BLUE, zorder=3)
    else:
        axes.text(0.5, 0.4, "not measured", transform=axes.transAxes, ha="center")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set(xlabel="stated probability", ylabel="share that was so")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(PercentFormatter(1))


def _draw_outputs(outputs: Sequence[Json]) -> Drawing:
    """Draw each output's predictions against the true values, and the histogram of its errors."""
    outputs = [output for output in outputs if output["points"]]
    if not outputs:
        return nothing("no record of test has a value")
    shown = sorted(outputs, key=lambda output: numbers([output["r2"]])[0])[:MOST_OUTPUTS]
    shown = [output for output in outputs if output in shown]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(shown), 2, squeeze=False)
        for (left, right), output in zip(grid, shown, strict=True):
            true, predicted = np.array(output["points"], dtype=np.float64).T
            _draw_scatter(left, true, predicted, output)
            _draw_errors(right, predicted - true, output)
        grid[-1][0].set_xlabel("true value")
        grid[-1][1].set_xlabel("error: predicted less true")

    return Drawing(WIDTH, 0.4 + 2.1 * len(shown), draw)


def _draw_scatter(axes: Axes, true: np.ndarray, predicted: np.ndarray, output: Json) -> None:
    low, high = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    axes.plot([low, high], [low, high], color=THEME["muted"], linestyle="--", linewidth=1)
    if output.get("half_width"):
        ends = np.array([low, high])
        width = output["half_width"]
        axes.fill_between(ends, ends - width, ends + width, color=GREEN, alpha=0.12, linewidth=0)
    alpha = 0.6 if len(true) < 300 else 0.25
    dots: dict[str, Any] = {"s": 10, "color": BLUE, "alpha": alpha, "linewidth": 0}
    axes.scatter(true, predicted, **dots, rasterized=len(true) > MOST_POINTS)
    axes.set(ylabel="predicted")
    axes.set_title(short(output["name"]))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _draw_errors(axes: Axes, errors: np.ndarray, output: Json) -> None:
    axes.hist(errors, bins=min(30, max(5, int(len(errors) ** 0.5))), color=BLUE, alpha=0.75)
    axes.axvline(0, color=THEME["muted"], linewidth=1)
    for end in (-1, 1) if output.get("half_width") else ():
        axes.axvline(end * output["half_width"], color=GREEN, linestyle=":")
    axes.set_title("its errors")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="x", visible=False)


def _draw_points(axes: Axes, points: Json) -> None:
    """Draw one map; the suspected records lie on top."""
    confidence, variability = numbers(points["confidence"]), numbers(points["variability"])
    suspected = np.array(points["suspected"], dtype=bool)
    for rows, colour, size in ((~suspected, BLUE, 6), (suspected, ACCENT, 14)):
        alpha = 0.8 if colour == ACCENT else 0.35
        dots: dict[str, Any] = {"s": size, "color": colour, "alpha": alpha, "linewidth": 0}
        many = rows.sum() > MOST_POINTS
        axes.scatter(variability[rows], confidence[rows], **dots, rasterized=many)
    axes.set(ylim=(-0.03, 1.03), xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(4))
