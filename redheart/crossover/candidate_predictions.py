"""The candidates of phase 4: their members, their fusion and their predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from redheart.crossover.candidate_sources import Source, member_paths
from redheart.encoding.tokens import Encoded
from redheart.evaluation.fusion import Weights, choose_weights, fused_predictions
from redheart.evaluation.inference import contributions
from redheart.model.network import Network
from redheart.model.states import load_into
from redheart.recipe.training_options import Recipe
from redheart.storage import files, run_files
from redheart.storage.tensors import MaybeDeferred, hash_modules, load_verified

Load = Callable[[int], Mapping[str, MaybeDeferred]]

Predictions = dict[str, np.ndarray]


def predict(
    network: Network, states: MaybeDeferred, part: Encoded, recipe: Recipe, weights: Weights
) -> Predictions:
    """Return a model's predictions for a part: task -> float32 [n, width]."""
    load_into(network, states)
    contributed = contributions(network, part, recipe.train)
    return fused_predictions(recipe.tasks, contributed, weights)


def fit_fusion(
    network: Network, states: MaybeDeferred, validation: Encoded, recipe: Recipe
) -> tuple[Predictions, Weights]:
    """Return a model's predictions for val_select, and the fusion's weights fitted on it."""
    load_into(network, states)
    contributed = contributions(network, validation, recipe.train)
    weights = choose_weights(recipe.tasks, contributed, validation.targets, recipe.fusion)
    return fused_predictions(recipe.tasks, contributed, weights), weights


def loader(paths: Sequence[str]) -> Load:
    """Return a function that loads the checkpoint of an epoch, from the checkpoints' paths.

    Each checkpoint is read and checked once, at the first call with its epoch.
    """
    by_name = {Path(path).name: path for path in paths}
    load = cache(load_verified)
    return lambda epoch: load(by_name[Path(run_files.checkpoint(epoch)).name])


def paths_of_members(
    sources: Mapping[str, Source], paths: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Return the path and the kind of each candidate's members, from one seed's file paths."""
    return {name: member_paths(source, paths) for name, source in sources.items()}


def load_members(members: Sequence[tuple[str, str]]) -> list[MaybeDeferred]:
    """Return the weights of each member of a candidate: (path, `weights` or `ema`)."""
    return [load_verified(path)[which] for path, which in members]


def predict_candidates(
    network: Network,
    sources: Mapping[str, Source],
    members: Mapping[str, Sequence[tuple[str, str]]],
    parts: Mapping[str, Encoded],
    recipe: Recipe,
) -> tuple[dict[str, dict[str, Predictions]], dict[str, Source]]:
    """Let every candidate predict every part, also val_select; equal weights predict once.

    Parameters
    ----------
    members
        Where the members of each candidate lie: (path, `weights` or `ema`).

    Returns
    -------
    Candidate -> part -> predictions; and the sources, each with `fusion`, the fusion's weights of
    each member. A source also has `same_as` if an earlier candidate has the very same weights.
    """
    by_hash: dict[str, tuple[dict[str, Predictions], Weights]] = {}
    first: dict[tuple[tuple[str, ...], ...], str] = {}
    predicted, named = {}, {}
    for name, source in sources.items():
        hashes = []
        for states in load_members(members[name]):
            hashes.append(files.canonical(hash_modules(states)))
            if hashes[-1] not in by_hash:
                by_hash[hashes[-1]] = predict_parts(network, states, parts, recipe)
        predictions, fusion = zip(*(by_hash[digest] for digest in hashes), strict=True)
        member_of = source.get("tasks")
        predicted[name] = {
            part: combine([by_part[part] for by_part in predictions], member_of) for part in parts
        }
        named[name] = {**source, "fusion": list(fusion)}
        made_of = tuple(
            (hashes[member_of[task.name]],) if member_of else tuple(sorted(hashes))
            for task in recipe.tasks
        )
        if first.setdefault(made_of, name) != name:
            named[name]["same_as"] = first[made_of]
    return predicted, named


def predict_fused(
    network: Network,
    sources: Mapping[str, Source],
    members: Mapping[str, Sequence[tuple[str, str]]],
    part: Encoded,
    recipe: Recipe,
) -> dict[str, Predictions]:
    """Let every candidate predict a part without fitting to it; equal weights predict once.

    Parameters
    ----------
    sources
        The sources that `predict_candidates` returned, with the fusion's weights.
    members
        Where the members of each candidate lie: (path, `weights` or `ema`).
    """
    by_member: dict[tuple[str, str], Predictions] = {}
    predicted: dict[str, Predictions] = {}
    for name, source in sources.items():
        if "same_as" in source:
            predicted[name] = predicted[source["same_as"]]
            continue
        for (path, which), weights in zip(members[name], source["fusion"], strict=True):
            if (path, which) not in by_member:
                (states,) = load_members([(path, which)])
                by_member[path, which] = predict(network, states, part, recipe, weights)
        predictions = [by_member[member] for member in members[name]]
        predicted[name] = combine(predictions, source.get("tasks"))
    return predicted


def predict_parts(
    network: Network, states: MaybeDeferred, parts: Mapping[str, Encoded], recipe: Recipe
) -> tuple[dict[str, Predictions], Weights]:
    """Return a model's predictions by part, also for val_select, and the fusion's weights."""
    on_val_select, weights = fit_fusion(network, states, parts["val_select"], recipe)
    on_other_parts = {
        part: predict(network, states, data, recipe, weights)
        for part, data in parts.items()
        if part != "val_select"
    }
    return {"val_select": on_val_select, **on_other_parts}, weights


def combine(
    members: Sequence[Predictions], member_of_task: Mapping[str, int] | None = None
) -> Predictions:
    """Return the mean prediction of several models, or each task from the member named for it."""
    if member_of_task:
        return {task: members[index][task] for task, index in member_of_task.items()}
    return {
        task: np.stack([member[task] for member in members]).mean(axis=0, dtype=np.float32)
        for task in members[0]
    }
