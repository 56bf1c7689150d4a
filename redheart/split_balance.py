"""Swaps between the parts of a split that make them alike in text lengths and in all targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redheart.tasks import Record, Task, target_matrix

# Text lengths and numbers are compared at so many of their quantiles.
LENGTH_QUANTILES = 25
TARGET_QUANTILES = 20
# What a deviation counts, squared: at a quantile of the lengths, for a label, at one of a number.
LENGTH_WEIGHT, LABEL_WEIGHT, NUMBER_WEIGHT = 8, 32, 3
# A swap must be worth this much, or it is not made: every swap costs stability. In the unit of
# the imbalance: 80 is half a record's deviation of a label, squared, in a part of one twentieth.
LEAST_GAIN = 80
# So many records are searched for swaps at a time, in the seeded order.
BLOCK = 500
# Deviations are whole numbers of this fraction of a record, and so are exact in float64: no
# machine's order of summation changes a swap.
UNIT = 64


def indicators(
    records: Sequence[Record], tasks: Sequence[Task] = (), emphasis: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the parts are to have in common, as yes-or-no properties of the records.

    A label is there or not; a length or a number reaches each of its quantiles or not; a target
    is known or not. Lengths count `emphasis` times as much as usual, at `emphasis` times as many
    quantiles.

    Returns
    -------
    bool array (n, properties), none of them constant, and their weights (properties,).
    """
    lengths = np.array([len(record["text"]) for record in records], dtype=float)
    blocks = [(_reached(lengths, emphasis * LENGTH_QUANTILES), emphasis * LENGTH_WEIGHT)]
    for task in tasks:
        targets = target_matrix(task, records)
        blocks.append((~np.isnan(targets), LABEL_WEIGHT))
        if task.kind in ("multiclass", "multilabel"):
            blocks.append((targets > 0, LABEL_WEIGHT))
        else:
            blocks += [(_reached(column, TARGET_QUANTILES), NUMBER_WEIGHT) for column in targets.T]
    matrix = np.concatenate([block for block, _ in blocks], axis=1)
    weights = np.concatenate([np.full(block.shape[1], weight) for block, weight in blocks])
    # A target's outputs are mostly known together: what is said twice would count twice.
    _, first = np.unique(matrix, axis=1, return_index=True)
    holders = matrix.sum(axis=0)[first]
    kept = np.sort(first[(holders > 0) & (holders < len(matrix))])
    return matrix[:, kept], weights[kept]


def _reached(values: np.ndarray, quantiles: int) -> np.ndarray:
    """Tell which values reach which quantile: bool (n, at most quantiles - 1)."""
    known = np.sort(values[~np.isnan(values)])
    places = [len(known) * k // quantiles for k in range(1, quantiles)] if len(known) else []
    cuts = np.unique(known[places])
    return values[:, None] >= cuts


def ks_distance(sample: Sequence[float] | np.ndarray, whole: Sequence[float] | np.ndarray) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples: sup |F1(x) - F2(x)|, 0 to 1."""
    points = np.union1d(sample, whole)
    cumulative = [
        np.searchsorted(np.sort(values), points, side="right") / len(values)
        for values in (sample, whole)
    ]
    return float(np.abs(cumulative[0] - cumulative[1]).max())


def balance(
    part: np.ndarray,
    classes: np.ndarray,
    order: np.ndarray,
    matrix: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Swap records of one class between parts while that makes the parts clearly more alike.

    The imbalance is the sum over properties and parts of weight * deviation^2 / share, the
    deviation in records, the share that of the part. The best swap is made first, so few are
    needed: the fewer, the less a record more can change. A large corpus is searched in blocks.

    Parameters
    ----------
    part : each record's part, from 0 (train) on; every part has a record.
    classes : each record's class as a number; swaps keep the classes' counts.
    order : the records that may be swapped, in the seeded order.
    matrix, weights : see `indicators`.

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
        _swap(order[start : start + BLOCK], part, classes, matrix, deviations, importance)
    return part


def _swap(
    block: np.ndarray,
    part: np.ndarray,
    classes: np.ndarray,
    matrix: np.ndarray,
    deviations: np.ndarray,
    importance: np.ndarray,
) -> None:
    """Make the best swap of a block until none gains enough; change part and deviations."""
    values = matrix[block].astype(float)
    norms = values @ importance.T
    # How far apart two records are, by each part's importance: its sum over where they differ.
    apart = [
        norm[:, None] + norm - 2 * (values * scale) @ values.T
        for norm, scale in zip(norms.T, importance, strict=True)
    ]
    barred = classes[block][:, None] != classes[block]
    while True:
        of = part[block]
        pull = values @ (importance * deviations).T
        best, pair = 0.0, (0, 0)
        for p in range(1, len(deviations)):  # of two parts, one is not train
            for q in range(p):
                here, there = np.flatnonzero(of == p), np.flatnonzero(of == q)
                if not (len(here) and len(there)):
                    continue
                cells = np.ix_(here, there)
                worse = (pull[:, p] - pull[:, q])[there] - (pull[:, p] - pull[:, q])[here][:, None]
                change = 2 * worse + UNIT * (apart[p][cells] + apart[q][cells])
                change[barred[cells]] = 0
                at = divmod(int(change.argmin()), len(there))
                if change[at] < best:
                    best, pair = float(change[at]), (here[at[0]], there[at[1]])
        if -best < LEAST_GAIN * UNIT:
            return
        i, j = pair
        step = UNIT * (values[j] - values[i])
        deviations[of[i]] += step
        deviations[of[j]] -= step
        part[block[i]], part[block[j]] = of[j], of[i]
