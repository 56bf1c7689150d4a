"""The candidates of phase 4: soups, single checkpoints, stitched models, and their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redheart import checkpoint, crossover, metrics
from redheart.checkpoint import ModuleStates
from redheart.fusion import Weights, choose_weights, fused_predictions
from redheart.inference import contributions
from redheart.model.network import Network
from redheart.tokens import Encoded
from redheart.training_options import Recipe

Load = Callable[[int], Mapping[str, ModuleStates]]
Predictions = dict[str, np.ndarray]
# How a candidate is made: `members`, each a file below the seed's folder and `weights` or `ema` in
# it, whose predictions are averaged; `epochs` or the like to tell a person.
Source = dict[str, Any]


def best_epoch(tables: Sequence[Mapping[str, Any]], source: str) -> int:
    """Return the epoch whose whole model has the best macro score on val_select, earliest on ties.

    Parameters
    ----------
    tables
        The checkpoints' metrics.
    source
        `raw` or `ema` weights.
    """
    return int(ranked_epochs(tables, source)[0])


def ranked_epochs(tables: Sequence[Mapping[str, Any]], source: str = "raw") -> list[int]:
    """Return all epochs, the best macro score on val_select first, earlier ones first on ties."""

    def rank(table: Mapping[str, Any]) -> tuple[float, int]:
        macro = table["fused"][source]["macro"]
        return (-macro if macro is not None else float("inf"), table["epoch"])

    return [table["epoch"] for table in sorted(tables, key=rank)]


def predict(
    network: Network, states: ModuleStates, part: Encoded, recipe: Recipe, weights: Weights
) -> Predictions:
    """Return a model's predictions for a part: task -> float32 [n, width]."""
    checkpoint.load_into(network, states)
    given = contributions(network, part, recipe.train)
    return fused_predictions(recipe.tasks, given, weights)


def fuse(
    network: Network, states: ModuleStates, validation: Encoded, recipe: Recipe
) -> tuple[Predictions, Weights]:
    """Return a model's predictions for val_select, and the fusion's weights, which it decides."""
    checkpoint.load_into(network, states)
    given = contributions(network, validation, recipe.train)
    weights = choose_weights(recipe.tasks, given, validation.targets, recipe.fusion)
    return fused_predictions(recipe.tasks, given, weights), weights


def make_soups(
    network: Network,
    load: Load,
    tables: Sequence[Mapping[str, Any]],
    validation: Encoded,
    recipe: Recipe,
) -> tuple[dict[str, ModuleStates], dict[str, Any]]:
    """Average checkpoints: all of them (uniform), and those that help on val_select (greedy).

    Wortsman et al. 2022, arXiv 2203.05482, recipe 1.

    Returns
    -------
    The two soups, and which epochs went into each with the greedy soup's path.
    """

    def score(states: ModuleStates) -> float:
        predicted, _ = fuse(network, states, validation, recipe)
        return float(metrics.macro(recipe.tasks, predicted, validation.targets))

    ranked = ranked_epochs(tables)
    uniform = crossover.average(load(epoch)["weights"] for epoch in sorted(ranked))
    greedy, members, trace = crossover.greedy_soup(
        ranked, lambda epoch: load(epoch)["weights"], score
    )
    path = {"uniform": {"epochs": sorted(ranked)}, "greedy": {"epochs": members, "trace": trace}}
    return {"uniform": uniform, "greedy": greedy}, path


def loader(paths: Sequence[str]) -> Load:
    """Return a function from an epoch to its checkpoint, given the checkpoints' paths."""
    by_name = {Path(path).stem: path for path in paths}
    return lambda epoch: checkpoint.load_tensors(by_name[f"epoch_{epoch:03d}"])


def plan_candidates(
    tables: Sequence[Mapping[str, Any]],
    soups: Mapping[str, Mapping[str, Any]],
    crossover_epochs: Mapping[str, int],
    variants: Sequence[Mapping[str, Any]],
) -> dict[str, Source]:
    """Say for every candidate of a seed which weights it is made of.

    Parameters
    ----------
    tables
        The checkpoints' metrics, in the order of epochs.
    soups
        What went into `uniform` and `greedy`.
    crossover_epochs
        Epoch by group of the stitched model.
    variants
        The variants' recipes; one that coincides with another counts once in the ensemble.
    """

    def single(file: str, source: str = "weights", **facts: Any) -> Source:
        return {**facts, "members": [[file, source]], "forward_passes": 1}

    def saved(epoch: int, source: str = "weights") -> Source:
        return single(f"ckpt/epoch_{epoch:03d}.pt", source, epochs=[epoch])

    distinct = [variant["offset"] for variant in variants if variant["same_as"] is None]
    return {
        "last": saved(tables[-1]["epoch"]),
        "best_single": saved(best_epoch(tables, "raw")),
        "ema": saved(best_epoch(tables, "ema"), "ema"),
        "uniform_soup": single("soups/uniform.pt", epochs=soups["uniform"]["epochs"]),
        "greedy_soup": single("soups/greedy.pt", epochs=soups["greedy"]["epochs"]),
        "crossover": single("crossover/optimal.pt", epochs=dict(crossover_epochs)),
        "variants_ensemble": {
            "offsets": distinct,
            "members": [[f"variants/offset_{offset}.pt", "weights"] for offset in distinct],
            "forward_passes": len(distinct),
        },
    }


def load_members(members: Sequence[tuple[str, str]]) -> list[ModuleStates]:
    """Return the weights of each member of a candidate: (path, `weights` or `ema`)."""
    return [checkpoint.load_tensors(path)[which] for path, which in members]


def predict_candidates(
    network: Network,
    members: Mapping[str, Sequence[tuple[str, str]]],
    parts: Mapping[str, Encoded],
    recipe: Recipe,
) -> tuple[dict[str, dict[str, Predictions]], dict[str, list[Weights]]]:
    """Let all candidates predict all parts, val_select among them.

    Returns
    -------
    Candidate -> part -> predictions, the mean over the candidate's members; and candidate -> the
    fusion's weights in each of its members.
    """
    predicted, weights = {}, {}
    for name, given in members.items():
        each = [_predict_parts(network, states, parts, recipe) for states in load_members(given)]
        predicted[name] = {part: mean_prediction([one[part] for one, _ in each]) for part in parts}
        weights[name] = [one for _, one in each]
    return predicted, weights


def _predict_parts(
    network: Network, states: ModuleStates, parts: Mapping[str, Encoded], recipe: Recipe
) -> tuple[dict[str, Predictions], Weights]:
    chosen, weights = fuse(network, states, parts["val_select"], recipe)
    others = {
        part: predict(network, states, data, recipe, weights)
        for part, data in parts.items()
        if part != "val_select"
    }
    return {"val_select": chosen, **others}, weights


def mean_prediction(members: Sequence[Predictions]) -> Predictions:
    """Return the mean of several models' predictions, task by task."""
    return {
        task: np.stack([member[task] for member in members]).mean(axis=0, dtype=np.float32)
        for task in members[0]
    }
