"""A comparison for the terminal: at most 80 columns."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from redheart.comparing.comparison import DIFFERENCE, data_lines, difference, notes, verdict
from redheart.json_values import Json

WIDTH = 80
# Settings and steps shown; `--json` and `--html` have all.
MOST_ROWS = 40
MOST_REASONS = 4
UNRECORDED = "unknown: a run has no record of what its steps made (artefacts.json)"


def terminal_lines(comparison: Json) -> list[str]:
    """Return the comparison in lines of at most `WIDTH` columns; nothing in them is a control."""
    sections = [
        ("", _heads(comparison)),
        (f"Scores: {DIFFERENCE}, with a 95 % interval", _scores(comparison)),
        ("Settings that differ", _settings(comparison["settings"])),
        ("Steps that differ", _steps(comparison["steps"])),
        ("Data", (f"  {line}" for line in data_lines(comparison["data"]))),
        ("Costs", _costs(comparison["costs"])),
    ]
    lines = []
    for title, rows in sections:
        lines += ["", title] if title else []
        lines += [wrapped for row in list(rows) or ["  none"] for wrapped in _wrapped(row)]
    return lines


def _wrapped(row: str) -> list[str]:
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in row)
    return textwrap.wrap(
        clean, WIDTH, subsequent_indent="      ", drop_whitespace=True, replace_whitespace=False
    )


def _heads(comparison: Json) -> Iterator[str]:
    for letter, run in zip("AB", comparison["runs"], strict=True):
        ships = (
            f"ships {run['candidate']}, seed {run['seed']}" if run["candidate"] else "no model yet"
        )
        yield f"{letter}  {run['name']}: {ships}"


def _scores(comparison: Json) -> Iterator[str]:
    for score in comparison["scores"]:
        if not score["comparable"]:
            yield f"  {score['part']:<12} not comparable: {score['why']}"
            continue
        macro = score["macro"]
        yield (
            f"  {score['part']:<12} {_number(macro['a'])} -> {_number(macro['b'])}  "
            f"{difference(macro)}  mean over tasks ({len(score['tasks'])})"
        )
        yield f"    {score['records']:,} records of both runs: {verdict(score)}"
        for name, row in score["tasks"].items():
            yield (
                f"    {name[:20]:<20} {_number(row['a'])} -> {_number(row['b'])}  {difference(row)}"
            )
    yield from (f"  {sentence}" for sentence in notes(comparison))


def _number(value: float | None) -> str:
    return "  -  " if value is None else f"{value:.3f}"


def _settings(settings: list[Json]) -> Iterator[str]:
    for row in settings[:MOST_ROWS]:
        yield f"  {row['key']}: {shown(row['a'])} -> {shown(row['b'])}"
    yield from _more(settings)


def _steps(steps: list[Json] | None) -> Iterator[str]:
    if steps is None:
        yield f"  {UNRECORDED}"
        return
    for row in steps[:MOST_ROWS]:
        yield f"  {row['step']:<20} {counted(row)}: {reasons(row)}"
    yield from _more(steps)


def _more(rows: list[Json]) -> Iterator[str]:
    if len(rows) > MOST_ROWS:
        yield f"  and {len(rows) - MOST_ROWS} more (--json and --html have all)"


def counted(row: Json) -> str:
    """Return how many actions of a step each run has alone."""
    both = f", {row['both']} the same" if row["both"] else ""
    return f"{row['a']} and {row['b']} differ{both}"


def reasons(row: Json, most: int = MOST_REASONS) -> str:
    """Return why the actions of a step differ: settings by name, `code`, `inputs`."""
    more = len(row["why"]) - most
    return ", ".join(row["why"][:most]) + (f", and {more} more" if more > 0 else "")


def shown(value: Any, longest: int = 200) -> str:
    """Return a value of a config as YAML and JSON write it, cut off where it is long."""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _costs(costs: list[Json]) -> Iterable[str]:
    yield f"  {'':<16}{'A':>12}{'B':>12}"
    for title, first, second in cost_rows(costs):
        yield f"  {title:<16}{first:>12}{second:>12}"
    yield "  What came from the store cost nothing."


def cost_rows(costs: list[Json]) -> list[tuple[str, str, str]]:
    """Return what both runs took: a title, and the two values in words."""
    phases = [
        (phase.replace("_", " "), *(f"{cost['seconds'][phase]:,.1f} s" for cost in costs))
        for phase in costs[0]["seconds"]
    ]
    total = [f"{sum(cost['seconds'].values()):,.1f} s" for cost in costs]
    memory = [f"{cost['peak_memory_bytes'] / 1e6:,.0f} MB" for cost in costs]
    disk = [f"{cost['disk_bytes'] / 1e6:,.0f} MB" for cost in costs]
    rows = [*phases, ("all phases", *total), ("peak memory", *memory), ("on disk", *disk)]
    return [(title, first, second) for title, first, second in rows]
