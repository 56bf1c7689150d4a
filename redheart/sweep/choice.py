"""Phase 1: from the sweep's learning curves to a learning rate, with the reason in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from redheart.errors import UserError
from redheart.json_values import Json, number, or_null
from redheart.sweep.trials import LAST_EPOCHS

TIE_RULE = (
    "a short sweep flatters large rates, so a small one that keeps up has the least to lose"
    " over a long training, and it is the most stable"
)


@dataclass(frozen=True)
class ChoiceOptions:
    """How the learning rate is chosen."""

    criterion: Literal["one_standard_error", "weighted"] = "one_standard_error"
    """How the rate is chosen. `one_standard_error`: the smallest rate within one standard error of
    the lowest validation loss; `weighted`: the highest weighted sum of loss, stability,
    improvement and gap."""


@dataclass(frozen=True)
class Ranking:
    """The rates in the order of a criterion."""

    order: list[float]
    """The rates that can be chosen, the best first; of equal rates the smallest first."""
    scores: dict[float, float]
    """Every rate's score; NaN where it is unknown."""
    eliminated: dict[float, Json]
    """Every other rate's `rung` of successive halving (null outside of it) and `reason`."""


def rank(rates: Sequence[Mapping[str, Any]], criterion: str) -> Ranking:
    """Order rates, each with the content of its `metrics.json`, by a criterion of `ChoiceOptions`.

    A rate that diverged, that successive halving ended or whose score is not finite is eliminated.
    """
    score_of, sign = _SCORES[criterion]
    scores = {rate["learning_rate"]: score_of(rate) for rate in rates}
    ended = {r["learning_rate"]: _elimination(r, scores[r["learning_rate"]]) for r in rates}
    return Ranking(
        sorted((r for r, end in ended.items() if end is None), key=lambda r: (sign * scores[r], r)),
        scores,
        {rate: end for rate, end in sorted(ended.items()) if end is not None},
    )


def choose_rate(
    rates: Sequence[Mapping[str, Any]], options: ChoiceOptions | None = None
) -> tuple[Json, Json]:
    """Choose a learning rate from the rates' `metrics.json` and say why.

    Returns
    -------
    The content of `best_lr.json` (the rate, the reason, the tie and every rate's score) and of
    `curves.json`.

    Raises
    ------
    UserError
        There is no rate, or every rate is eliminated.
    """
    criterion = (options or ChoiceOptions()).criterion
    rates = sorted(rates, key=lambda rate: rate["learning_rate"])
    ranking = rank(rates, criterion)
    if not ranking.order:
        raise UserError(_nothing_left(ranking.eliminated))
    leader = ranking.order[0]
    noise = _noise([rate for rate in rates if rate["learning_rate"] in ranking.order], leader)
    rate, tie, reason = _CHOICES[criterion](ranking, noise)
    best = {
        "best_learning_rate": rate,
        "criterion": criterion,
        "reason": reason + _remarks(leader, [r["learning_rate"] for r in rates], ranking),
        "tie": tie,
        "intervals": noise.formula,
        "scores": [_score_row(rate, ranking, noise) for rate in rates],
    }
    return best, learning_curves(rates)


def learning_curves(rates: Sequence[Mapping[str, Any]]) -> Json:
    """Return the content of `curves.json`: each rate's mean losses by epoch, ready to plot."""
    columns = ("train_loss", "val_loss", "val_loss_se")
    return {
        "rates": [
            {
                "learning_rate": rate["learning_rate"],
                "epochs": [epoch["epoch"] for epoch in rate["mean"]],
                **{column: [epoch[column] for epoch in rate["mean"]] for column in columns},
            }
            for rate in sorted(rates, key=lambda rate: rate["learning_rate"])
        ]
    }


def weighted_score(summary: Mapping[str, float | None]) -> float:
    """Return the design document's score of a run's summary; higher is better, NaN if unknown.

    0.4/(1 + val_loss) + 0.2 stability + 0.2 min(1, improvement) + 0.2/(1 + |gap|). It depends on
    the unit of the loss and punishes any gap, a healthy one too.
    """
    improvement = number(summary["total_improvement"])
    return (
        0.4 / (1 + number(summary["mean_val_loss_last3"]))
        + 0.2 * number(summary["overall_stability"])
        # min(1, NaN) is 1 in Python: the comparison is written so that NaN stays NaN.
        + 0.2 * (1.0 if improvement > 1 else improvement)
        + 0.2 / (1 + abs(number(summary["overfit_gap"])))
    )


@dataclass(frozen=True)
class _Noise:
    """How far chance alone can separate each remaining rate from the leader."""

    errors: dict[float, float]
    """Standard error by which each rate is compared with the leader."""
    intervals: dict[float, list[float] | None]
    """95 % interval of each rate's validation loss minus the leader's; None: unknown."""
    kind: str
    """What `errors` are the standard errors of, in words."""
    formula: str
    """What `intervals` are intervals of, with their formula, in words."""


def _choose_by_one_standard_error(
    ranking: Ranking, noise: _Noise
) -> tuple[float, list[float], str]:
    """Take the smallest rate within one standard error of the best (Breiman et al. 1984, 3.4.3).

    Returns
    -------
    The rate, the rates that cannot be told from the best, ascending, and the reason in words.
    """
    leader, scores, errors = ranking.order[0], ranking.scores, noise.errors
    tie = sorted(r for r in ranking.order if scores[r] - scores[leader] <= errors[r])
    reason = (
        f"{leader} has the lowest mean validation loss of its last epochs ({LAST_EPOCHS} at most), "
        f"{scores[leader]:.4g}"
    )
    if len(tie) > 1:
        rivals = _listed({rate: scores[rate] for rate in tie if rate != leader})
        reason += (
            f"; within one standard error of it ({noise.kind}): {rivals}"
            f"; of these tied rates the smallest, {tie[0]}, is taken: {TIE_RULE}"
        )
    elif len(ranking.order) > 1:
        second = ranking.order[1]
        reason += (
            f"; the next best, {second} ({scores[second]:.4g}), is further away than one standard "
            f"error ({errors[second]:.2g}, {noise.kind})"
        )
    return tie[0], tie, reason + "."


def _choose_by_weighted(ranking: Ranking, noise: _Noise) -> tuple[float, list[float], str]:
    """Take the highest weighted score, whatever the noise; of equal ones the smallest rate."""
    leader, scores = ranking.order[0], ranking.scores
    tie = [rate for rate in ranking.order if scores[rate] == scores[leader]]
    reason = f"{leader} has the highest weighted score, {scores[leader]:.4g}"
    if len(tie) > 1:
        reason += f"; of the {len(tie)} rates with this score the smallest is taken: {TIE_RULE}"
    elif len(ranking.order) > 1:
        second = ranking.order[1]
        reason += f"; the next best is {second} ({scores[second]:.4g})"
    return leader, tie, reason + "."


def _mean_weighted_score(rate: Mapping[str, Any]) -> float:
    """Score a rate by the mean of its repeats' scores."""
    scores = [weighted_score(summary) for summary in rate["repeats"].values() if summary]
    return fmean(scores) if scores else math.nan


# By criterion: a rate's score, and the sign that makes the best one the lowest.
_SCORES: Mapping[str, tuple[Callable[[Mapping[str, Any]], float], int]] = {
    "one_standard_error": (lambda rate: number(rate["val_loss"]), 1),
    "weighted": (_mean_weighted_score, -1),
}
# By criterion: the choice among the remaining rates.
_CHOICES: Mapping[str, Callable[[Ranking, _Noise], tuple[float, list[float], str]]] = {
    "one_standard_error": _choose_by_one_standard_error,
    "weighted": _choose_by_weighted,
}


def _noise(rates: Sequence[Mapping[str, Any]], leader: float) -> _Noise:
    """Return the noise in the comparison of each rate with the leader.

    With several seeds the standard error is that of the leader's mean. Two or three seeds estimate
    a variance badly, so it is pooled over the rates, weighted by their degrees of freedom. With one
    seed the standard error is that of the mean difference over the validation records, which all
    rates have in common. The spread of the records' own losses is far larger: it would tie a rate
    that learns nothing with a rate that learns.
    """
    means = {rate["learning_rate"]: number(rate["val_loss"]) for rate in rates}
    seeds = {rate["learning_rate"]: len(rate["seeds"]) for rate in rates}
    freedom = sum(seeds.values()) - len(seeds)
    if freedom:
        repeated = [(len(rate["seeds"]), rate["standard_error"] or 0.0) for rate in rates]
        variance = sum((n - 1) * n * error**2 for n, error in repeated) / freedom
        errors = dict.fromkeys(means, math.sqrt(variance / seeds[leader]))
        apart = {
            rate: math.sqrt(variance * (1 / seeds[rate] + 1 / seeds[leader])) for rate in means
        }
        kind = "across seeds, their variance pooled over the rates"
        formula = "difference +- t * sqrt(pooled variance * (1/seeds + 1/seeds of the leader))"
    else:
        losses = {rate["learning_rate"]: rate["record_losses"] for rate in rates}
        freedom = len(losses[leader]) - 1
        apart = errors = {rate: _paired_error(losses[rate], losses[leader]) for rate in losses}
        kind = (
            "of the difference over the validation records; with one seed the noise between seeds "
            "is unknown"
        )
        formula = "difference +- t * standard deviation over the validation records / sqrt(records)"
    return _Noise(
        errors,
        {
            rate: _interval(mean - means[leader], apart[rate], freedom) if rate != leader else None
            for rate, mean in means.items()
        },
        kind,
        f"95 % for a rate's validation loss minus that of {leader}: {formula}, with Student's t at "
        f"{freedom} degrees of freedom",
    )


def _interval(difference: float, error: float, freedom: int) -> list[float] | None:
    """Return Student's 95 % interval around a difference; None where the noise is unknown."""
    from scipy.special import stdtrit

    if freedom < 1 or not math.isfinite(difference):
        return None
    reach = float(stdtrit(freedom, 0.975)) * error
    return [difference - reach, difference + reach]


def _score_row(rate: Mapping[str, Any], ranking: Ranking, noise: _Noise) -> Json:
    """Return a rate's row in `best_lr.json`."""
    learning_rate = rate["learning_rate"]
    return {
        "learning_rate": learning_rate,
        "score": or_null(ranking.scores[learning_rate]),
        "val_loss": rate["val_loss"],
        "standard_error": noise.errors.get(learning_rate),
        "interval": noise.intervals.get(learning_rate),
        "eliminated": ranking.eliminated.get(learning_rate),
    }


def _paired_error(losses: Sequence[float], leading: Sequence[float]) -> float:
    """Return the standard error of the mean of the records' differences; 0 with one record."""
    differences = [loss - best for loss, best in zip(losses, leading, strict=True)]
    return stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0


def _elimination(rate: Mapping[str, Any], score: float) -> Json | None:
    """Return the rung and the reason of a rate's elimination; None if it is not eliminated."""
    if "eliminated" in rate:
        return dict(rate["eliminated"])
    if rate["diverged"]:
        case = rate["diverged"][0]
        reason = f"seed {case['seed']} diverged in epoch {case['epoch']}: {case['reason']}"
        return {"rung": None, "reason": reason}
    if not math.isfinite(score):
        return {"rung": None, "reason": "its score is not a finite number"}
    return None


def _nothing_left(eliminated: Mapping[float, Json]) -> str:
    if not eliminated:
        return "sweep: there is no learning rate to choose from; set sweep.learning_rates"
    cases = "; ".join(f"{rate}: {case['reason']}" for rate, case in eliminated.items())
    # A rate that a rung ended only fell behind. The other eliminated rates are too large.
    last = [rate for rate, case in eliminated.items() if case["rung"] is None] or list(eliminated)
    return (
        f"sweep: every learning rate is eliminated ({cases});"
        f" set sweep.learning_rates to rates below {min(last)}"
    )


def _remarks(leader: float, rates: Sequence[float], ranking: Ranking) -> str:
    """Return further remarks on the choice, each in a sentence."""
    cases = "; ".join(
        f"{rate} ({'' if case['rung'] is None else 'rung {rung}: '.format(**case)}{case['reason']})"
        for rate, case in ranking.eliminated.items()
    )
    remarks = f" Eliminated: {cases}." if cases else ""
    if len(rates) > 1 and leader in (rates[0], rates[-1]):
        end = "smallest" if leader == rates[0] else "largest"
        remarks += f" {leader} is the {end} rate of the sweep: a wider sweep may find a better one."
    return remarks


def _listed(scores: Mapping[float, float]) -> str:
    return ", ".join(f"{rate} ({score:.4g})" for rate, score in scores.items())
