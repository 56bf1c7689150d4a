"""Phase 1: from the sweep's learning curves to a learning rate, with the reason in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from redheart.errors import UserError

Json = dict[str, Any]

# A rate is judged by the mean over its last epochs: the very last one alone is noisier.
LAST_EPOCHS = 3

TIE_RULE = (
    "a short sweep flatters large rates, so a small one that keeps up has the least to lose"
    " over a long training, and it is the most stable"
)


@dataclass(frozen=True)
class ChoiceOptions:
    """How the learning rate is chosen."""

    criterion: Literal["one_standard_error", "weighted"] = "one_standard_error"
    """one_standard_error: the smallest rate within one standard error of the lowest validation
    loss; weighted: the highest weighted sum of loss, stability, improvement and gap."""


def derive(epochs: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Add the columns that follow from the losses and gradient norms of a run's epochs.

    Parameters
    ----------
    epochs
        One mapping an epoch, in order, each with `train_loss` and `gradient_norm.std`.

    Returns
    -------
    The same rows with `learning_efficiency` (share of the first training loss that is gone),
    `convergence_speed` (change of the training loss; null in the first epoch) and `stability`
    (1 / (1 + standard deviation of the gradient norms), 0 to 1).
    """
    losses = [_number(epoch["train_loss"]) for epoch in epochs]
    return [
        {
            **epoch,
            "learning_efficiency": _or_null((losses[0] - loss) / losses[0] if losses[0] else 0.0),
            "convergence_speed": _or_null(abs(losses[i - 1] - loss)) if i else None,
            "stability": _or_null(1 / (1 + _number(epoch["gradient_norm"]["std"]))),
        }
        for i, (epoch, loss) in enumerate(zip(epochs, losses, strict=True))
    ]


def summarise(epochs: Sequence[Mapping[str, Any]]) -> Json | None:
    """Summarise a run in five numbers; `epochs` are rows that `derive` completed.

    A number is null where an epoch that it needs is missing or not finite; the whole summary is
    None for a run that finished no epoch.
    """
    if not epochs:
        return None
    first, last = epochs[0], epochs[-1]
    speeds = [epoch["convergence_speed"] for epoch in epochs[1:]]
    return {
        "mean_val_loss_last3": _mean([epoch["val_loss"] for epoch in epochs[-LAST_EPOCHS:]]),
        "overfit_gap": _or_null(_number(last["val_loss"]) - _number(last["train_loss"])),
        "total_improvement": _or_null(_number(first["val_loss"]) - _number(last["val_loss"])),
        "overall_stability": _mean([epoch["stability"] for epoch in epochs]),
        "convergence_rate": _mean(speeds),
    }


def join_repeats(repeats: Sequence[Mapping[str, Any]]) -> Json:
    """Join the repeats of one learning rate (one `seed_<s>.json` each) into its `metrics.json`.

    Means and errors are over the repeats that did not diverge. `standard_error` is the one of
    `val_loss` across seeds, null with fewer than two; `record_losses` are those of the validation
    records, whose mean is `val_loss`.
    """
    rates = sorted({repeat["learning_rate"] for repeat in repeats})
    if len(rates) != 1:
        raise UserError(f"sweep: expected the repeats of one learning rate, got those of {rates}")
    repeats = sorted(repeats, key=lambda repeat: repeat["seed"])
    complete = [repeat for repeat in repeats if repeat["diverged"] is None]
    losses = [repeat["summary"]["mean_val_loss_last3"] for repeat in complete]
    return {
        "learning_rate": rates[0],
        "seeds": [repeat["seed"] for repeat in repeats],
        "diverged": [
            {"seed": repeat["seed"], **repeat["diverged"]}
            for repeat in repeats
            if repeat["diverged"] is not None
        ],
        "repeats": {str(repeat["seed"]): repeat["summary"] for repeat in repeats},
        "mean": _mean_epochs([repeat["epochs"] for repeat in complete]),
        "val_loss": _mean(losses),
        "standard_error": _standard_error(losses),
        "record_losses": [
            fmean(each) for each in zip(*(r["record_losses"] for r in complete), strict=True)
        ],
    }


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
    score_of, choose_among = _CRITERIA[criterion]
    rates = sorted(rates, key=lambda rate: rate["learning_rate"])
    scores = {rate["learning_rate"]: score_of(rate) for rate in rates}
    eliminated = {rate["learning_rate"]: _elimination(rate, scores) for rate in rates}
    kept = [rate for rate in rates if eliminated[rate["learning_rate"]] is None]
    if not kept:
        raise UserError(_nothing_left(eliminated))
    choice = choose_among(kept, scores)
    best = {
        "best_learning_rate": choice.rate,
        "criterion": criterion,
        "reason": choice.reason + _remarks(choice.leader, eliminated),
        "tie": choice.tie,
        "scores": [
            {
                "learning_rate": rate["learning_rate"],
                "score": _or_null(scores[rate["learning_rate"]]),
                "val_loss": rate["val_loss"],
                "standard_error": choice.errors.get(rate["learning_rate"]),
                "eliminated": eliminated[rate["learning_rate"]],
            }
            for rate in rates
        ],
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
    improvement = _number(summary["total_improvement"])
    return (
        0.4 / (1 + _number(summary["mean_val_loss_last3"]))
        + 0.2 * _number(summary["overall_stability"])
        # min(1, NaN) is 1 in Python: the comparison is written so that NaN stays NaN.
        + 0.2 * (1.0 if improvement > 1 else improvement)
        + 0.2 / (1 + abs(_number(summary["overfit_gap"])))
    )


@dataclass(frozen=True)
class _Choice:
    """What a criterion decides among the rates that are left."""

    rate: float
    """The chosen learning rate."""
    leader: float
    """The rate with the best score; another one than `rate` where the tie rule decided."""
    tie: list[float]
    """The rates that the criterion cannot tell from the leader, ascending."""
    errors: dict[float, float]
    """Standard error by which each rate is compared with the leader."""
    reason: str
    """Why, in words, with the numbers."""


def _choose_by_one_standard_error(
    rates: Sequence[Mapping[str, Any]], scores: Mapping[float, float]
) -> _Choice:
    """Take the smallest rate within one standard error of the best (Breiman et al. 1984, 3.4.3)."""
    ranked = sorted((rate["learning_rate"] for rate in rates), key=lambda r: (scores[r], r))
    leader = ranked[0]
    errors, kind = _standard_errors(rates, leader)
    tie = sorted(r for r in ranked if scores[r] - scores[leader] <= errors[r])
    reason = (
        f"{leader} has the lowest mean validation loss of the last {LAST_EPOCHS} epochs, "
        f"{scores[leader]:.4g}"
    )
    if len(tie) > 1:
        others = _listed({rate: scores[rate] for rate in tie if rate != leader})
        reason += (
            f"; within one standard error of it ({kind}): {others}"
            f"; of these tied rates the smallest, {tie[0]}, is taken: {TIE_RULE}"
        )
    elif len(ranked) > 1:
        second = ranked[1]
        reason += (
            f"; the next best, {second} ({scores[second]:.4g}), is further away than one standard "
            f"error ({errors[second]:.2g}, {kind})"
        )
    return _Choice(tie[0], leader, tie, errors, reason + ".")


def _choose_by_weighted(
    rates: Sequence[Mapping[str, Any]], scores: Mapping[float, float]
) -> _Choice:
    """Take the highest weighted score; of equal ones the smallest rate."""
    ranked = sorted((rate["learning_rate"] for rate in rates), key=lambda r: (-scores[r], r))
    leader = ranked[0]
    errors, _ = _standard_errors(rates, leader)
    tie = [rate for rate in ranked if scores[rate] == scores[leader]]
    reason = f"{leader} has the highest weighted score, {scores[leader]:.4g}"
    if len(tie) > 1:
        reason += f"; of the {len(tie)} rates with this score the smallest is taken: {TIE_RULE}"
    elif len(ranked) > 1:
        reason += f"; the next best is {ranked[1]} ({scores[ranked[1]]:.4g})"
    return _Choice(leader, leader, tie, errors, reason + ".")


def _mean_weighted_score(rate: Mapping[str, Any]) -> float:
    """Score a rate by the mean of its repeats' scores."""
    scores = [weighted_score(summary) for summary in rate["repeats"].values() if summary]
    return fmean(scores) if scores else math.nan


# By name: a rate's score, and the choice among the rates whose scores are finite.
_CRITERIA: Mapping[
    str,
    tuple[
        Callable[[Mapping[str, Any]], float],
        Callable[[Sequence[Mapping[str, Any]], Mapping[float, float]], _Choice],
    ],
] = {
    "one_standard_error": (lambda rate: _number(rate["val_loss"]), _choose_by_one_standard_error),
    "weighted": (_mean_weighted_score, _choose_by_weighted),
}


def _standard_errors(
    rates: Sequence[Mapping[str, Any]], leader: float
) -> tuple[dict[float, float], str]:
    """Return the standard error by which each rate is compared with the leader, and its kind.

    Across seeds it is that of the leader's mean; two or three seeds estimate a variance badly, so
    it is pooled over the rates, weighted by their degrees of freedom. With one seed it is that of
    the mean difference over the validation records, which all rates have in common: the records'
    own spread, far larger, would tie a rate that learns nothing with one that does.
    """
    freedom = sum(len(rate["seeds"]) - 1 for rate in rates)
    if freedom == 0:
        losses = {rate["learning_rate"]: rate["record_losses"] for rate in rates}
        return (
            {rate: _paired_error(losses[rate], losses[leader]) for rate in losses},
            "of the difference over the validation records; with one seed the noise between seeds "
            "is unknown",
        )
    repeated = [rate for rate in rates if len(rate["seeds"]) > 1]
    squares = [
        (len(rate["seeds"]) - 1) * len(rate["seeds"]) * rate["standard_error"] ** 2
        for rate in repeated
    ]
    variance = sum(squares) / freedom
    repeats = next(len(rate["seeds"]) for rate in rates if rate["learning_rate"] == leader)
    error = math.sqrt(variance / repeats)
    return (
        {rate["learning_rate"]: error for rate in rates},
        "across seeds, their variance pooled over the rates",
    )


def _paired_error(losses: Sequence[float], leading: Sequence[float]) -> float:
    """Return the standard error of the mean of the records' differences; 0 with one record."""
    differences = [loss - best for loss, best in zip(losses, leading, strict=True)]
    return stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0


def _elimination(rate: Mapping[str, Any], scores: Mapping[float, float]) -> str | None:
    """Say why a rate cannot be chosen, or return None where it can."""
    if rate["diverged"]:
        case = rate["diverged"][0]
        return f"seed {case['seed']} diverged in epoch {case['epoch']}: {case['reason']}"
    if not math.isfinite(scores[rate["learning_rate"]]):
        return "its score is not a finite number"
    return None


def _nothing_left(eliminated: Mapping[float, str | None]) -> str:
    if not eliminated:
        return "sweep: there is no learning rate to choose from; set sweep.learning_rates"
    cases = "; ".join(f"{rate}: {why}" for rate, why in eliminated.items())
    return (
        f"sweep: every learning rate is eliminated ({cases});"
        f" set sweep.learning_rates to rates below {min(eliminated)}"
    )


def _remarks(leader: float, eliminated: Mapping[float, str | None]) -> str:
    """Return what a reader of the choice should know besides, each in a sentence."""
    rates = list(eliminated)  # ascending
    cases = "; ".join(f"{rate} ({why})" for rate, why in eliminated.items() if why)
    remarks = f" Eliminated: {cases}." if cases else ""
    if len(rates) > 1 and leader in (rates[0], rates[-1]):
        end = "smallest" if leader == rates[0] else "largest"
        remarks += f" {leader} is the {end} rate of the sweep: a wider sweep may find a better one."
    return remarks


def _mean_epochs(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Json]:
    """Average runs of equal length epoch by epoch."""
    return [{**_average(rows), "epoch": rows[0]["epoch"]} for rows in zip(*runs, strict=True)]


def _average(values: Sequence[Any]) -> Any:
    """Average numbers, or mappings of numbers key by key; null where one is unknown."""
    if isinstance(values[0], Mapping):
        return {key: _average([value[key] for value in values]) for key in values[0]}
    return _mean(values)


def _mean(values: Sequence[float | None]) -> float | None:
    return _or_null(fmean(map(_number, values))) if values else None


def _standard_error(values: Sequence[float | None]) -> float | None:
    numbers = [_number(value) for value in values]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return None
    return stdev(numbers) / math.sqrt(len(numbers))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _or_null(value: float) -> float | None:
    """Return what JSON can hold: the number, or None where it is not finite."""
    return value if math.isfinite(value) else None


def _listed(scores: Mapping[float, float]) -> str:
    return ", ".join(f"{rate} ({score:.4g})" for rate, score in scores.items())
