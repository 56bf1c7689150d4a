"""The scale of a regression: what is learned has mean 0 and deviation 1, whatever the unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redheart.tasks.task import Record, Task, target_matrix

# Values further than this many interquartile ranges from the quartiles count as if they lay there:
# Tukey's outer fences (Exploratory Data Analysis, 1977). Normal values have none beyond them.
OUTER_FENCE = 3.0
# Where a larger share lies beyond them (counts of which most are 0, and some are thousands), these
# values are much of what is to be learned, and measured by the others they would be enormous.
MOST_BEYOND = 0.1


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of a regression's outputs, in the unit of the data: float64 [width]."""

    mean: np.ndarray
    """What is subtracted from a value."""
    deviation: np.ndarray
    """What the difference is divided by; above 0."""

    def as_array(self) -> np.ndarray:
        """Return both as the rows of one array: float64 [2, width]."""
        return np.stack([self.mean, self.deviation])

    def standardized(self, values: np.ndarray) -> np.ndarray:
        """Return values, float64 [n, width] in the unit of the data, without a unit."""
        return (values - self.mean) / self.deviation

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Return values without a unit, [n, width], in the unit of the data, float64."""
        return values.astype(np.float64) * self.deviation + self.mean


def fit_scale(values: np.ndarray) -> Scale:
    """Return the scale of a regression's known values, float64 [n, width], NaN where unknown.

    The mean and the standard deviation are those of the values cut off at Tukey's outer fences,
    so that one mistyped number or a long tail does not press all other values together. They are
    the plain ones where no value lies beyond, or more than a tenth of the values, or where half of
    the values are the same. An output that never varies keeps its unit (deviation 1), and so does
    one without a known value (mean 0).
    """
    columns = [_column_scale(column[~np.isnan(column)]) for column in values.T]
    mean, deviation = np.array(columns, dtype=np.float64).reshape(-1, 2).T
    return Scale(mean, deviation)


def _column_scale(known: np.ndarray) -> tuple[float, float]:
    if not len(known):
        return 0.0, 1.0
    # A value of the column as the origin keeps digits where the mean is large beside the deviation.
    centred = known - known[0]
    low, high = np.quantile(centred, (0.25, 0.75))
    if high > low:
        reach = OUTER_FENCE * (high - low)
        fenced = centred.clip(low - reach, high + reach)
        centred = fenced if (fenced != centred).mean() <= MOST_BEYOND else centred
    return float(known[0] + centred.mean()), float(centred.std()) or 1.0


def fit_scales(tasks: Iterable[Task], records: Sequence[Record]) -> dict[str, Scale]:
    """Return the scale of every regression among the tasks, fitted to the records of *train*."""
    return {
        task.name: fit_scale(target_matrix(task, records))
        for task in tasks
        if task.kind == "regression"
    }


def standardized_targets(
    tasks: Iterable[Task], records: Sequence[Record], scales: Mapping[str, Scale]
) -> dict[str, np.ndarray]:
    """Return task -> targets of the records as they are learned: float32 [n, width]."""
    targets = {task.name: target_matrix(task, records) for task in tasks}
    return {
        name: (scales[name].standardized(rows) if name in scales else rows).astype(np.float32)
        for name, rows in targets.items()
    }


def to_json(scales: Mapping[str, Scale]) -> dict[str, Any]:
    """Return scales as JSON: task -> `mean` and `deviation`, lists of one number an output."""
    return {
        name: {"mean": scale.mean.tolist(), "deviation": scale.deviation.tolist()}
        for name, scale in scales.items()
    }


def from_json(content: Mapping[str, Any]) -> dict[str, Scale]:
    """Return the scales that `to_json` wrote."""
    return {
        name: Scale(np.array(scale["mean"]), np.array(scale["deviation"]))
        for name, scale in content.items()
    }
