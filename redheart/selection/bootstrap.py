"""The certainty of a difference: paired bootstrap over near-duplicate clusters, Holm's p."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redheart.tasks.metrics import macro
from redheart.tasks.task import Task

# One model's predictions on one part: arrays of shape (n, width) by task name.
Predictions = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Interval:
    """The difference of two macro scores with its 95 % interval; NaN if nothing is labelled."""

    difference: float
    """First score minus second score on the original records, not resampled; -1 to 1."""
    low: float
    """2.5 % percentile of the difference over the resamples; -1 to 1."""
    high: float
    """97.5 % percentile of the difference over the resamples; -1 to 1."""

    def __str__(self) -> str:
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def resample_weights(clusters: np.ndarray, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw bootstrap resamples of whole clusters, with replacement.

    A resample draws as many clusters as the part has. Near-duplicates are one observation and not
    several (Davison and Hinkley 1997, section 3.8).

    Parameters
    ----------
    clusters
        Shape (n,): each record's cluster, any integers.

    Returns
    -------
    int64 array of shape (resamples, n): how often each record was drawn.
    """
    names, cluster_of = np.unique(clusters, return_inverse=True)
    count = len(names)
    drawn = np.random.default_rng(seed).integers(0, max(count, 1), size=(resamples, count))
    cells = drawn + count * np.arange(resamples)[:, None]
    times = np.bincount(cells.ravel(), minlength=resamples * count).reshape(resamples, count)
    return times[:, cluster_of]


def bootstrap_scores(
    tasks: Sequence[Task],
    candidates: Mapping[str, Sequence[Predictions]],
    targets: Predictions,
    clusters: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return every candidate's macro score, averaged over its training seeds, in every resample.

    All candidates are scored on the same resamples, so their differences are paired. Clusters of
    records are resampled, training seeds are not. So the scores vary as they would with other
    records, and not as they would with another training.

    Parameters
    ----------
    candidates
        By candidate name: the predictions of each training seed.
    clusters
        Shape (n,): each record's cluster of near-duplicates.
    resamples
        Number of bootstrap resamples; 1 or more.

    Returns
    -------
    float64 arrays of shape (1 + resamples,) by candidate; the first value is the score on the
    original records.
    """
    drawn = resample_weights(clusters, resamples, seed)
    weights = np.concatenate([np.ones((1, len(clusters))), drawn])
    scores: dict[bytes, np.ndarray] = {}

    def scored(run: Predictions) -> np.ndarray:
        # Candidates with the same weights have the same predictions.
        content = hashlib.sha256(b"".join(run[t.name].tobytes() for t in tasks)).digest()
        if content not in scores:
            scores[content] = macro(tasks, run, targets, weights)
        return scores[content]

    return {name: np.mean([scored(run) for run in runs], 0) for name, runs in candidates.items()}


def interval(differences: np.ndarray) -> Interval:
    """Return the 95 % percentile interval (Efron and Tibshirani 1993, section 13.3).

    Parameters
    ----------
    differences
        The differences of two candidates' `bootstrap_scores`.
    """
    resampled = _defined(differences)
    if math.isnan(differences[0]) or not len(resampled):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(differences[0]), float(low), float(high))


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of no difference, 2 (1 - Phi(|difference| / standard error)).

    The standard error is the standard deviation over the resamples (Efron and Tibshirani 1993,
    chapter 6). A p-value that counts the resamples beyond 0 cannot be below 2 / (resamples + 1),
    and a correction for many comparisons multiplies this bound. NaN if the difference is undefined.
    """
    resampled = _defined(differences)
    if math.isnan(differences[0]) or not len(resampled):
        return math.nan
    error = float(resampled.std(ddof=1)) if len(resampled) > 1 else 0.0
    # A single cluster shows no noise: its standard error is 0, and it proves nothing.
    return math.erfc(abs(differences[0]) / error / math.sqrt(2)) if error else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for their number (Holm 1979): the smallest times m, the next m - 1.

    If all differences with an adjusted p below 5 % are called significant, at most 5 % of families
    contain one error or more, however the comparisons depend on each other. A p-value of NaN is no
    member of the family.
    """
    defined = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    adjusted = dict(p_values)
    reached = 0.0
    for rank, (p, name) in enumerate(defined):
        reached = max(reached, min(1.0, (len(defined) - rank) * p))
        adjusted[name] = reached
    return adjusted


def holm_of_differences(differences: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return Holm's adjusted p-value of each difference; equal differences are one comparison.

    A difference of 0 in every resample is one between equal predictions: its p is 1, and it does
    not count as a comparison.
    """
    keys = {name: values.tobytes().hex() for name, values in differences.items() if values.any()}
    adjusted = holm({key: p_value(differences[name]) for name, key in keys.items()})
    return {name: adjusted[keys[name]] if name in keys else 1.0 for name in differences}


def _defined(differences: np.ndarray) -> np.ndarray:
    """Return the differences in the resamples, without NaN."""
    return differences[1:][~np.isnan(differences[1:])]
