"""From all candidates' predictions to the shipped one: the choice, then the test comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from redheart.crossover.candidates import BASELINE, DEFAULT, REFERENCES
from redheart.encoding.tokens import Encoded
from redheart.json_values import with_nulls
from redheart.selection.bootstrap import Interval, Predictions, bootstrap_scores, interval
from redheart.selection.comparison import (
    baseline_sentence,
    candidate_results,
    decide_shipped,
    find_challenger,
)
from redheart.storage import files
from redheart.tasks.metrics import macro
from redheart.tasks.task import Task

# candidate -> part -> predictions
Table = Mapping[str, Mapping[str, Predictions]]


def read_clusters(path: str | Path) -> dict[str, np.ndarray]:
    """Read `clusters.json` of the split: by part, each record's cluster of near-duplicates."""
    return {part: np.array(ids, dtype=np.int64) for part, ids in files.read_json(path).items()}


def count_passes(sources: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, int]:
    """Return by candidate the network passes of one prediction, the largest number of any seed.

    Parameters
    ----------
    sources
        The contents of each seed's `candidates.json`.
    """
    return {name: max(seed[name]["forward_passes"] for seed in sources) for name in sources[0]}


def choose(
    tasks: Sequence[Task],
    tables: Mapping[int, Table],
    targets: Mapping[str, Predictions],
    clusters: Mapping[str, np.ndarray],
    forward_passes: Mapping[str, int],
    resamples: int,
) -> dict[str, Any]:
    """Choose the candidate that ships, on val_select and val_confirm; declare the test comparison.

    Only candidates of one forward pass can ship. The other candidates are rivals: they show the
    gain from more passes.

    Parameters
    ----------
    tables
        The predictions of each training seed.
    targets
        The targets by part and task.
    clusters
        By part: each record's cluster of near-duplicates.
    forward_passes
        By candidate: the network passes of one prediction.

    Returns
    -------
    The content of `choice.json`.
    """
    all_scores = {n: _mean_macro(tasks, tables, n, "val_select", targets) for n in forward_passes}
    scores = {name: score for name, score in all_scores.items() if forward_passes[name] == 1}
    challenger = find_challenger(scores, DEFAULT)
    confirmed = None
    if challenger != DEFAULT:
        confirmed = _confirm(tasks, tables, challenger, targets, clusters, resamples)
    decision = decide_shipped(scores, confirmed, DEFAULT)

    def of_seed(seed: int) -> float:
        score = macro(tasks, tables[seed][decision.candidate]["val_select"], targets["val_select"])
        return float(np.nan_to_num(score, nan=-1.0))

    return {
        **asdict(decision),
        "seed": max(sorted(tables), key=of_seed),
        "challenger": challenger if confirmed else None,
        "val_select": with_nulls(all_scores),
        "compared_on_test": list(forward_passes),
        "with": [*REFERENCES, BASELINE],
    }


def compare(
    tasks: Sequence[Task],
    choice: Mapping[str, Any],
    tables: Mapping[int, Table],
    baseline: Table,
    parts: Mapping[str, Encoded],
    clusters: np.ndarray,
    forward_passes: Mapping[str, int],
    resamples: int,
) -> dict[str, Any]:
    """Score all candidates on test; compare the chosen one with the linear baseline in words.

    Parameters
    ----------
    choice
        The result of `choose`.
    tables
        The predictions of each training seed, also for test.
    baseline
        The predictions of the linear baseline, which has no seed.
    parts
        The parts val_select, val_confirm and test, whose targets count.
    clusters
        Each test record's cluster of near-duplicates.
    forward_passes
        By candidate: the network passes of one prediction.

    Returns
    -------
    `candidates`, `shipped` and `baseline_sentence` of `final_results.json`.
    """
    targets = {name: part.targets for name, part in parts.items()}
    predictions: dict[str, dict[int, Mapping[str, Predictions]]] = {
        name: {seed: tables[seed][name] for seed in sorted(tables)} for name in forward_passes
    }
    all_predictions = {**predictions, BASELINE: {0: baseline[BASELINE]}}
    on_test = {
        name: [parts["test"] for parts in runs.values()] for name, runs in all_predictions.items()
    }
    resampled = bootstrap_scores(tasks, on_test, targets["test"], clusters, resamples)
    passes = {**forward_passes, BASELINE: 0}
    shipped = choice["candidate"]
    sentence = baseline_sentence(
        shipped,
        float(resampled[shipped][0]),
        float(resampled[BASELINE][0]),
        interval(resampled[shipped] - resampled[BASELINE]),
    )
    return {
        "shipped": {key: choice[key] for key in ("candidate", "reason", "seed")},
        "baseline_sentence": sentence,
        "candidates": candidate_results(
            tasks, all_predictions, targets, resampled, passes, parts["test"].scales
        ),
    }


def _mean_macro(
    tasks: Sequence[Task],
    tables: Mapping[int, Table],
    name: str,
    part: str,
    targets: Mapping[str, Predictions],
) -> float:
    """Return a candidate's macro score on a part, averaged over the training seeds."""
    return float(np.mean([macro(tasks, t[name][part], targets[part]) for t in tables.values()]))


def _confirm(
    tasks: Sequence[Task],
    tables: Mapping[int, Table],
    challenger: str,
    targets: Mapping[str, Predictions],
    clusters: Mapping[str, np.ndarray],
    resamples: int,
) -> Interval:
    """Return the challenger's score minus the default's on val_confirm."""
    part = "val_confirm"
    pair = {name: [t[name][part] for t in tables.values()] for name in (challenger, DEFAULT)}
    scores = bootstrap_scores(tasks, pair, targets[part], clusters[part], resamples)
    return interval(scores[challenger] - scores[DEFAULT])
