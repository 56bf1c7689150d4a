"""Swaps between the parts of a split that make them alike in text lengths and in all targets."""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Sequence

import numpy as np

from redheart.tasks.task import Task

# A task, and its targets (n, outputs), NaN where unknown.
Targets = tuple[Task, np.ndarray]

# Text lengths and numbers are compared at this many of their quantiles.
LENGTH_QUANTILES = 25
TARGET_QUANTILES = 20
# Weight of a squared deviation: at a quantile of the lengths, for a label, at one of a number.
LENGTH_WEIGHT, LABEL_WEIGHT, NUMBER_WEIGHT = 8, 32, 3
# A swap is made only if it lowers the imbalance by this much, since every swap costs stability. In
# the imbalance, 80 is half a record's deviation of a label, squared, in a part of one twentieth.
LEAST_GAIN = 80
# This many records are searched for swaps at a time, in the seeded order.
BLOCK = 1000
# In a corpus of at least this many records, no part's text lengths are further from the corpus's
# than this (Kolmogorov-Smirnov distance).
LENGTHS_CLAIMED_FROM, MAX_KS_DISTANCE = 500, 0.05
# If a part is further away, its swaps are followed by others, in which lengths count this many
# times as much, at this many times the quantiles; one emphasis after the other, until it is not.
EMPHASES = (1, 2, 4, 8, 16)
# The most swaps in which records of earlier stages take part; an emphasis multiplies the number.
LATE_SWAPS = 6
# Deviations are whole numbers of this fraction of a record, and so are exact in float64: no
# machine's order of summation changes a swap.
UNIT = 64


def indicators(
    lengths: Sequence[int], targets: Sequence[Targets] = (), emphasis: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the properties that the parts are to have in equal measure, yes or no a record.

    A record has a label or not; its length or number reaches a quantile or not; its target is known
    or not. Lengths count `emphasis` times as much as usual, at `emphasis` times as many quantiles.

    Returns
    -------
    bool array (n, properties), none of them constant, and their weights (properties,).
    """
    blocks = [
        (
            _reached(np.array(lengths, dtype=float), emphasis * LENGTH_QUANTILES),
            emphasis * LENGTH_WEIGHT,
        )
    ]
    for task, values in targets:
        blocks.append((~np.isnan(values), LABEL_WEIGHT))
        if task.kind in ("multiclass", "multilabel"):
            blocks.append((values > 0, LABEL_WEIGHT))
        else:
            blocks += [(_reached(column, TARGET_QUANTILES), NUMBER_WEIGHT) for column in values.T]
    matrix = np.concatenate([block for block, _ in blocks], axis=1)
    weights = np.concatenate([np.full(block.shape[1], weight) for block, weight in blocks])
    # A target's outputs are mostly known together: equal properties would count several times.
    _, first = np.unique(matrix, axis=1, return_index=True)
    holders = matrix.sum(axis=0)[first]
    varying = np.sort(first[(holders > 0) & (holders < len(matrix))])
    return matrix[:, varying], weights[varying]


def _reached(values: np.ndarray, quantiles: int) -> np.ndarray:
    """Tell which values reach which quantile: bool (n, at most quantiles - 1)."""
    numbers = np.sort(values[~np.isnan(values)])
    places = [len(numbers) * k // quantiles for k in range(1, quantiles)] if len(numbers) else []
    cuts = np.unique(numbers[places])
    return values[:, None] >= cuts


def ks_distance(
    sample: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray
) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples: sup |F1(x) - F2(x)|, 0 to 1."""
    points = np.union1d(sample, reference)
    cumulative = [
        np.searchsorted(np.sort(values), points, side="right") / len(values)
        for values in (sample, reference)
    ]
    return float(np.abs(cumulative[0] - cumulative[1]).max())


def mend(
    part_of: np.ndarray,
    classes: np.ndarray,
    free: Sequence[int],
    stay: Container[int],
    lengths: Sequence[int],
    targets: Sequence[Targets],
) -> np.ndarray:
    """Swap newly dealt records, then a few of all free records, until the parts are alike.

    Parameters
    ----------
    part_of, classes : see `balance`.
    free : the records that may be swapped, in the seeded order.
    stay : the free records that keep their part from an earlier stage.

    Returns
    -------
    each record's part after the swaps.
    """
    fresh = np.array([i for i in free if i not in stay], dtype=int)
    some = np.array(free[:BLOCK], dtype=int)
    best, distance, all_lengths = part_of, math.inf, np.array(lengths)
    for emphasis in EMPHASES:
        matrix, weights = indicators(lengths, targets, emphasis)
        part_of = balance(part_of, classes, fresh, matrix, weights)
        most = LATE_SWAPS * emphasis
        part_of = balance(part_of, classes, some, matrix, weights, most)
        parts = [all_lengths[part_of == part] for part in np.unique(part_of)]
        furthest = max(ks_distance(part, all_lengths) for part in parts)
        if furthest < distance:
            best, distance = part_of, furthest
        if len(all_lengths) < LENGTHS_CLAIMED_FROM or distance <= MAX_KS_DISTANCE:
            break
    return best


def balance(
    part: np.ndarray,
    classes: np.ndarray,
    order: np.ndarray,
    matrix: np.ndarray,
    weights: np.ndarray,
    most: int = sys.maxsize,
) -> np.ndarray:
    """Swap records of one class between parts while that makes the parts clearly more alike.

    The imbalance is the sum over properties and parts of weight * deviation^2 / share, where the
    deviation is in records and the share is the part's. The best swap is made first, so few swaps
    are needed. A large corpus is searched in blocks.

    Parameters
    ----------
    part : each record's part, from 0 (train) on; every part has a record.
    classes : each record's class as a number; swaps keep the classes' counts.
    order : the records that may be swapped, in the seeded order.
    matrix, weights : see `indicators`.
    most : in each block, the largest number of swaps.

    Returns
    -------
    each record's part after the swaps.
    """
    part = part.copy()
    sizes = np.bincount(part)
    counts = np.stack([matrix[part == p].sum(axis=0) for p in range(len(sizes))])
    due = UNIT * sizes[:, None] * matrix.sum(axis=0) // len(part)
    deviations = (UNIT * counts - due).astype(float)
    importance = np.round(len(part) / sizes)[:, None] * weights
    for start in range(0, len(order), BLOCK):
        _swap(order[start : start + BLOCK], part, classes, matrix, deviations, importance, most)
    return part


def _swap(
    block: np.ndarray,
    part: np.ndarray,
    classes: np.ndarray,
    matrix: np.ndarray,
    deviations: np.ndarray,
    importance: np.ndarray,
    most: int,
) -> None:
    """Make the best swap of a block until none gains enough; change part and deviations."""
    values = matrix[block].astype(float)
    norms = values @ importance.T
    # For each part, how far apart two records are: the importances of all properties in which the
    # two differ, summed.
    apart = [
        norm[:, None] + norm - 2 * (values * scale) @ values.T
        for norm, scale in zip(norms.T, importance, strict=True)
    ]
    barred = classes[block][:, None] != classes[block]
    for _ in range(most):
        of = part[block]
        pull = values @ (importance * deviations).T
        best, pair = 0.0, (0, 0)
        for p in range(1, len(deviations)):  # of two parts, one is not train
            for q in range(p):
                in_p, in_q = np.flatnonzero(of == p), np.flatnonzero(of == q)
                if not (len(in_p) and len(in_q)):
                    continue
                cells = np.ix_(in_p, in_q)
                worse = (pull[:, p] - pull[:, q])[in_q] - (pull[:, p] - pull[:, q])[in_p][:, None]
                change = 2 * worse + UNIT * (apart[p][cells] + apart[q][cells])
                change[barred[cells]] = 0
                at = divmod(int(change.argmin()), len(in_q))
                if change[at] < best:
                    best, pair = float(change[at]), (in_p[at[0]], in_q[at[1]])
        if -best < LEAST_GAIN * UNIT:
            return
        i, j = pair
        step = UNIT * (values[j] - values[i])
        deviations[of[i]] += step
        deviations[of[j]] -= step
        part[block[i]], part[block[j]] = of[j], of[i]
