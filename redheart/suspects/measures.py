"""What the checkpoints think of a label: confidence, variability and margin of every record.

Confidence and variability are the mean and the standard deviation, over the checkpoints, of the
probability of the own label (Swayamdipta et al. 2020, "Dataset Cartography", arXiv 2009.10795,
section 2). The margin is the mean of that probability less the largest other one: the area under
the margin of Pleiss et al. 2020 (arXiv 2001.10528, equation 1), with probabilities in place of
logits, since the modules' weighted logits are known up to a constant alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from redheart.tasks.task import Task

# Of a normal distribution, the standard deviation over the median absolute deviation.
DEVIATIONS_IN_MAD = 1.4826
# The least probability of which a logarithm is taken.
LEAST = 1e-6


@dataclass(frozen=True)
class Measures:
    """What was measured of each record of a part: arrays [n], NaN where there is no label."""

    confidence: np.ndarray
    """Mean probability of the own label, 0 to 1."""
    variability: np.ndarray
    """Its standard deviation over the checkpoints, 0 to 0.5."""
    margin: np.ndarray
    """Mean of that probability less the largest other one, -1 to 1; of a regression the residual,
    in standard deviations, with the sign of label less prediction."""
    group: np.ndarray
    """Which class the label is: int64, -1 where there is none. Of a multilabel task, twice the
    class, and 1 more where it applies. Of a regression, the output."""
    says: np.ndarray
    """Which class the checkpoints would give it, on average: int64; of a multilabel task the class
    that they would change; of a regression the output."""
    expected: np.ndarray
    """Mean probability of that class; of a regression the mean prediction, as it is learned."""

    def as_json(self) -> dict[str, list[Any]]:
        """Return the arrays as lists, with null for NaN, and six decimals."""
        return {
            field.name: [rounded(value) for value in getattr(self, field.name).tolist()]
            for field in fields(self)
        }

    @classmethod
    def from_json(cls, content: Mapping[str, list[Any]]) -> Measures:
        """Turn what `as_json` returned back."""
        whole = {"group": np.int64, "says": np.int64}
        return cls(
            **{
                field.name: np.array(
                    [math.nan if value is None else value for value in content[field.name]]
                ).astype(whole.get(field.name, np.float64))
                for field in fields(cls)
            }
        )


def rounded(value: float) -> float | None:
    """Return a number with six decimals, and null for NaN."""
    return None if math.isnan(value) else round(value, 6)


def measure(task: Task, target: np.ndarray, said: np.ndarray) -> Measures:
    """Measure the records of a part.

    Parameters
    ----------
    target
        [n, width], NaN where unlabelled; of a regression without its unit.
    said
        What each checkpoint predicted: [checkpoints, n, width], probabilities, or values without
        their unit.
    """
    said = said.astype(np.float64)
    return _MEASURES[task.kind](target.astype(np.float64), said)


def _of_classes(target: np.ndarray, said: np.ndarray) -> Measures:
    """Measure one class a record, or shares of classes.

    The own probability of shares is exp(-KL(shares || prediction)): of one class, which has all
    shares, it is the probability of that class.
    """
    known = ~np.isnan(target).any(axis=1)
    shares = np.nan_to_num(target)
    own = np.exp(-_divergence(shares, said))
    top = shares.argmax(axis=1)
    others = said.copy()
    others[:, np.arange(len(top)), top] = -1.0
    leads = np.take_along_axis(said, top[None, :, None], axis=2)[:, :, 0] - others.max(axis=2)
    mean = said.mean(axis=0)
    says = mean.argmax(axis=1)
    return _known(
        known, own.mean(axis=0), own.std(axis=0), leads.mean(axis=0), top, says, mean.max(axis=1)
    )


def _divergence(shares: np.ndarray, said: np.ndarray) -> np.ndarray:
    entropy = (shares * np.log(np.maximum(shares, LEAST))).sum(axis=1)
    return entropy - (shares * np.log(np.maximum(said, LEAST))).sum(axis=2)


def _of_labels(target: np.ndarray, said: np.ndarray) -> Measures:
    """Measure the cell of each record that is doubted most, beside the cells of the same label.

    Positives of a rare label are doubted by every model, so a cell's mean probability counts
    relative to the mean over all cells with the same label.
    """
    known = ~np.isnan(target)
    applies = np.nan_to_num(target) > 0.5
    own = np.where(applies[None], said, 1 - said)
    confidence = own.mean(axis=0)
    relative = np.full(target.shape, np.inf)
    for value in (False, True):
        of_value = known & (applies == value)
        count = of_value.sum(axis=0).clip(min=1)
        usual = np.where(of_value, confidence, 0.0).sum(axis=0) / count
        relative = np.where(of_value, confidence / usual.clip(min=LEAST), relative)
    cell = relative.argmin(axis=1)
    rows = np.arange(len(cell))
    own = own[:, rows, cell]
    group = 2 * cell + applies[rows, cell]
    expected = said.mean(axis=0)[rows, cell]
    margin = 2 * own.mean(axis=0) - 1
    return _known(
        known.any(axis=1), own.mean(axis=0), own.std(axis=0), margin, group, cell, expected
    )


def _of_values(target: np.ndarray, said: np.ndarray) -> Measures:
    """Measure residuals, each output's by the median absolute deviation of all its residuals.

    The confidence is the share of a normal distribution that lies further out; of several outputs
    the one that lies furthest counts.
    """
    known = ~np.isnan(target)
    residual = target[None] - said
    mean = np.where(known, residual.mean(axis=0), np.nan)
    centre, spread = np.zeros(target.shape[1]), np.ones(target.shape[1])
    for output in np.flatnonzero(known.any(axis=0)):
        values = mean[known[:, output], output]
        centre[output] = np.median(values)
        deviation = DEVIATIONS_IN_MAD * np.median(np.abs(values - centre[output]))
        spread[output] = deviation or values.std() or 1.0
    standard = (mean - centre) / spread
    furthest = np.where(known, np.abs(standard), -1.0).argmax(axis=1)
    rows = np.arange(len(furthest))
    z = standard[rows, furthest]
    outside = np.array([math.erfc(abs(value) / math.sqrt(2)) for value in z])
    deviation = (residual / spread).std(axis=0)[rows, furthest]
    predicted = said.mean(axis=0)[rows, furthest]
    return _known(known.any(axis=1), outside, deviation, z, furthest, furthest, predicted)


def _known(known: np.ndarray, *measured: np.ndarray) -> Measures:
    """Return measures in the order of the fields, without those of records that have no label."""
    return Measures(
        *(
            np.where(known, values, -1 if values.dtype.kind in "iu" else np.nan)
            for values in measured
        )
    )


_MEASURES = {
    "multiclass": _of_classes,
    "distribution": _of_classes,
    "multilabel": _of_labels,
    "regression": _of_values,
}
