"""Phase 3: from the checkpoints' metrics to the best epoch of each module group, with reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from redheart.errors import UserError

Floats = NDArray[np.float64]

# The share of flat, independently noisy curves in which a rise is seen all the same.
FALSE_ALARM_RATE = 0.05

# Scores are compared to this many decimals, or rounding errors would break ties.
DECIMALS = 12


@dataclass(frozen=True)
class SweetSpotOptions:
    """How the best epoch of a module group is chosen."""

    selector: Literal["document"] = "document"
    """document: the lowest val_loss + gap_weight |train_loss - val_loss|
    - stability_weight stability."""
    gap_weight: float = 0.2
    """Weight of the gap between training and validation loss; 0 or more."""
    stability_weight: float = 0.1
    """Weight of the stability of the gradients; 0 or more."""
    smoothing: int = 3
    """Width of the centred moving mean over the curves, in checkpoints; odd, 1 is none."""

    def __post_init__(self) -> None:
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise UserError(
                f"sweet_spots.smoothing: expected an odd number of checkpoints (1, 3, 5, ...),"
                f" got {self.smoothing}"
            )


@dataclass(frozen=True)
class Curve:
    """The curves of one module group; all arrays of one length, NaN where not finite."""

    group: str
    """Name of the group."""
    epochs: NDArray[np.int64]
    """Completed epochs of each checkpoint, ascending."""
    train_loss: Floats
    """The group's own loss on the training part."""
    val_loss: Floats
    """The group's own loss on val_select."""
    stability: Floats
    """1 / (1 + standard deviation of the group's gradient norms), 0 to 1."""

    def smoothed(self, window: int) -> Curve:
        """Return the same curves as moving means."""
        return replace(
            self,
            train_loss=moving_mean(self.train_loss, window),
            val_loss=moving_mean(self.val_loss, window),
            stability=moving_mean(self.stability, window),
        )


def find_sweet_spots(
    metrics: Sequence[Mapping[str, Any]],
    modules_by_group: Mapping[str, Sequence[str]],
    options: SweetSpotOptions | None = None,
) -> dict[str, Any]:
    """Choose the best epoch of each module group by the group's own losses.

    Parameters
    ----------
    metrics
        The contents of the `metrics_<eee>.json`, one a checkpoint.
    modules_by_group
        The groups to choose for, each with its modules.

    Returns
    -------
    The content of `sweet_spots.json`: per group the epoch, its score, the epoch of overfitting
    (null where none is proved), the noise between checkpoints, the epochs that it cannot tell
    from the chosen one, the reason in words, and the curves.

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
        "groups": {
            group: _sweet_spot(read_curve(metrics, group), modules, options)
            for group, modules in modules_by_group.items()
        },
    }


def read_curve(metrics: Sequence[Mapping[str, Any]], group: str) -> Curve:
    """Read a group's curves from the checkpoints' metrics (sorted by epoch)."""
    for checkpoint in metrics:
        if group not in checkpoint["groups"]:
            raise UserError(
                f"sweet spots: the metrics of epoch {checkpoint['epoch']} have no group '{group}'"
                f" (they have {', '.join(sorted(checkpoint['groups']))}); evaluate it again"
            )
    rows = [checkpoint["groups"][group] for checkpoint in metrics]
    return Curve(
        group=group,
        epochs=np.array([checkpoint["epoch"] for checkpoint in metrics], dtype=np.int64),
        train_loss=_finite([row["train_loss"] for row in rows]),
        val_loss=_finite([row["val_loss"] for row in rows]),
        stability=_finite([row["stability"] for row in rows]),
    )


def moving_mean(values: Floats, window: int) -> Floats:
    """Return the centred moving mean over `window` (odd) values, cut off at both ends.

    NaN is left out of its neighbours' means and stays NaN itself.
    """
    known = np.isfinite(values)
    sums = _window_sums(np.where(known, values, 0.0), window)
    counts = _window_sums(known.astype(np.float64), window)
    means = np.divide(sums, counts, out=np.full(len(values), np.nan), where=known)
    return np.round(means, DECIMALS)


def document_score(curve: Curve, options: SweetSpotOptions) -> Floats:
    """Return the design document's score of every checkpoint; lower is better.

    val_loss + gap_weight |train_loss - val_loss| - stability_weight stability.
    """
    gap = np.abs(curve.train_loss - curve.val_loss)
    score = curve.val_loss + options.gap_weight * gap - options.stability_weight * curve.stability
    return np.round(score, DECIMALS)


def noise_deviation(values: Floats) -> float:
    """Estimate the standard deviation of the noise on a smooth curve; NaN below three values.

    From second differences, in which a smooth trend cancels (Gasser, Sroka & Jennen-Steinmetz
    1986, equation 2 for even spacing), by their median, which a single kink does not move.
    """
    second = np.diff(values[np.isfinite(values)], n=2)
    if not len(second):
        return float("nan")
    normal_quartile = 0.6744897501960817
    return float(np.median(np.abs(second)) / normal_quartile / np.sqrt(6))


def mann_kendall_p(values: Floats) -> float:
    """Return the one-sided p-value of a rising trend (Mann 1945, Kendall 1975), exact.

    The share of all orders of the values that rise at least as much, by the number of rising
    minus falling pairs. Ties count as neither, which makes the test err on the quiet side.
    """
    size = len(values)
    before, after = np.triu_indices(size, k=1)
    statistic = int(np.sign(values[after] - values[before]).sum())
    most_inversions = (len(before) - statistic) // 2
    return float(min(1.0, _inversion_shares(size)[: most_inversions + 1].sum()))


def find_overfitting(curve: Curve, smoothing: int) -> tuple[int | None, str]:
    """Say from which epoch on a group overfits: the lowest validation loss before a proved rise.

    The rise is tested on the raw losses behind the smoothed minimum, without those that the
    minimum was found with: it is low because it was picked, and would make any curve rise. The
    rate of false alarms is that of independent noise; where the noise of neighbouring checkpoints
    is correlated it is higher (0.6 from one to the next: about 17 %).

    Returns
    -------
    The epoch of the smoothed minimum, or None where no rise behind it is significant at
    `FALSE_ALARM_RATE`; and a sentence with the numbers.
    """
    lowest = _lowest(moving_mean(curve.val_loss, smoothing), curve)
    behind = curve.val_loss[lowest + smoothing // 2 + 1 :]
    behind = behind[np.isfinite(behind)]
    place = f"behind its smoothed minimum at epoch {curve.epochs[lowest]}"
    p_value = mann_kendall_p(behind)
    test = f"Mann-Kendall over {len(behind)} checkpoints, one-sided p = {p_value:.2g}"
    if p_value <= FALSE_ALARM_RATE:
        return int(curve.epochs[lowest]), f"The validation loss rises {place} ({test})."
    return None, f"No rise of the validation loss is proved {place} ({test})."


@dataclass(frozen=True)
class _Selection:
    """What a selector decides for one group."""

    index: int
    """Index of the chosen checkpoint."""
    score: Floats
    """Every checkpoint's score; lower is better, NaN never wins."""
    noise: float
    """Standard deviation of the score's noise between checkpoints; NaN where unknown."""
    reason: str
    """Why this checkpoint, in words, with the numbers."""


def _select_by_document(curve: Curve, options: SweetSpotOptions) -> _Selection:
    """Take the lowest of the design document's score on the smoothed curves."""
    smoothed = curve.smoothed(options.smoothing)
    score = document_score(smoothed, options)
    index = _lowest(score, curve)
    noise = noise_deviation(document_score(curve, options))
    reason = (
        f"Epoch {curve.epochs[index]} has the lowest score of {len(curve.epochs)} checkpoints, "
        f"{score[index]:.4g}: validation loss {smoothed.val_loss[index]:.4g}, training loss "
        f"{smoothed.train_loss[index]:.4g}, stability {smoothed.stability[index]:.4g}"
    )
    if options.smoothing > 1:
        reason += f" (moving means over {options.smoothing} checkpoints)"
    return _Selection(index, score, noise, reason + ".")


_SELECTORS: Mapping[str, Callable[[Curve, SweetSpotOptions], _Selection]] = {
    "document": _select_by_document,
}


def _sweet_spot(curve: Curve, modules: Sequence[str], options: SweetSpotOptions) -> dict[str, Any]:
    """Return a group's entry in `sweet_spots.json`."""
    selection = _SELECTORS[options.selector](curve, options)
    as_good = _as_good(selection)
    overfitting_epoch, overfitting = find_overfitting(curve, options.smoothing)
    return {
        "epoch": int(curve.epochs[selection.index]),
        "modules": list(modules),
        "score": float(selection.score[selection.index]),
        "overfitting_epoch": overfitting_epoch,
        "noise": selection.noise if np.isfinite(selection.noise) else None,
        "as_good_epochs": [int(epoch) for epoch in curve.epochs[as_good]],
        "reason": f"{selection.reason} {_rivals(curve, selection, as_good)}{overfitting}",
        "curve": {
            "epochs": [int(epoch) for epoch in curve.epochs],
            "train_loss": _listed(curve.train_loss),
            "val_loss": _listed(curve.val_loss),
            "smoothed_val_loss": _listed(moving_mean(curve.val_loss, options.smoothing)),
            "stability": _listed(curve.stability),
            "score": _listed(selection.score),
        },
    }


def _as_good(selection: _Selection) -> NDArray[np.bool_]:
    """Mark the other checkpoints that score within one standard deviation of the chosen one."""
    behind = selection.score - selection.score[selection.index]
    within = behind <= selection.noise  # NaN on either side is False
    within[selection.index] = False
    return within


def _rivals(curve: Curve, selection: _Selection, as_good: NDArray[np.bool_]) -> str:
    if not np.isfinite(selection.noise):
        return ""
    epochs = ", ".join(str(epoch) for epoch in curve.epochs[as_good]) or "no other"
    return f"Within the noise between checkpoints ({selection.noise:.2g}) of it: {epochs}. "


def _lowest(values: Floats, curve: Curve) -> int:
    """Return the index of the lowest value, the earliest of equal ones; NaN never wins."""
    if not np.isfinite(values).any():
        raise UserError(
            f"sweet spots: group '{curve.group}' has no finite score in any of its"
            f" {len(curve.epochs)} checkpoints (epochs {curve.epochs[0]} to {curve.epochs[-1]});"
            " its training diverged: lower the learning rate"
        )
    return int(np.nanargmin(values))


def _window_sums(values: Floats, window: int) -> Floats:
    half = window // 2
    padded = np.concatenate([np.zeros(half), values, np.zeros(half)])
    return np.lib.stride_tricks.sliding_window_view(padded, window).sum(axis=1)


@lru_cache(maxsize=128)
def _inversion_shares(size: int) -> Floats:
    """Return the share of the orders of `size` values that have 0, 1, 2, ... inversions.

    The k-th value, put among the k - 1 before it, adds 0 to k - 1 inversions, each as likely.
    """
    shares = np.ones(1)
    for k in range(2, size + 1):
        shares = np.convolve(shares, np.full(k, 1 / k))
    return shares


def _finite(values: Sequence[float | None]) -> Floats:
    """Return an array with NaN for null and for everything that is not finite."""
    array = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _listed(values: Floats) -> list[float | None]:
    """Return what JSON can hold: null for NaN."""
    return [float(value) if np.isfinite(value) else None for value in values]
