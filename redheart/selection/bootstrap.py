"""How sure a difference is: the paired bootstrap over clusters of near-duplicates, and Holm's p."""

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
    """The difference of two macro scores with its 95 % interval; NaN where nothing is labelled."""

    difference: float
    """Score of the first minus score of the second on the records themselves; -1 to 1."""
    low: float
    """2.5 % percentile of the difference over the resamples; -1 to 1."""
    high: float
    """97.5 % percentile of the difference over the resamples; -1 to 1."""

    def __str__(self) -> str:
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def resample_weights(clusters: np.ndarray, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw bootstrap resamples of whole clusters, as many as there are, with replacement.

    Near-duplicates are one observation and not several (Davison and Hinkley 1997, section 3.8).

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

    All are scored on the same resamples, so that their differences are paired. Clusters of records
    are resampled, training seeds are not: what varies is what other records would change, not what
    another training would.

    Parameters
    ----------
    candidates
        Predictions by candidate name, one per training seed.
    clusters
        Shape (n,): each record's cluster of near-duplicates.
    resamples
        Number of bootstrap resamples; 1 or more.

    Returns
    -------
    float64 arrays of shape (1 + resamples,) by candidate, the first on the records themselves.
    """
    drawn = resample_weights(clusters, resamples, seed)
    weights = np.concatenate([np.ones((1, len(clusters))), drawn])
    known: dict[bytes, np.ndarray] = {}

    def scored(run: Predictions) -> np.ndarray:
        # Candidates that came to the same weights predict the same.
        content = hashlib.sha256(b"".join(run[t.name].tobytes() for t in tasks)).digest()
        if content not in known:
            known[content] = macro(tasks, run, targets, weights)
        return known[content]

    return {name: np.mean([scored(run) for run in runs], 0) for name, runs in candidates.items()}


def interval(differences: np.ndarray) -> Interval:
    """Return the 95 % percentile interval (Efron and Tibshirani 1993, section 13.3).

    Parameters
    ----------
    differences
        Of two candidates' `bootstrap_scores`.
    """
    resampled = _defined(differences)
    if math.isnan(differences[0]) or not len(resampled):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(differences[0]), float(low), float(high))


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of no difference, 2 (1 - Phi(|difference| / standard error)).

    The error is the standard deviation over the resamples (Efron and Tibshirani 1993, chapter 6).
    Counting resamples beyond 0 instead cannot go below 2 / (resamples + 1), which a correction for
    many comparisons multiplies. NaN where the difference is undefined.
    """
    resampled = _defined(differences)
    if math.isnan(differences[0]) or not len(resampled):
        return math.nan
    error = float(resampled.std(ddof=1)) if len(resampled) > 1 else 0.0
    # One cluster alone shows no noise, and so proves nothing.
    return math.erfc(abs(differences[0]) / error / math.sqrt(2)) if error else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values adjusted for their number (Holm 1979): the smallest times m, the next m - 1.

    Calling significant what stays below 5 % errs once or more in at most 5 % of families, however
    the comparisons depend on each other. One that is NaN is no member of the family.
    """
    known = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    adjusted = dict(p_values)
    reached = 0.0
    for rank, (p, name) in enumerate(known):
        reached = max(reached, min(1.0, (len(known) - rank) * p))
        adjusted[name] = reached
    return adjusted


def holm_of_differences(differences: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return Holm's adjusted p-value of each difference; equal differences are one comparison.

    One that is 0 in every resample is that of the same predictions: nothing is compared, p is 1.
    """
    keys = {name: values.tobytes().hex() for name, values in differences.items() if values.any()}
    adjusted = holm({key: p_value(differences[name]) for name, key in keys.items()})
    return {name: adjusted[keys[name]] if name in keys else 1.0 for name in differences}


def _defined(differences: np.ndarray) -> np.ndarray:
    """Return the differences in the resamples, NaN left out."""
    return differences[1:][~np.isnan(differences[1:])]
