"""Filling the search's cache: each trunk runs once, and every epoch's modules read its features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redheart.crossover import search
from redheart.crossover.candidate_predictions import loader
from redheart.crossover.search import START, Option
from redheart.encoding.tokens import Encoded, load_encoded
from redheart.evaluation.fusion import choose_weights, fused_predictions
from redheart.evaluation.inference import (
    Contributions,
    contributions,
    features_by_batch,
    network_for,
)
from redheart.model.network import Network
from redheart.model.states import load_into
from redheart.recipe.groups import trunk_is_frozen, units
from redheart.recipe.training_options import Recipe
from redheart.storage.tensors import MaybeDeferred, load_verified
from redheart.tasks import metrics


def search_files(
    inputs: Any, manifests: Mapping[int, Mapping[str, Any]], recipe: Recipe
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Search the units' epochs in the files of a seed, as `search_checkpoints` does.

    Parameters
    ----------
    inputs
        Paths: `greedy`, the soup; `weights`, all checkpoints; `val_select`, the encoded part.
    manifests
        The checkpoints' manifests by epoch.

    Returns
    -------
    As `search_checkpoints`.
    """
    validation = load_encoded(inputs.val_select)
    soup = load_verified(inputs.greedy)["weights"]
    load_epoch = loader(inputs.weights)

    def load(option: Option) -> MaybeDeferred:
        return soup if option == START else load_epoch(int(option))["weights"]

    network = network_for(recipe, validation)
    modules_by_unit = units(soup, trunk_is_frozen(manifests.values()))
    return search_checkpoints(network, load, sorted(manifests), modules_by_unit, validation, recipe)


def contributions_on(
    network: Network,
    trunk: MaybeDeferred,
    load: Callable[[Option], MaybeDeferred],
    options: Sequence[Option],
    part: Encoded,
    recipe: Recipe,
) -> dict[Option, Contributions]:
    """Return the contributions of each option's modules on one trunk; the trunk runs once."""
    load_into(network, trunk)
    features = features_by_batch(network, part, recipe.train)
    cache = {}
    for option in options:
        load_into(network, load(option))
        cache[option] = contributions(network, part, recipe.train, features)
    return cache


def search_checkpoints(
    network: Network,
    load: Callable[[Option], MaybeDeferred],
    epochs: Sequence[int],
    modules_by_unit: Mapping[str, Sequence[str]],
    part: Encoded,
    recipe: Recipe,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Search the units' epochs on the greedy soup's trunk; score them on other trunks too.

    Parameters
    ----------
    load
        Reads the weights of an epoch, or of the greedy soup.
    epochs
        The saved epochs, ascending.
    modules_by_unit
        The units, as `redheart.recipe.groups.units` returns them.
    part
        val_select.

    Returns
    -------
    The content of `search.json`, and the stitched weights by module.
    """

    def cached(trunk: Option, options: Sequence[Option]) -> dict[Option, Contributions]:
        return contributions_on(network, load(trunk), load, options, part, recipe)

    tasks = {task.name: task for task in recipe.tasks}

    def score(name: str, modules: Mapping[str, Any]) -> float:
        one_task, contributed = [tasks[name]], {name: modules}
        weights = choose_weights(one_task, contributed, part.targets, recipe.fusion)
        predicted = fused_predictions(one_task, contributed, weights)[name]
        return metrics.main_metric(tasks[name], predicted, part.targets[name])

    result = search.search_units(cached(START, [START, *epochs]), modules_by_unit, score)
    grid = search.heat_map_epochs(epochs)
    caches = {trunk: cached(trunk, grid) for trunk in grid}
    result["cost"] = _cost(len(epochs), len(grid))
    result["heat_map"] = {"unit": search.heat_map(caches, modules_by_unit, score)}
    return result, _stitched(load, result["chosen"], modules_by_unit)


def _cost(epochs: int, grid: int) -> dict[str, Any]:
    """Return the search's passes over val_select, also in evaluations of all checkpoints.

    To evaluate one checkpoint takes one pass of its trunk and one pass of its modules. The larger
    of the two numbers of passes counts, as if every pass were one of trunk and modules.
    """
    trunks, modules = 1 + grid, 1 + epochs + grid**2
    return {
        "trunk_passes": trunks,
        "module_passes": modules,
        "forward_evaluations": max(trunks, modules) / epochs,
    }


def _stitched(
    load: Callable[[Option], MaybeDeferred],
    chosen: Mapping[str, Option],
    modules_by_unit: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Put the chosen units into the greedy soup."""
    stitched = dict(load(START))
    for option in sorted({option for option in chosen.values() if option != START}):
        state = load(option)
        for unit in [name for name, source in chosen.items() if source == option]:
            stitched |= {module: state[module] for module in modules_by_unit[unit]}
    return stitched
