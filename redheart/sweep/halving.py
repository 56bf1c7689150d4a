"""Successive halving of the sweep: what its rungs train, and which rates go on from a rung.

Jamieson and Talwalkar 2016 (arXiv 1502.07943); Li et al. 2018 (arXiv 1603.06560), whose eta is the
`reduction_factor` here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any

from redheart.json_values import Json, or_null
from redheart.limits import Above, AtLeast, AtMost
from redheart.sweep.choice import Ranking, rank
from redheart.sweep.trials import join_repeats


@dataclass(frozen=True)
class HalvingOptions:
    """How the sweep spares rates that fall behind."""

    rungs: Annotated[int, AtLeast(1), AtMost(20)] = 1
    """Rungs of successive halving; 1: every rate trains all epochs with all seeds."""
    reduction_factor: Annotated[float, Above(1), AtMost(1_000)] = 3.0
    """One rate in this many goes on to the next rung, which costs as many times more."""


@dataclass(frozen=True)
class Rung:
    """How much a rate that enters a rung has trained at the end of the rung."""

    seeds: int
    """Number of the sweep's seeds that it trained with, from the first."""
    epochs: int
    """Completed epochs with each of these seeds."""


def make_rungs(epochs: int, seeds: int, options: HalvingOptions) -> list[Rung]:
    """Return the rungs; the last rung has all epochs and seeds.

    Going back from there, each rung has fewer seeds by the reduction factor. Once a single seed is
    left, each has fewer epochs instead. Repeats are spared first: they only tell how sure an order
    of the rates is. After few epochs the order itself is another one, and no repeat shows that. No
    rung comes before one of one seed and one epoch.
    """
    rungs = [Rung(seeds, epochs)]
    while len(rungs) < options.rungs and (rungs[0].seeds, rungs[0].epochs) != (1, 1):
        first, factor = rungs[0], options.reduction_factor
        if first.seeds > 1:
            earlier = Rung(_reduced(first.seeds, factor), first.epochs)
        else:
            earlier = Rung(1, _reduced(first.epochs, factor))
        rungs.insert(0, earlier)
    return rungs


def _reduced(count: int, factor: float) -> int:
    """Return a count of 2 or more divided by the factor, at least 1 and less than the count."""
    return min(count - 1, max(1, round(count / factor)))


def decide_rung(
    trials: Sequence[Mapping[str, Any]], rung: int, criterion: str, reduction_factor: float
) -> Json:
    """Decide which rates go on from a rung.

    Parameters
    ----------
    trials
        The rung's `seed_<s>.json` of all rates and seeds, eliminated rates included.
    rung
        The rung's number, from 1.

    Returns
    -------
    The content of `decision.json`: every rate's score, the rates that go on, and for every other
    rate the `rung` at which it ended and the `reason`. Where a rate is a key, it is a text.
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
        "scores": {str(rate): or_null(score) for rate, score in scores.items()},
        "goes_on": sorted(goes_on),
        "eliminated": {str(rate): end for rate, end in sorted(ended.items())},
    }


def _behind(rate: float, goes_on: Sequence[float], ranking: Ranking) -> str:
    """Say why a rate is eliminated; of the rates that go on, the text names only the last."""
    last = goes_on[-1]
    return (
        f"its score {ranking.scores[rate]:.4g} is behind that of {last} "
        f"({ranking.scores[last]:.4g}), the last of {len(goes_on)} to go on"
    )


def _without_none(values: Mapping[str, Any]) -> Json:
    return {key: value for key, value in values.items() if value is not None}
