"""The result of a trial of a learning rate, and the results of all repeats of a rate, joined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from redheart.errors import UserError
from redheart.json_values import Json, number, or_null

# A rate is judged by the mean over its last epochs: the very last one alone is noisier.
LAST_EPOCHS = 3


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
    losses = [number(epoch["train_loss"]) for epoch in epochs]
    return [
        {
            **epoch,
            "learning_efficiency": or_null((losses[0] - loss) / losses[0] if losses[0] else 0.0),
            "convergence_speed": or_null(abs(losses[i - 1] - loss)) if i else None,
            "stability": or_null(1 / (1 + number(epoch["gradient_norm"]["std"]))),
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
        "overfit_gap": or_null(number(last["val_loss"]) - number(last["train_loss"])),
        "total_improvement": or_null(number(first["val_loss"]) - number(last["val_loss"])),
        "overall_stability": _mean([epoch["stability"] for epoch in epochs]),
        "convergence_rate": _mean(speeds),
    }


def eliminated_trial(
    previous: Mapping[str, Any] | None, rate: float, seed: int, eliminated: Mapping[str, Any]
) -> Json:
    """Return the `seed_<s>.json` of a trial that ends; `previous` is its last result, if any."""
    untrained: Json = {"diverged": None, "epochs": [], "summary": None, "record_losses": []}
    trial = previous or {"learning_rate": rate, "seed": seed, **untrained}
    return {**trial, "eliminated": dict(eliminated)}


def join_repeats(repeats: Sequence[Mapping[str, Any]]) -> Json:
    """Join the repeats of one learning rate (one `seed_<s>.json` each) into its `metrics.json`.

    Means and errors are over the repeats that were trained and did not diverge. `standard_error` is
    that of `val_loss` across seeds, null with fewer than two. `record_losses` holds the loss of
    each validation record; their mean is `val_loss`. A rate that successive halving ended has the
    key `eliminated`.
    """
    rates = sorted({repeat["learning_rate"] for repeat in repeats})
    if len(rates) != 1:
        raise UserError(f"sweep: expected the repeats of one learning rate, got those of {rates}")
    repeats = sorted(repeats, key=lambda repeat: repeat["seed"])
    complete = [r for r in repeats if r["diverged"] is None and r["summary"] is not None]
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
            fmean(column) for column in zip(*(r["record_losses"] for r in complete), strict=True)
        ],
        **{key: repeats[0][key] for key in ("eliminated",) if key in repeats[0]},
    }


def _mean_epochs(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[Json]:
    """Average runs of equal length epoch by epoch."""
    return [{**_average(rows), "epoch": rows[0]["epoch"]} for rows in zip(*runs, strict=True)]


def _average(values: Sequence[Any]) -> Any:
    """Average numbers, or mappings of numbers key by key; null where one is unknown."""
    if isinstance(values[0], Mapping):
        return {key: _average([value[key] for value in values]) for key in values[0]}
    return _mean(values)


def _mean(values: Sequence[float | None]) -> float | None:
    return or_null(fmean(map(number, values))) if values else None


def _standard_error(values: Sequence[float | None]) -> float | None:
    numbers = [number(value) for value in values]
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        return None
    return stdev(numbers) / math.sqrt(len(numbers))
