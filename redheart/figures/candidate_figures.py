"""The report's figures of the candidates: their comparison, and the search over the units."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from redheart.figures.drawing import (
    ACCENT,
    BLUE,
    MINUS,
    THEME,
    WIDTH,
    Drawing,
    nothing,
    short,
    signed,
)
from redheart.json_values import Json, numbers

# Bright is better. The colours differ for every kind of colour vision, and in grey.
SCORES = "cividis"


def draw_comparison(rows: Sequence[Mapping[str, Any]], references: Mapping[str, str]) -> Drawing:
    """Draw each candidate's difference to every reference with its interval, as a forest plot.

    Parameters
    ----------
    rows
        From top to bottom, each with `label`, `ships`, `yardstick` and `against`. `against` has by
        reference: `difference`, `low`, `high` (None: undefined), `seeds` (the difference in each
        training seed), `words` (the text at the row's end) and `significant`.
    references
        The references, with their names in words; each has a panel, in which it stands at 0.
    """

    def draw(figure: Figure) -> None:
        grid = figure.subplots(1, len(references), sharey=True, squeeze=False)[0]
        for axes, (reference, words) in zip(grid, references.items(), strict=True):
            _draw_forest(axes, rows, reference)
            axes.set_title(f"against {words}", fontsize=8.5)
        grid[0].set_yticks(range(len(rows)), [row["label"] for row in rows])
        for tick, row in zip(grid[0].get_yticklabels(), rows, strict=True):
            tick.set(color=THEME["ink"], fontweight="bold" if row["ships"] else "normal")
        figure.supxlabel(
            "difference of the macro score on test; filled: p < 0.05 by Holm",
            fontsize=9,
            color=THEME["muted"],
        )

    return Drawing(WIDTH, 0.9 + 0.24 * max(3, len(rows)), draw)


def draw_path(searches: Mapping[str, Json], tasks: int) -> Drawing:
    """Draw the moves of the search as a staircase; a step is a move's gain in macro score.

    Parameters
    ----------
    searches
        The contents of `search.json` by seed; each seed has a panel.
    tasks
        The number of tasks, over which the macro score is a mean.
    """
    lengths = [max(1, len(search["path"])) for search in searches.values()]
    if not searches:
        return nothing("no units were searched in this run")

    def draw(figure: Figure) -> None:
        grid = figure.subplots(
            len(searches), 1, squeeze=False, sharex=True, height_ratios=lengths
        ).ravel()
        for axes, (seed, search) in zip(grid, searches.items(), strict=True):
            _draw_moves(axes, search["path"], tasks)
            if len(searches) > 1:
                axes.set_title(f"seed {seed}")
        grid[-1].set_xlabel("gain in macro score on val_select over the greedy soup")
        grid[-1].xaxis.set_major_locator(MaxNLocator(5))
        grid[-1].xaxis.set_major_formatter(FuncFormatter(signed))

    return Drawing(WIDTH, 0.6 + 0.35 * len(searches) + 0.26 * sum(lengths), draw)


def draw_heat_map(searches: Mapping[str, Json]) -> Drawing:
    """Draw the scores of each unit's epochs on trunks of other epochs, averaged over the seeds.

    Parameters
    ----------
    searches
        The contents of `search.json` by seed.
    """
    maps = [search["heat_map"]["unit"] for search in searches.values()]
    if not maps or not maps[0]:
        return nothing("no unit was tried on the trunks of other epochs")
    units = list(maps[0])
    columns = min(4, len(units))
    rows = math.ceil(len(units) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.ravel()[len(units) :]:
            axes.set_visible(False)
        for axes, unit in zip(grid.ravel(), units, strict=False):
            _draw_map(axes, unit, [of_seed[unit] for of_seed in maps])
        figure.supxlabel("epoch of the unit", fontsize=9, color=THEME["muted"])
        figure.supylabel("epoch of the trunk", fontsize=9, color=THEME["muted"])

    return Drawing(WIDTH, 0.4 + 1.75 * rows, draw)


def _draw_forest(axes: Axes, rows: Sequence[Mapping[str, Any]], reference: str) -> None:
    """Draw one panel of the forest plot."""
    reach = _reach(rows, reference)
    axes.axvline(0, color=THEME["muted"], linewidth=1)
    for y, row in enumerate(rows):
        versus = row["against"][reference]
        if versus["difference"] is not None:
            _draw_interval(axes, y, row, versus, reach)
        axes.text(
            *(1.02, y, versus["words"].replace("-", MINUS)),
            transform=axes.get_yaxis_transform(),
            verticalalignment="center",
            fontsize=8,
            fontweight="bold" if row["ships"] else "normal",
        )
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6))
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(signed))


def _reach(rows: Sequence[Mapping[str, Any]], reference: str) -> float:
    """Return the axis's distance from 0; a distant yardstick does not widen it."""
    comparisons = [
        row["against"][reference]
        for row in rows
        if row["against"][reference]["difference"] is not None and not row["yardstick"]
    ]
    ends = [
        abs(end)
        for versus in comparisons
        for end in (versus["low"], versus["high"], *versus["seeds"])
    ]
    return 1.15 * max(ends, default=0.0) or 0.01


def _draw_interval(
    axes: Axes, y: int, row: Mapping[str, Any], versus: Mapping[str, Any], reach: float
) -> None:
    """Draw a row of the forest plot; a point outside the axes becomes an arrow at their edge."""
    colour = ACCENT if row["ships"] else THEME["muted"] if row["yardstick"] else BLUE
    axes.plot([versus["low"], versus["high"]], [y, y], color=colour, linewidth=2)
    axes.plot(
        versus["seeds"], [y] * len(versus["seeds"]), "|", color=colour, markersize=8, alpha=0.7
    )
    outside = abs(versus["difference"]) > reach
    inside = "s" if row["yardstick"] else "o"
    axes.plot(
        [math.copysign(0.99 * reach, versus["difference"]) if outside else versus["difference"]],
        [y],
        (">" if versus["difference"] > 0 else "<") if outside else inside,
        color=colour,
        markersize=6,
        markerfacecolor=colour if versus["significant"] else THEME["paper"],
        zorder=3,
    )


def _draw_moves(axes: Axes, path: Sequence[Json], tasks: int) -> None:
    """Draw a staircase with a step per move: the unit, its new source, and its task's gain."""
    reached = 0.0
    for y, move in enumerate(path):
        previous, reached = reached, reached + (move["after"] - move["before"]) / tasks
        axes.plot([previous, reached], [y, y], color=BLUE, linewidth=6, solid_capstyle="butt")
        if y + 1 < len(path):
            axes.plot([reached, reached], [y, y + 1], color=THEME["muted"], linewidth=0.7)
        axes.text(
            *(1.02, y, f"{move['task']} {move['before']:.3f} → {move['after']:.3f}"),
            transform=axes.get_yaxis_transform(),
            verticalalignment="center",
            fontsize=8,
        )
    labels = [f"{short(move['unit'])}: {_place(move['to'])}" for move in path]
    axes.set_yticks(range(len(path)), labels)
    if not path:
        axes.text(
            0.5, 0.5, "no exchange gained", transform=axes.transAxes, ha="center", va="center"
        )
    axes.set_ylim(max(1, len(path)) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, labelcolor=THEME["ink"])


def _place(option: int | str) -> str:
    """Return the source of a unit in words: an epoch, or the name of a soup."""
    return f"epoch {option}" if isinstance(option, int) else option.replace("_", " ")


def _draw_map(axes: Axes, unit: str, seeds: Sequence[Json]) -> None:
    """Draw one unit's heat map with a ring around its best cell; the title has the score range."""
    scores = np.mean([[numbers(row) for row in of_seed["scores"]] for of_seed in seeds], axis=0)
    trunks, epochs = seeds[0]["trunk_epochs"], seeds[0]["unit_epochs"]
    axes.pcolormesh(scores, cmap=SCORES, edgecolors=THEME["paper"], linewidth=0.5)
    axes.set_title(short(unit), fontsize=8)
    if np.isfinite(scores).any():
        row, column = np.unravel_index(np.nanargmax(scores), scores.shape)
        axes.plot(
            *([column + 0.5], [row + 0.5], "o"),
            color=ACCENT,
            markersize=8,
            markerfacecolor="none",
            markeredgewidth=2,
        )
        words = f"{np.nanmin(scores):.3f} to {np.nanmax(scores):.3f}"
        axes.set_title(f"{short(unit)}\n{words}", fontsize=7.5)
    axes.set_xticks(np.arange(len(epochs)) + 0.5, [str(epoch) for epoch in epochs], fontsize=7)
    axes.set_yticks(np.arange(len(trunks)) + 0.5, [str(epoch) for epoch in trunks], fontsize=7)
    axes.tick_params(length=0)
    axes.grid(visible=False)
