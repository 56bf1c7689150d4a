"""Successive halving of the sweep: where its rungs end, and which rates go on from one.

Jamieson and Talwalkar 2016 (arXiv 1502.07943); Li et al. 2018 (arXiv 1603.06560), whose eta is the
`reduction_factor` here. A rate goes through a rung with all its seeds; it goes on or ends with all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from redheart.sweep import Json, Ranking, join_repeats, rank


@dataclass(frozen=True)
class HalvingOptions:
    """How the sweep spares rates that fall behind."""

    rungs: int = 1
    """Rungs of successive halving; 1: every rate trains all epochs."""
    reduction_factor: float = 3.0
    """One rate in this many goes on to the next rung, whose end is as many times later; above 1."""


def rung_ends(epochs: int, options: HalvingOptions) -> list[int]:
    """Return the completed epochs at which the rungs end, the last of them `epochs`.

    They shrink from the last by the reduction factor; rungs that would end together are one.
    """
    ages = range(options.rungs)
    return sorted({max(1, round(epochs / options.reduction_factor**age)) for age in ages})


def decide_rung(
    trials: Sequence[Mapping[str, Any]], rung: int, criterion: str, reduction_factor: float
) -> Json:
    """Decide which rates go on from a rung.

    Parameters
    ----------
    trials
        The rung's `seed_<s>.json` of all rates and seeds, eliminated ones among them.
    rung
        Its number, from 1.

    Returns
    -------
    The content of `decision.json`: every rate's score, the rates that go on, and for every other
    one the `rung` at which it ended and the `reason`. Keys of rates are their texts.
    """
    by_rate = groupby(sorted(trials, key=itemgetter("learning_rate")), itemgetter("learning_rate"))
    rates = [join_repeats(list(repeats)) for _, repeats in by_rate]
    entered = sum("eliminated" not in rate for rate in rates)
    ranking = rank(rates, criterion)
    goes_on = ranking.order[: math.ceil(entered / reduction_factor)]
    behind = ranking.order[len(goes_on) :]
    ended = {rate: {"rung": rung, **_without_none(end)} for rate, end in ranking.eliminated.items()}
    ended |= {rate: {"rung": rung, "reason": _behind(rate, goes_on, ranking)} for rate in behind}
    scores = {rate["learning_rate"]: ranking.scores[rate["learning_rate"]] for rate in rates}
    return {
        "rung": rung,
        "criterion": criterion,
        "scores": {str(r): score if math.isfinite(score) else None for r, score in scores.items()},
        "goes_on": sorted(goes_on),
        "eliminated": {str(rate): end for rate, end in sorted(ended.items())},
    }


def _behind(rate: float, goes_on: Sequence[float], ranking: Ranking) -> str:
    """Say by what a rate is eliminated; it names the last that goes on, not all that did not."""
    last = goes_on[-1]
    return (
        f"its score {ranking.scores[rate]:.4g} is behind that of {last} "
        f"({ranking.scores[last]:.4g}), the last of {len(goes_on)} to go on"
    )


def _without_none(values: Mapping[str, Any]) -> Json:
    return {key: value for key, value in values.items() if value is not None}
