"""Phase 3: from the checkpoints' metrics to the best epoch of each module group, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from redheart.errors import UserError
from redheart.json_values import or_null, or_nulls
from redheart.limits import AtLeast, AtMost
from redheart.sweet_spots.curves import Curve, NoisyCurve, noisy_curve, read_curve
from redheart.sweet_spots.statistics import (
    DECIMALS,
    Floats,
    estimate_correlation,
    kendall_scores,
    moving_mean,
    rise_p,
)

# The test takes an upper bound of the noise's correlation that holds in this share of flat curves.
CORRELATION_BOUND = 0.75


@dataclass(frozen=True)
class SweetSpotOptions:
    """How the best epoch of a module group is chosen."""

    selector: Literal["document", "minimum", "one_standard_error", "plateau"] = "document"
    """How the epoch of a module group is chosen. `document`: the lowest `val_loss + gap_weight *
    |train_loss - val_loss| - stability_weight * stability`; `minimum`: the lowest point of the
    group's own curve; `one_standard_error`: the earliest epoch within one standard error of it;
    `plateau`: the first of the epochs around it that cannot be told from it."""
    unit_selector: Literal["minimum", "one_standard_error", "plateau"] = "minimum"
    """How the epoch of a unit (task x module) is chosen, by the unit's own metric."""
    by: Literal["loss", "metric"] | None = None
    """The group's own curve on val_select: its loss, or 1 - its metric; null: the loss for the
    selector `document`, which is defined on losses, and the metric for the others."""
    false_alarm_rate: Annotated[float, AtLeast(0.001), AtMost(0.5)] = 0.05
    """Share of flat or falling curves that may be called overfitting, and of equal epochs that may
    be told apart."""
    gap_weight: Annotated[float, AtLeast(0), AtMost(1_000)] = 0.2
    """Weight of the gap between training and validation loss, in the selector `document`."""
    stability_weight: Annotated[float, AtLeast(0), AtMost(1_000)] = 0.1
    """Weight of the stability of the gradients, in the selector `document`."""
    smoothing: Annotated[int, AtLeast(1), AtMost(10_000)] = 3
    """Checkpoints in the centred moving mean over the curves; an odd number; 1: no smoothing."""

    def __post_init__(self) -> None:
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise UserError(
                f"sweet_spots.smoothing: expected an odd number of checkpoints (1, 3, 5, ...),"
                f" got {self.smoothing}"
            )
        if self.selector == "document" and self.by == "metric":
            raise UserError(
                "sweet_spots.by: the selector 'document' is defined on losses; leave `by` out, or"
                " choose the selector minimum, one_standard_error or plateau"
            )

    @property
    def curve(self) -> Literal["loss", "metric"]:
        """The curve that the selector reads."""
        return self.by or ("loss" if self.selector == "document" else "metric")


def find_sweet_spots(
    metrics: Sequence[Mapping[str, Any]],
    modules_by_group: Mapping[str, Sequence[str]],
    options: SweetSpotOptions | None = None,
) -> dict[str, Any]:
    """Choose the best epoch of each module group by the group's own loss or metric.

    Parameters
    ----------
    metrics
        The contents of the `metrics_<eee>.json`, one a checkpoint.
    modules_by_group
        The groups to choose for, each with its modules.

    Returns
    -------
    The content of `sweet_spots.json`: per group the epoch, its score, the epoch of overfitting
    (null where none is proved) with the test, the noise between checkpoints and its correlation,
    the epochs that cannot be told from the chosen epoch by that noise, the reason in words, and
    the curves, the smoothed curves with their standard errors.

    Raises
    ------
    UserError
        There is no checkpoint, or a group has no metrics or no finite score.
    """
    options = options or SweetSpotOptions()
    if not metrics:
        raise UserError("sweet spots: there is no checkpoint to choose from; train at least one")
    metrics = sorted(metrics, key=lambda checkpoint: checkpoint["epoch"])
    return {
        "selector": options.selector,
        "by": options.curve,
        "groups": {
            group: sweet_spot(read_curve(metrics, group, modules), modules, options)
            for group, modules in modules_by_group.items()
        },
    }


def document_score(curve: Curve, options: SweetSpotOptions) -> Floats:
    """Return the design document's score of every checkpoint; lower is better.

    val_loss + gap_weight |train_loss - val_loss| - stability_weight stability.
    """
    gap = np.abs(curve.train_loss - curve.val_loss)
    score = curve.val_loss + options.gap_weight * gap - options.stability_weight * curve.stability
    return np.round(score, DECIMALS)


@dataclass(frozen=True)
class Turn:
    """Where a curve turns, and whether it rises behind the turn by more than its noise."""

    epoch: int
    """The epoch of the smoothed curve's lowest point."""
    p_value: float
    """The p-value of a rise, 0 to 1."""
    correlation: float
    """The upper bound of the noise's correlation that the test took."""
    proved: bool
    """Whether the p-value is at most the rate of false alarms, and the rise is behind the turn."""

    def __str__(self) -> str:
        """Return a sentence with the numbers."""
        verdict = "rises" if self.proved else "is not proved to rise"
        return (
            f"The curve {verdict} behind its lowest point, epoch {self.epoch} (Mann-Kendall over"
            f" all ends, noise correlated by up to {self.correlation:.2g}: p = {self.p_value:.2g})."
        )


def find_overfitting(curve: Curve, options: SweetSpotOptions) -> Turn:
    """Say from which epoch on a group overfits: the lowest point of its own curve, if it rises.

    The test reads the raw values of the whole curve and does not know the lowest point: behind a
    point that is picked as the lowest, any curve rises. The test takes an upper bound of the
    noise's correlation: an estimate is too low as often as too high, and raises too many alarms.
    """
    raw = curve.criterion(options.curve)
    lowest = _lowest(moving_mean(raw, options.smoothing), curve)
    finite = np.isfinite(raw)
    behind = kendall_scores(raw[None, lowest:][:, finite[lowest:]])[0, 0]
    correlation = estimate_correlation(raw[finite], CORRELATION_BOUND)
    p_value = rise_p(raw[finite], correlation)
    proved = bool(p_value <= options.false_alarm_rate and behind > 0)
    return Turn(int(curve.epochs[lowest]), p_value, correlation, proved)


# A selector takes a group's scores and the deviates of the normal distribution at the false-alarm
# rate; it returns the index of the chosen checkpoint.
_Selector = Callable[[NoisyCurve, Curve, float], int]


def _minimum(scores: NoisyCurve, curve: Curve, deviates: float) -> int:
    return _lowest(scores.smoothed, curve)


def _one_standard_error(scores: NoisyCurve, curve: Curve, deviates: float) -> int:
    return int(np.argmax(scores.as_good(_lowest(scores.smoothed, curve), 1.0)))


def _plateau(scores: NoisyCurve, curve: Curve, deviates: float) -> int:
    lowest = _lowest(scores.smoothed, curve)
    worse = np.flatnonzero(~scores.as_good(lowest, deviates)[:lowest])
    return int(worse[-1]) + 1 if len(worse) else 0


SELECTORS: Mapping[str, tuple[_Selector, str]] = {
    "document": (_minimum, "has the lowest {what} of {count} checkpoints"),
    "minimum": (_minimum, "has the lowest {what} of {count} checkpoints"),
    "one_standard_error": (
        _one_standard_error,
        "is the earliest of {count} checkpoints within one standard error of the lowest {what}"
        " ({lowest:.4g} at epoch {lowest_epoch})",
    ),
    "plateau": (
        _plateau,
        "begins the plateau around the lowest {what} of {count} checkpoints ({lowest:.4g} at epoch"
        " {lowest_epoch}): up to that epoch none is worse at {rate:.2g}",
    ),
}


def sweet_spot(curve: Curve, modules: Sequence[str], options: SweetSpotOptions) -> dict[str, Any]:
    """Return a group's entry in `sweet_spots.json`."""
    smoothed = curve.smoothed(options.smoothing)
    loss = noisy_curve(curve.val_loss, smoothed.val_loss, options.smoothing)
    metric = noisy_curve(curve.val_metric, smoothed.val_metric, options.smoothing)
    scores = _scores(curve, smoothed, options)
    deviates = NormalDist().inv_cdf(1 - options.false_alarm_rate)
    index = SELECTORS[options.selector][0](scores, curve, deviates)
    as_good = scores.as_good(index, deviates)
    as_good[index] = False
    turn = find_overfitting(curve, options)
    reason = (
        _choice_in_words(smoothed, scores, index, options),
        _rivals(curve, scores, as_good, options.false_alarm_rate),
        str(turn),
    )
    return {
        "epoch": int(curve.epochs[index]),
        "modules": list(modules),
        "score": float(scores.smoothed[index]),
        "overfitting_epoch": turn.epoch if turn.proved else None,
        "overfitting": {
            "turn": turn.epoch,
            "p_value": turn.p_value,
            "correlation": turn.correlation,
            "false_alarm_rate": options.false_alarm_rate,
        },
        "noise": or_null(scores.noise),
        "noise_correlation": scores.correlation,
        "as_good_epochs": [int(epoch) for epoch in curve.epochs[as_good]],
        "reason": " ".join(filter(None, reason)),
        "curve": {
            "epochs": [int(epoch) for epoch in curve.epochs],
            "train_loss": or_nulls(curve.train_loss),
            "val_loss": or_nulls(curve.val_loss),
            "smoothed_val_loss": or_nulls(smoothed.val_loss),
            "smoothed_val_loss_se": or_nulls(loss.errors),
            "val_metric": or_nulls(curve.val_metric),
            "smoothed_val_metric": or_nulls(smoothed.val_metric),
            "smoothed_val_metric_se": or_nulls(metric.errors),
            "stability": or_nulls(curve.stability),
            "score": or_nulls(scores.smoothed),
        },
    }


def _scores(curve: Curve, smoothed: Curve, options: SweetSpotOptions) -> NoisyCurve:
    """Return the selector's scores on the raw and on the smoothed curves; lower is better."""
    if options.selector == "document":
        raw, means = document_score(curve, options), document_score(smoothed, options)
    else:
        raw = curve.criterion(options.curve)
        if options.curve == "metric" and not np.isfinite(raw).any():
            raise UserError(
                f"sweet spots: group '{curve.group}' has no metric on val_select at any checkpoint;"
                " set sweet_spots.by: loss"
            )
        means = np.round(smoothed.criterion(options.curve), DECIMALS)
    return noisy_curve(raw, means, options.smoothing)


def _choice_in_words(
    smoothed: Curve, scores: NoisyCurve, index: int, options: SweetSpotOptions
) -> str:
    lowest = _lowest(scores.smoothed, smoothed)
    curve_name = "validation loss" if options.curve == "loss" else "validation error (1 - metric)"
    rule = SELECTORS[options.selector][1].format(
        what="score" if options.selector == "document" else curve_name,
        count=len(smoothed.epochs),
        lowest=scores.smoothed[lowest],
        lowest_epoch=smoothed.epochs[lowest],
        rate=options.false_alarm_rate,
    )
    columns = {
        "validation loss": smoothed.val_loss,
        "training loss": smoothed.train_loss,
        "metric": smoothed.val_metric,
        "stability": smoothed.stability,
    }
    values = ", ".join(
        f"{name} {column[index]:.4g}"
        for name, column in columns.items()
        if np.isfinite(column[index])
    )
    means = f" (moving means over {options.smoothing} checkpoints)" if options.smoothing > 1 else ""
    return f"Epoch {smoothed.epochs[index]} {rule}, {scores.smoothed[index]:.4g}: {values}{means}."


def _rivals(curve: Curve, scores: NoisyCurve, as_good: NDArray[np.bool_], rate: float) -> str:
    if not np.isfinite(scores.noise):
        return ""
    epochs = ", ".join(str(epoch) for epoch in curve.epochs[as_good]) or "no other"
    return (
        f"Not worse by the noise between checkpoints ({scores.noise:.2g}, correlation"
        f" {scores.correlation:.2g}; one-sided z test of each at {rate:.2g}): {epochs}."
    )


def _lowest(values: Floats, curve: Curve) -> int:
    """Return the index of the lowest value, the earliest of equal ones; NaN never wins."""
    if not np.isfinite(values).any():
        raise UserError(
            f"sweet spots: group '{curve.group}' has no finite score in any of its"
            f" {len(curve.epochs)} checkpoints (epochs {curve.epochs[0]} to {curve.epochs[-1]});"
            " its training diverged: lower the learning rate"
        )
    return int(np.nanargmin(values))
