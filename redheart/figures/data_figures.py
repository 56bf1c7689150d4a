"""The report's figures of the data phase: near-duplicates, classes and lengths of the parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from redheart.figures.drawing import BLUE, GREEN, ORANGE, THEME, VIOLET, WIDTH, Drawing, short
from redheart.json_values import Json

PART_COLOURS = {"train": BLUE, "val_select": ORANGE, "val_confirm": GREEN, "test": VIOLET}
MOST_CLASSES = 12  # in a figure; the table has all classes


def draw_duplicates(dedup: Json) -> Drawing:
    """Draw the similarity of removed records to the kept ones, and the agreement of labels.

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

    return Drawing(WIDTH, 2.5, draw)


def draw_classes(split: Json) -> Drawing:
    """Draw each class's share in each part and in all records, the largest class first.

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
        for place, (part, counts) in enumerate(split["parts"].items()):
            axes.barh(
                rows - 0.4 + height * (place + 0.5),
                [counts["classes"][name]["share"] for name in classes],
                height=0.85 * height,
                color=PART_COLOURS.get(part, THEME["muted"]),
                label=part,
            )
        overall = [split["classes"][name]["share"] for name in classes]
        axes.vlines(overall, rows - 0.46, rows + 0.46, color=THEME["ink"], label="all records")
        axes.set_yticks(rows, [short(name) for name in classes])
        axes.set(ylim=(len(classes) - 0.4, -0.6), xlabel="share of the part's records")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.tick_params(axis="y", length=0, labelcolor=THEME["ink"])
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper left", ncols=3)

    return Drawing(WIDTH, 1.1 + 0.48 * max(2, len(classes)), draw)


def draw_lengths(lengths: Mapping[str, Sequence[int]]) -> Drawing:
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
            # Quantiles, not every text: the line looks the same, and any corpus gives a small file.
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
        figure.legend(loc="outside upper left", ncols=2)

    return Drawing(WIDTH, 3.2, draw)


def _draw_agreement(axes: Axes, agreement: Json) -> None:
    """Draw the histogram of the majority's share; groups with one label have a bar of their own."""
    counts, unanimous = agreement["majority_share"]["counts"], agreement["unanimous"]
    heights = [*counts[:-1], counts[-1] - unanimous, unanimous]
    bars = axes.bar(range(11), heights, color=[*[ORANGE] * 10, BLUE], width=0.8)
    axes.bar_label(bars, [f"{height:,}" if height else "" for height in heights], fontsize=8)
    axes.set_xticks([0.5, 2.5, 4.5, 6.5, 8.5, 10], ["10 %", "30 %", "50 %", "70 %", "90 %", "all"])
    axes.set(xlim=(next((i for i in range(5) if counts[i]), 4) - 0.6, 10.6))
    axes.set_xlabel("records with the group's most frequent label")
