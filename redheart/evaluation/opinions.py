"""What a checkpoint says about every record: the predictions behind the map of suspects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from redheart.encoding.lexicon import Ngrams
from redheart.encoding.tokens import Encoded
from redheart.evaluation import predictions
from redheart.evaluation.fusion import OFFSET, fused_predictions
from redheart.evaluation.inference import Contributions, contributions, network_for
from redheart.model.states import load_into
from redheart.recipe.training_options import Recipe
from redheart.storage.tensors import load_verified
from redheart.tasks.task import Task

# The name of a checkpoint's predictions in its file.
CHECKPOINT = "checkpoint"

Opinions = dict[str, dict[str, np.ndarray]]  # part -> task -> [n, width]


def save(
    path: Path,
    tasks: Sequence[Task],
    passes: Mapping[str, Contributions],
    weights: Mapping[str, Mapping[str, float]],
) -> None:
    """Write what a checkpoint predicts for every record that has passed its network.

    Parameters
    ----------
    passes
        What the modules contribute for each record, by part.
    weights
        Task -> module -> what it counts. Offsets of classes among them are left out: they raise
        rare classes for a better macro-F1, and so the suspicion of all records of frequent ones.
    """
    plain = {
        task: {name: weight for name, weight in by_name.items() if not name.startswith(OFFSET)}
        for task, by_name in weights.items()
    }
    predicted = {part: fused_predictions(tasks, c, plain) for part, c in passes.items()}
    predictions.save(path, {CHECKPOINT: predicted})


def judge(
    parts: Mapping[str, Encoded],
    checkpoint: str | Path,
    weights: Mapping[str, Mapping[str, float]],
    recipe: Recipe,
    target: Path,
) -> None:
    """Let a checkpoint predict parts, and write what it says.

    Parameters
    ----------
    parts
        The parts, by name; an empty one is left out.
    checkpoint
        Path of its weights.
    weights
        What each module counts, as its evaluation chose it.
    """
    parts = {name: part for name, part in parts.items() if len(part)}
    network = network_for(recipe, next(iter(parts.values())))
    load_into(network, load_verified(checkpoint)["weights"])
    passes = {name: contributions(network, part, recipe.train) for name, part in parts.items()}
    save(target, recipe.tasks, passes, weights)


def rest(part: Encoded, count: int) -> Encoded:
    """Return the texts of a part behind its first `count`, which its evaluation has scored.

    It stands here and not beside `Encoded.head`, since no training depends on it.
    """
    return replace(
        part,
        ids=part.ids[count:],
        targets={name: rows[count:] for name, rows in part.targets.items()},
        ngrams=part.ngrams and _rest_of(part.ngrams, count),
        features=part.features and part.features[count:],
    )


def _rest_of(ngrams: Ngrams, count: int) -> Ngrams:
    offsets = ngrams.offsets[min(count, len(ngrams.offsets) - 1) :]
    first = offsets[0]
    return Ngrams(ngrams.columns[first:], ngrams.values[first:], offsets - first, ngrams.size)


def load(*paths: str | Path) -> Opinions:
    """Read what one checkpoint says from several files; a part in two of them is continued."""
    whole: Opinions = {}
    for path in paths:
        for part, tasks in predictions.load(path)[CHECKPOINT].items():
            before = whole.get(part, {})
            whole[part] = {
                task: np.concatenate([before[task], rows]) if task in before else rows
                for task, rows in tasks.items()
            }
    return whole
