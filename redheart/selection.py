"""From everybody's predictions to what ships: the comparison of a run, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from redheart.comparison import (
    Predictions,
    baseline_sentence,
    candidate_results,
    decide_shipped,
    paired_bootstrap,
    paired_differences,
)
from redheart.tasks import Task

DEFAULT = "greedy_soup"
BASELINE = "tfidf_linear"

# candidate -> part -> predictions
Table = Mapping[str, Mapping[str, Predictions]]


def compare(
    tasks: Sequence[Task],
    tables: Mapping[int, Table],
    baseline: Table,
    targets: Mapping[str, Predictions],
    forward_passes: Mapping[str, int],
    resamples: int,
) -> dict[str, Any]:
    """Score all candidates, decide what ships, and say how it fares against the linear baseline.

    Parameters
    ----------
    tables
        The predictions of each training seed.
    baseline
        Those of the linear baseline, which has no seed.
    targets
        By part and task.
    forward_passes
        By candidate.

    Returns
    -------
    `candidates`, `shipped` and `baseline_sentence` of `final_results.json`.
    """
    predictions: dict[str, dict[int, Mapping[str, Predictions]]] = {
        name: {seed: tables[seed][name] for seed in sorted(tables)} for name in forward_passes
    }
    everyone = {**predictions, BASELINE: {0: baseline[BASELINE]}}
    passes = {**forward_passes, BASELINE: 0}
    candidates = candidate_results(tasks, everyone, targets, passes, resamples=resamples)
    on_confirm = {
        name: [parts["val_confirm"] for parts in runs.values()] for name, runs in everyone.items()
    }
    confirm = paired_differences(tasks, on_confirm, targets["val_confirm"], DEFAULT, resamples)
    decision = decide_shipped(
        {name: _score(result["val_select"]) for name, result in candidates.items()},
        confirm,
        DEFAULT,
        never=(BASELINE,),
    )
    seed = _best_seed(candidates[decision.candidate], sorted(tables))
    against_baseline = paired_bootstrap(
        tasks,
        [parts["test"] for parts in predictions[decision.candidate].values()],
        baseline[BASELINE]["test"],
        targets["test"],
        resamples,
    )
    sentence = baseline_sentence(
        decision.candidate,
        _score(candidates[decision.candidate]["test"]["macro"]),
        _score(candidates[BASELINE]["test"]["macro"]),
        against_baseline,
    )
    return {
        "shipped": {**asdict(decision), "seed": seed},
        "baseline_sentence": sentence,
        "candidates": candidates,
    }


def _best_seed(result: Mapping[str, Any], seeds: Sequence[int]) -> int:
    """Return the training seed whose model of a candidate is best on val_select."""
    each = result.get("per_seed", {})
    return max(seeds, key=lambda seed: _score(each[str(seed)]["val_select"]) if each else 0.0)


def _score(value: float | None) -> float:
    return float("nan") if value is None else value
