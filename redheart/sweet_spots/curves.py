"""The curves of a module group by epoch, from the checkpoints' tables, and their noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from redheart.errors import UserError
from redheart.json_values import numbers
from redheart.sweet_spots.statistics import (
    Floats,
    estimate_correlation,
    moving_mean,
    noise_deviation,
    smoother,
    standard_error,
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
    val_metric: Floats
    """The group's own metric on val_select, higher is better."""

    def smoothed(self, window: int) -> Curve:
        """Return the same curves as moving means."""
        return replace(
            self,
            train_loss=moving_mean(self.train_loss, window),
            val_loss=moving_mean(self.val_loss, window),
            stability=moving_mean(self.stability, window),
            val_metric=moving_mean(self.val_metric, window),
        )

    def criterion(self, by: Literal["loss", "metric"]) -> Floats:
        """Return the values that the choice compares, lower is better: loss, or 1 - metric."""
        return self.val_loss if by == "loss" else 1 - self.val_metric


@dataclass(frozen=True)
class NoisyCurve:
    """A curve and the estimates of its noise."""

    raw: Floats
    """The value of each checkpoint; lower is better."""
    smoothed: Floats
    """The moving means of the raw values."""
    weights: Floats
    """The smoother, a row per checkpoint."""
    noise: float
    """Standard deviation of the noise between checkpoints; NaN where unknown."""
    correlation: float
    """Correlation of the noise from one checkpoint to the next."""

    @property
    def errors(self) -> Floats:
        """Standard error of each smoothed value."""
        return standard_error(self.weights, self.noise, self.correlation)

    def as_good(self, index: int, deviates: float) -> NDArray[np.bool_]:
        """Mark the checkpoints at most `deviates` standard errors behind the one at `index`.

        That checkpoint is marked too. The standard error is that of the difference of the two
        smoothed values.
        """
        error = standard_error(self.weights - self.weights[index], self.noise, self.correlation)
        behind = self.smoothed - self.smoothed[index]
        as_good = behind <= deviates * error  # NaN on either side is False
        as_good[index] = True
        return as_good


def noisy_curve(raw: Floats, smoothed: Floats, window: int) -> NoisyCurve:
    """Estimate a curve's noise and its correlation; `window` is the width of the moving mean."""
    finite = np.isfinite(raw)
    correlation = estimate_correlation(raw[finite])
    noise = noise_deviation(raw, correlation)
    return NoisyCurve(raw, smoothed, smoother(finite, window), noise, correlation)


def read_curve(
    metrics: Sequence[Mapping[str, Any]], group: str, modules: Sequence[str] = ()
) -> Curve:
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
        train_loss=numbers([row["train_loss"] for row in rows]),
        val_loss=numbers([row["val_loss"] for row in rows]),
        stability=numbers([row["stability"] for row in rows]),
        val_metric=module_mean([checkpoint.get("modules", {}) for checkpoint in metrics], modules),
    )


def module_mean(
    tables: Sequence[Mapping[str, Any]], modules: Sequence[str], column: str = "val_metric"
) -> Floats:
    """Return a column at each checkpoint: its mean over the modules of a task, then over the tasks.

    As in the macro score, a task's weight plays no part. A module whose value is defined at no
    checkpoint is left out. A module whose value is undefined at some checkpoints makes the mean NaN
    there.

    Parameters
    ----------
    tables
        The table of modules of each checkpoint.
    """
    by_task: dict[str, list[Floats]] = {}
    for module in modules:
        for task in tables[0].get(module, {}):
            values = numbers([table[module][task].get(column) for table in tables])
            if np.isfinite(values).any():
                by_task.setdefault(task, []).append(values)
    if not by_task:
        return np.full(len(tables), np.nan)
    return np.mean([np.mean(curves, axis=0) for curves in by_task.values()], axis=0)
