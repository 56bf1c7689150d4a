"""What ships and how all candidates compare: the decision, its words, the table of results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from redheart.crossover.candidate_table import BASELINE, DEFAULT, NAMES_IN_WORDS, REFERENCES
from redheart.json_values import or_lowest, with_nulls
from redheart.selection.bootstrap import (
    Interval,
    Predictions,
    holm_of_differences,
    interval,
    p_value,
)
from redheart.tasks.metrics import macro, task_metrics
from redheart.tasks.task import Task


@dataclass(frozen=True)
class Decision:
    """What ships, and why."""

    candidate: str
    """Name of the candidate that ships."""
    reason: str
    """One sentence in plain words, with the numbers."""


def find_challenger(scores: Mapping[str, float], default: str = DEFAULT) -> str:
    """Return the best candidate on val_select; of equals, the default, then the first given.

    Parameters
    ----------
    scores
        Macro score on val_select of the candidates that may ship, the default among them.
    """
    return max(scores, key=lambda name: (or_lowest(scores[name]), name == default))


def decide_shipped(
    scores: Mapping[str, float], confirmed: Interval | None, default: str = DEFAULT
) -> Decision:
    """Choose what ships: the default, unless the data support the challenger.

    The challenger ships if it is better than the default on val_confirm, which nothing was chosen
    on, by more than chance: the interval lies above 0. It is the only one that is tried there, so
    no correction for several comparisons is due.

    Parameters
    ----------
    scores
        As `find_challenger` takes them.
    confirmed
        The challenger's macro score minus the default's on val_confirm; None if the default is it.
    """
    challenger = find_challenger(scores, default)
    if confirmed is None or challenger == default:
        return Decision(default, _undisputed(default, scores))
    if confirmed.low > 0:
        return Decision(challenger, _gain(challenger, default, scores, confirmed))
    return Decision(default, _no_gain(challenger, default, scores, confirmed))


def noise_sentence(seeds: int) -> str:
    """Say what the intervals do not cover, given the number of training seeds."""
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
) -> dict[str, dict[str, Any]]:
    """Return the `candidates` part of final_results.json.

    Parameters
    ----------
    predictions
        By candidate, training seed and part (val_select, val_confirm, test).
    targets
        By part and task.
    resampled
        By candidate: its `bootstrap_scores` on test.
    forward_passes
        By candidate: how many passes of a network one prediction takes.

    Returns
    -------
    By candidate, in the order given: the scores, averaged over the training seeds, each seed's own
    under `per_seed` where there are several, and null where a score is undefined.
    """
    compared = {name: _compared(resampled, name) for name in REFERENCES}
    results = {}
    for name, runs in predictions.items():
        per_seed = {str(s): _scores(tasks, run, targets) for s, run in sorted(runs.items())}
        result = _mean_tree(list(per_seed.values()))
        result["test"] |= {f"versus_{other}": rows[name] for other, rows in compared.items()}
        result["forward_passes"] = forward_passes[name]
        results[name] = result | ({"per_seed": per_seed} if len(per_seed) > 1 else {})
    return results


def _compared(
    resampled: Mapping[str, np.ndarray], reference: str
) -> dict[str, dict[str, float | None]]:
    """Compare all candidates with one of them: difference, interval, p, and p by Holm."""
    differences = {name: scores - resampled[reference] for name, scores in resampled.items()}
    adjusted = holm_of_differences(differences)
    return {
        name: with_nulls({**asdict(interval(d)), "p": p_value(d), "p_holm": adjusted[name]})
        for name, d in differences.items()
    }


def _scores(
    tasks: Sequence[Task], parts: Mapping[str, Predictions], targets: Mapping[str, Predictions]
) -> dict[str, Any]:
    """Score one trained candidate on the parts that nothing was trained on."""
    macros = with_nulls(
        {part: macro(tasks, parts[part], targets[part]) for part in ("val_select", "val_confirm")}
    )
    test = {t.name: task_metrics(t, parts["test"][t.name], targets["test"][t.name]) for t in tasks}
    overall = with_nulls({"macro": macro(tasks, parts["test"], targets["test"])})
    return {**macros, "test": {**overall, "tasks": test}}


def _mean_tree(trees: Sequence[Any]) -> Any:
    """Average nested dicts of the same keys number by number; null where all are null."""
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
