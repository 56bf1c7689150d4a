"""The comparison of all candidates: the decision what ships, its words, the results table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from redheart.crossover.candidates import BASELINE, DEFAULT, NAMES_IN_WORDS, REFERENCES
from redheart.json_values import or_lowest, with_nulls
from redheart.selection.bootstrap import (
    Interval,
    Predictions,
    holm_of_differences,
    interval,
    p_value,
)
from redheart.tasks.metrics import macro, task_metrics
from redheart.tasks.scale import Scale
from redheart.tasks.task import Task


@dataclass(frozen=True)
class Decision:
    """What ships, and why."""

    candidate: str
    """Name of the candidate that ships."""
    reason: str
    """One sentence in plain words, with the numbers."""


def find_challenger(scores: Mapping[str, float], default: str = DEFAULT) -> str:
    """Return the best candidate on val_select; on ties the default, else the first of `scores`.

    Parameters
    ----------
    scores
        Macro scores on val_select of the candidates that may ship, with the default.
    """
    return max(scores, key=lambda name: (or_lowest(scores[name]), name == default))


def decide_shipped(
    scores: Mapping[str, float], confirmed: Interval | None, default: str = DEFAULT
) -> Decision:
    """Choose what ships: the default, unless the data support the challenger.

    No choice was made on val_confirm. The challenger ships if it beats the default there by more
    than chance, that is, if the interval lies above 0. Only the challenger is compared there, so no
    correction for several comparisons is needed.

    Parameters
    ----------
    scores
        The scores, as for `find_challenger`.
    confirmed
        The challenger's macro score minus the default's on val_confirm; None if the challenger is
        the default.
    """
    challenger = find_challenger(scores, default)
    if confirmed is None or challenger == default:
        return Decision(default, _undisputed(default, scores))
    if confirmed.low > 0:
        return Decision(challenger, _gain(challenger, default, scores, confirmed))
    return Decision(default, _no_gain(challenger, default, scores, confirmed))


def noise_sentence(seeds: int) -> str:
    """Return a sentence on what the intervals do not cover, for a number of training seeds."""
    if seeds == 1:
        return (
            "There is one training seed: the intervals say what other texts would change, and "
            "nothing of what another training would."
        )
    return (
        f"Scores are means over {seeds} training seeds; the intervals say what other texts would "
        "change, the seeds' own scores what another training would."
    )


def baseline_sentence(
    shipped: str, shipped_macro: float, baseline_macro: float, difference: Interval
) -> str:
    """Return a sentence that compares the shipped model with TF-IDF + linear on test.

    Parameters
    ----------
    shipped
        Name of the candidate that ships.
    shipped_macro, baseline_macro
        Macro scores on test; 0 to 1.
    difference
        The shipped model's score minus the baseline's on test.
    """
    baseline = NAMES_IN_WORDS[BASELINE]
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
    resampled: Mapping[str, np.ndarray],
    forward_passes: Mapping[str, int],
    scales: Mapping[str, Scale],
) -> dict[str, dict[str, Any]]:
    """Return the `candidates` part of final_results.json.

    Parameters
    ----------
    predictions
        The predictions by candidate, training seed and part (val_select, val_confirm, test).
    targets
        The targets by part and task.
    resampled
        By candidate: its `bootstrap_scores` on test.
    forward_passes
        By candidate: the network passes of one prediction.
    scales
        The scale of each regression, for the metrics in its unit.

    Returns
    -------
    By candidate, in the order of `predictions`: the scores, averaged over the training seeds. If
    there are several seeds, `per_seed` holds the scores of each. An undefined score is null.
    """
    compared = {name: _compared(resampled, name) for name in REFERENCES}
    results = {}
    for name, runs in predictions.items():
        per_seed = {str(s): _scores(tasks, run, targets, scales) for s, run in sorted(runs.items())}
        result = _mean_tree(list(per_seed.values()))
        result["test"] |= {
            f"versus_{reference}": rows[name] for reference, rows in compared.items()
        }
        result["forward_passes"] = forward_passes[name]
        results[name] = result | ({"per_seed": per_seed} if len(per_seed) > 1 else {})
    return results


def _compared(
    resampled: Mapping[str, np.ndarray], reference: str
) -> dict[str, dict[str, float | None]]:
    """Compare all candidates with a reference: difference, interval, p, and p by Holm."""
    differences = {name: scores - resampled[reference] for name, scores in resampled.items()}
    adjusted = holm_of_differences(differences)
    return {
        name: with_nulls({**asdict(interval(d)), "p": p_value(d), "p_holm": adjusted[name]})
        for name, d in differences.items()
    }


def _scores(
    tasks: Sequence[Task],
    parts: Mapping[str, Predictions],
    targets: Mapping[str, Predictions],
    scales: Mapping[str, Scale],
) -> dict[str, Any]:
    """Score one trained candidate on the parts that are not used for training."""
    macros = with_nulls(
        {part: macro(tasks, parts[part], targets[part]) for part in ("val_select", "val_confirm")}
    )
    test = {
        task.name: task_metrics(
            task, parts["test"][task.name], targets["test"][task.name], scales.get(task.name)
        )
        for task in tasks
    }
    overall = with_nulls({"macro": macro(tasks, parts["test"], targets["test"])})
    return {**macros, "test": {**overall, "tasks": test}}


def _mean_tree(trees: Sequence[Any]) -> Any:
    """Average nested dicts of the same keys number by number; null if all numbers are null."""
    if isinstance(trees[0], Mapping):
        return {key: _mean_tree([tree[key] for tree in trees]) for key in trees[0]}
    numbers = [tree for tree in trees if tree is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _words(name: str) -> str:
    return NAMES_IN_WORDS.get(name, name)


def _ships(name: str) -> str:
    words = _words(name)
    return f"{words[0].upper()}{words[1:]} ships"


def _undisputed(default: str, scores: Mapping[str, float]) -> str:
    """Return the reason why the default ships without the use of val_confirm."""
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
