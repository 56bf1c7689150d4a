"""The candidates of phase 4: soups, and what every candidate predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redheart import checkpoint, crossover, files, metrics
from redheart.candidate_plan import Source, ranked_epochs
from redheart.checkpoint import ModuleStates
from redheart.device import open_device
from redheart.inference import contributions, predictions
from redheart.model.network import Network, build_network
from redheart.tokens import Encoded
from redheart.training_options import Recipe

Load = Callable[[int], Mapping[str, ModuleStates]]
Predictions = dict[str, np.ndarray]


def predict(
    network: Network,
    states: ModuleStates,
    part: Encoded,
    recipe: Recipe,
) -> Predictions:
    """Return a model's predictions for a part: task -> float32 [n, width]."""
    checkpoint.load_into(network, states)
    return predictions(recipe.tasks, contributions(network, part, recipe.train))


def make_soups(
    network: Network,
    load: Load,
    tables: Sequence[Mapping[str, Any]],
    validation: Encoded,
    recipe: Recipe,
) -> tuple[dict[str, ModuleStates], dict[str, Any]]:
    """Average checkpoints: all of them (uniform), and those that help on val_select (greedy).

    Wortsman et al. 2022, arXiv 2203.05482, recipe 1; of the weights, and of their moving averages
    (`_ema`).

    Returns
    -------
    The soups, and which epochs went into each with the greedy soups' paths.
    """

    def score(states: ModuleStates) -> float:
        predicted = predict(network, states, validation, recipe)
        return float(metrics.macro(recipe.tasks, predicted, validation.targets))

    soups: dict[str, ModuleStates] = {}
    path: dict[str, Any] = {}
    for suffix, source, scored in (("", "weights", "raw"), ("_ema", "ema", "ema")):

        def state(epoch: int, source: str = source) -> ModuleStates:
            return load(epoch)[source]

        ranked = ranked_epochs(tables, scored)
        soups[f"uniform{suffix}"] = crossover.average(map(state, sorted(ranked)))
        path[f"uniform{suffix}"] = {"epochs": sorted(ranked)}
        greedy, members, trace = crossover.greedy_soup(ranked, state, score)
        soups[f"greedy{suffix}"] = greedy
        path[f"greedy{suffix}"] = {"epochs": members, "trace": trace}
    return soups, path


def loader(paths: Sequence[str]) -> Load:
    """Return a function from an epoch to its checkpoint, given the checkpoints' paths."""
    by_name = {Path(path).stem: path for path in paths}
    return lambda epoch: checkpoint.load_tensors(by_name[f"epoch_{epoch:03d}"])


def empty_network(recipe: Recipe, part: Encoded) -> Network:
    """Return a network to load weights into, on the recipe's device."""
    device = open_device(recipe.train)
    return build_network(
        recipe.model, recipe.tasks, part.vocab_size, part.max_tokens, 0, device=device
    )


def load_members(members: Sequence[tuple[str, str]]) -> list[ModuleStates]:
    """Return the weights of each member of a candidate: (path, `weights` or `ema`)."""
    return [checkpoint.load_tensors(path)[which] for path, which in members]


def predict_candidates(
    network: Network,
    sources: Mapping[str, Source],
    members: Mapping[str, Sequence[tuple[str, str]]],
    parts: Mapping[str, Encoded],
    recipe: Recipe,
) -> tuple[dict[str, dict[str, Predictions]], dict[str, Source]]:
    """Let every candidate predict every part; equal weights predict once.

    Parameters
    ----------
    members
        Where the members of each candidate lie: (path, `weights` or `ema`).

    Returns
    -------
    Candidate -> part -> predictions, and the sources, with `same_as` where all predictions are
    those of the same weights as an earlier candidate's.
    """
    by_weights: dict[str, dict[str, Predictions]] = {}
    predicted, named = {}, {}
    first: dict[tuple[tuple[str, ...], ...], str] = {}
    for name, source in sources.items():
        hashes = []
        for states in load_members(members[name]):
            hashes.append(files.canonical(checkpoint.hash_modules(states)))
            if hashes[-1] not in by_weights:
                by_weights[hashes[-1]] = {
                    part: predict(network, states, data, recipe) for part, data in parts.items()
                }
        made_of = tuple(tuple(sorted(hashes[i] for i in who)) for who in _who(source, recipe))
        predicted[name] = {
            part: combine([by_weights[weights][part] for weights in hashes], source.get("tasks"))
            for part in parts
        }
        same_as = first.setdefault(made_of, name)
        named[name] = {**source} if same_as == name else {**source, "same_as": same_as}
    return predicted, named


def _who(source: Source, recipe: Recipe) -> list[list[int]]:
    """Return the members that predict each task."""
    own = source.get("tasks")
    everyone = list(range(len(source["members"])))
    return [[own[task.name]] if own else everyone for task in recipe.tasks]


def combine(
    members: Sequence[Predictions], member_of_task: Mapping[str, int] | None = None
) -> Predictions:
    """Return the mean of several models' predictions, or each task's from its own member."""
    if member_of_task:
        return {task: members[index][task] for task, index in member_of_task.items()}
    return {
        task: np.stack([member[task] for member in members]).mean(axis=0, dtype=np.float32)
        for task in members[0]
    }
