"""A comparison as one page of HTML that needs no other file."""

from __future__ import annotations

from pathlib import Path

from redheart.comparing import comparison as words
from redheart.comparing.words import UNRECORDED, cost_rows, counted, reasons, shown
from redheart.json_values import Json, number

TEMPLATE = Path(__file__).with_suffix(".html")
# The widest that the scale of the differences is drawn, -1 to 1, in percent of its width.
LEAST_SPAN = 0.01


def build_page(comparison: Json) -> str:
    """Return the page; all that comes from the runs is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE.name).render(
        comparison=comparison,
        headline=headline(comparison),
        notes=words.notes(comparison),
        data_lines=words.data_lines(comparison["data"]),
        cost_rows=cost_rows(comparison["costs"]),
        verdict=words.verdict,
        difference=words.difference,
        counted=counted,
        unrecorded=UNRECORDED,
        reasons=lambda row: reasons(row, most=12),
        shown=lambda value: shown(value, longest=2000),
        bar=bar,
        span=span(comparison),
    )


def headline(comparison: Json) -> str:
    """Return what the best part says that is comparable: test, else val_confirm, else none."""
    for part in ("test", "val_confirm"):
        for score in comparison["scores"]:
            if score["part"] == part and score["comparable"]:
                told = f"On {part}, {words.verdict(score)}"
                return told + ("." if score["identical"] else f": {_difference(score)}.")
    return "The two models cannot be compared on test or val_confirm."


def _difference(score: Json) -> str:
    return f"{words.DIFFERENCE} is {words.difference(score['macro'])}"


def span(comparison: Json) -> float:
    """Return the largest end of any interval, for one scale of all bars."""
    ends = [
        abs(number(row[end]))
        for score in comparison["scores"]
        if score["comparable"]
        for row in (score["macro"], *score["tasks"].values())
        for end in ("low", "high")
        if row[end] is not None
    ]
    return max([LEAST_SPAN, *ends])


def bar(row: Json, span: float) -> dict[str, str] | None:
    """Return where a difference and its interval lie on a scale from -span to span, in percent."""
    if row["low"] is None:
        return None
    left, right, point = (50 + 50 * row[key] / span for key in ("low", "high", "difference"))
    return {
        "left": f"{left:.2f}",
        "width": f"{max(right - left, 0.4):.2f}",
        "point": f"{point:.2f}",
        "kind": "plus" if row["low"] > 0 else "minus" if row["high"] < 0 else "open",
    }
