"""Which candidate is better, and is that more than chance: paired bootstrap and the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from redheart.metrics import macro, task_metrics
from redheart.tasks import Task

# One model's predictions on one part: arrays of shape (n, width) by task name.
Predictions = Mapping[str, np.ndarray]

NAMES_IN_WORDS = {
    "last": "the last checkpoint",
    "best_single": "the best single checkpoint",
    "ema": "the EMA weights",
    "uniform_soup": "the uniform soup",
    "greedy_soup": "the greedy soup",
    "crossover": "the crossover",
    "variants_ensemble": "the variants' ensemble",
    "tfidf_linear": "TF-IDF + linear",
}


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


@dataclass(frozen=True)
class Decision:
    """What ships, and why."""

    candidate: str
    """Name of the candidate that ships."""
    reason: str
    """One sentence in plain words, with the numbers."""


def resample_weights(n: int, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Draw bootstrap resamples of n records.

    Returns
    -------
    int64 array of shape (resamples, n): how often each record was drawn; every row sums to n.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, max(n, 1), size=(resamples, n))
    cells = drawn + n * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * n).reshape(resamples, n)


def bootstrap_macros(
    tasks: Sequence[Task],
    runs: Sequence[Predictions],
    targets: Predictions,
    weights: np.ndarray,
) -> np.ndarray:
    """Return a candidate's macro score in every resample, averaged over its training seeds.

    Parameters
    ----------
    runs
        The candidate's predictions, one per training seed.
    weights
        Shape (B, n), from `resample_weights`; the same for all candidates makes them paired.

    Returns
    -------
    float64 array of shape (B,).
    """
    return np.mean([macro(tasks, run, targets, weights) for run in runs], axis=0)


def paired_differences(
    tasks: Sequence[Task],
    candidates: Mapping[str, Sequence[Predictions]],
    targets: Predictions,
    reference: str,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compare every candidate with a reference among them, on the same resamples.

    Parameters
    ----------
    candidates
        Predictions by candidate name, one per training seed.
    reference
        Name of the candidate that is subtracted.
    resamples
        Number of bootstrap resamples; 1 or more.

    Returns
    -------
    95 % percentile interval (Efron and Tibshirani 1993, section 13.3) of each candidate's macro
    score minus the reference's. Records are resampled, training seeds are not: the interval says
    what other records would change, not what another training would.

    Raises
    ------
    ValueError
        The reference is none of the candidates.
    """
    if reference not in candidates:
        raise ValueError(f"reference '{reference}' is none of {list(candidates)}")
    weights = resample_weights(len(next(iter(targets.values()))), resamples, seed)
    everything_once = np.ones((1, weights.shape[1]))
    # Row 0 is the score on the records themselves.
    rows = np.concatenate([everything_once, weights])
    scores = {n: bootstrap_macros(tasks, runs, targets, rows) for n, runs in candidates.items()}
    return {name: _interval(score - scores[reference]) for name, score in scores.items()}


def paired_bootstrap(
    tasks: Sequence[Task],
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    targets: Predictions,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the 95 % interval of macro(first) - macro(second); see `paired_differences`.

    Each side is one model's predictions, or a sequence of them, one per training seed.
    """
    pair = {"first": _runs(first), "second": _runs(second)}
    return paired_differences(tasks, pair, targets, "second", resamples, seed)["first"]


def decide_shipped(
    scores: Mapping[str, float],
    confirm: Mapping[str, Interval],
    default: str = "greedy_soup",
    never: Sequence[str] = ("tfidf_linear",),
) -> Decision:
    """Choose what ships: the default, unless the data support another candidate.

    The challenger is the best candidate on val_select; of equals, the default, then the first in
    the order given. It ships if it is better than the default on val_confirm, which nothing was
    chosen on, by more than chance (the interval lies above 0).

    Parameters
    ----------
    scores
        Macro score on val_select by candidate, the default among them.
    confirm
        Each candidate's macro score minus the default's on val_confirm.
    never
        Candidates that are compared and do not ship.
    """
    eligible = {name: score for name, score in scores.items() if name not in never}
    challenger = max(eligible, key=lambda name: (_or_lowest(eligible[name]), name == default))
    if challenger == default:
        return Decision(default, _undisputed(default, eligible))
    interval = confirm[challenger]
    if interval.low > 0:
        return Decision(challenger, _gain(challenger, default, scores, interval))
    return Decision(default, _no_gain(challenger, default, scores, interval))


def baseline_sentence(
    shipped: str, shipped_macro: float, baseline_macro: float, difference: Interval
) -> str:
    """Say in one sentence how the shipped model fares against TF-IDF + linear on test.

    Parameters
    ----------
    shipped
        Name of the candidate that ships.
    shipped_macro, baseline_macro
        Macro scores on test; 0 to 1.
    difference
        Shipped minus baseline on test.
    """
    baseline = NAMES_IN_WORDS["tfidf_linear"]
    if math.isnan(difference.difference):
        return f"The model cannot be compared with {baseline}: test has no label."
    if difference.high < 0:
        verdict = f"The model loses to {baseline}"
    elif difference.low > 0:
        verdict = f"The model beats {baseline}"
    else:
        verdict = f"The model is not distinguishable from {baseline}"
    return (
        f"{verdict}: on test, {shipped_macro:.3f} ({_words(shipped)}) against "
        f"{baseline_macro:.3f}, a difference of {difference}."
    )


def candidate_results(
    tasks: Sequence[Task],
    predictions: Mapping[str, Mapping[int, Mapping[str, Predictions]]],
    targets: Mapping[str, Predictions],
    forward_passes: Mapping[str, int],
    reference: str = "best_single",
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Return the `candidates` part of final_results.json.

    Parameters
    ----------
    predictions
        By candidate, training seed and part (val_select, val_confirm, test).
    targets
        By part and task.
    forward_passes
        By candidate: how many passes of a network one prediction takes.
    reference
        The candidate that the others are compared with on test.

    Returns
    -------
    By candidate, in the order given: the scores, averaged over the training seeds, each seed's own
    under `per_seed` where there are several, and null where a score is undefined.
    """
    test = {
        name: [s[1]["test"] for s in sorted(runs.items())] for name, runs in predictions.items()
    }
    versus = paired_differences(tasks, test, targets["test"], reference, resamples, seed)
    results = {}
    for name, runs in predictions.items():
        per_seed = {str(s): _scores(tasks, run, targets) for s, run in sorted(runs.items())}
        result = _mean_tree(list(per_seed.values()))
        result["test"]["versus_best_single"] = _defined(asdict(versus[name]))
        result["forward_passes"] = forward_passes[name]
        results[name] = result | ({"per_seed": per_seed} if len(per_seed) > 1 else {})
    return results


def _scores(
    tasks: Sequence[Task], parts: Mapping[str, Predictions], targets: Mapping[str, Predictions]
) -> dict[str, Any]:
    """Score one trained candidate on the parts that nothing was trained on."""
    macros = _defined(
        {part: macro(tasks, parts[part], targets[part]) for part in ("val_select", "val_confirm")}
    )
    test = {t.name: task_metrics(t, parts["test"][t.name], targets["test"][t.name]) for t in tasks}
    overall = _defined({"macro": macro(tasks, parts["test"], targets["test"])})
    return {**macros, "test": {**overall, "tasks": test}}


def _defined(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Turn NaN into null, as JSON knows no NaN."""
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}


def _mean_tree(trees: Sequence[Any]) -> Any:
    """Average nested dicts of the same keys number by number; null where all are null."""
    if isinstance(trees[0], Mapping):
        return {key: _mean_tree([tree[key] for tree in trees]) for key in trees[0]}
    numbers = [tree for tree in trees if tree is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _interval(differences: np.ndarray) -> Interval:
    """Summarise [1 + B] differences, the first of which is on the records themselves."""
    resampled = differences[1:][~np.isnan(differences[1:])]
    if math.isnan(differences[0]) or not len(resampled):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(differences[0]), float(low), float(high))


def _runs(predictions: Predictions | Sequence[Predictions]) -> Sequence[Predictions]:
    return [predictions] if isinstance(predictions, Mapping) else predictions


def _or_lowest(score: float) -> float:
    return -math.inf if math.isnan(score) else score


def _words(name: str) -> str:
    return NAMES_IN_WORDS.get(name, name)


def _ships(name: str) -> str:
    words = _words(name)
    return f"{words[0].upper()}{words[1:]} ships"


def _undisputed(default: str, scores: Mapping[str, float]) -> str:
    """Say why the default ships without a look at val_confirm."""
    rivals = {name: score for name, score in scores.items() if name != default}
    if not rivals:
        return f"{_ships(default)}: there is no other candidate."
    if math.isnan(scores[default]):
        return f"{_ships(default)}: val_select has no label to compare the candidates on."
    second = max(rivals, key=rivals.__getitem__)
    return (
        f"{_ships(default)}: no candidate scored higher on val_select "
        f"({scores[default]:.3f}; {_words(second)} scored {scores[second]:.3f})."
    )


def _gain(name: str, default: str, scores: Mapping[str, float], interval: Interval) -> str:
    return (
        f"{_ships(name)}: it scored {scores[name]:.3f} on val_select against {scores[default]:.3f} "
        f"of {_words(default)}, and its difference on val_confirm, {interval}, is above 0."
    )


def _no_gain(name: str, default: str, scores: Mapping[str, float], interval: Interval) -> str:
    if math.isnan(interval.difference):
        doubt = "but val_confirm has no label to confirm it on"
    else:
        finding = "is below 0" if interval.high < 0 else "may be zero"
        doubt = f"but its difference on val_confirm, {interval}, {finding}"
    return (
        f"No gain: {_words(default)} ships; {_words(name)} scored {scores[name]:.3f} "
        f"on val_select against {scores[default]:.3f}, {doubt}."
    )
