"""The search on real modules: its cost, and that a combination predicts as its stitched model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from redheart.crossover import candidate_predictions, soups
from redheart.crossover.recombination import contributions_on, search_checkpoints
from redheart.crossover.search import START
from redheart.encoding.tokens import evaluation_batches
from redheart.evaluation import inference
from redheart.evaluation.inference import contributions
from redheart.model.network import build_network
from redheart.model.states import load_into, module_states
from redheart.recipe.groups import units
from redheart.storage.tensors import hash_modules
from redheart.tasks import metrics

EPOCHS = [2, 4, 6]


def states_of(recipe, part, seeds):
    built = [build_network(recipe.model, recipe.tasks, part.sizes, seed) for seed in seeds]
    return list(map(module_states, built))


@pytest.fixture(scope="module")
def saved(recipe, part):
    """Three checkpoints of random weights, and their mean as the soup."""
    checkpoints = dict(zip(EPOCHS, states_of(recipe, part, (0, 1, 2)), strict=True))
    # Larger than at the start of a training, or all contributions would be near 0.
    for states in checkpoints.values():
        for module, tensors in states.items():
            for name, tensor in tensors.items():
                if name.endswith("readout.output.weight"):
                    tensor.mul_(30)
            if module.startswith("lexical_"):
                torch.nn.init.normal_(tensors["weight"])
    return {**checkpoints, START: soups.average(checkpoints.values())}


@pytest.fixture(scope="module")
def network(recipe, part):
    return inference.network_for(recipe, part)


@pytest.fixture(scope="module")
def searched(network, saved, recipe, part):
    """The search, with a count of the passes of the backbone, of a head and of analyzers."""
    counts = Counter()
    watched = ("backbone", "heads.regret", "neural_emotion", "kalman", "advanced_regret")
    hooks = [
        network.modules_by_name()[name].register_forward_hook(
            lambda *_, name=name: counts.update([name])
        )
        for name in watched
    ]
    search, states = search_checkpoints(
        network, saved.__getitem__, EPOCHS, units(saved[START]), part, recipe
    )
    for hook in hooks:
        hook.remove()
    return search, states, counts


@pytest.mark.parametrize("epoch", EPOCHS)
def test_all_units_of_one_epoch_are_that_checkpoint_bit_for_bit(
    network, saved, recipe, part, epoch
):
    cache = contributions_on(network, saved[epoch], saved.__getitem__, EPOCHS, part, recipe)
    load_into(network, saved[epoch])
    contributed = contributions(network, part, recipe.train)
    for task, modules in contributed.items():
        assert list(cache[epoch][task]) == list(modules)
        for module, value in modules.items():
            assert torch.equal(cache[epoch][task][module], value), module
            assert not torch.equal(cache[EPOCHS[EPOCHS[0] == epoch]][task][module], value)


def test_a_module_on_a_foreign_trunk_is_the_stitched_model(network, saved, recipe, part):
    cache = contributions_on(network, saved[2], saved.__getitem__, [6], part, recipe)
    load_into(network, {**saved[6], "backbone": saved[2]["backbone"]})
    for task, modules in contributions(network, part, recipe.train).items():
        for module, value in modules.items():
            assert torch.equal(cache[6][task][module], value), module


def test_each_trunk_runs_once_and_each_epochs_modules_once_on_it(searched, part):
    search, _, counts = searched
    batches = len(list(evaluation_batches(part.lengths)))
    grid = len(search["heat_map"]["unit"]["neural_emotion"]["trunk_epochs"])
    assert grid == 2
    assert search["cost"]["trunk_passes"] == 1 + grid
    assert search["cost"]["module_passes"] == 1 + len(EPOCHS) + grid**2
    assert counts.pop("backbone") == batches * search["cost"]["trunk_passes"]
    assert set(counts.values()) == {batches * search["cost"]["module_passes"]}
    assert search["cost"]["forward_evaluations"] <= 3


def test_the_scores_are_those_of_the_stitched_models(searched, network, saved, recipe, part):
    """The oracle stitches, loads and predicts, without any cache."""
    search, stitched, _ = searched
    members = units(saved[START])

    def main_metrics(states):
        predicted, _ = candidate_predictions.fit_fusion(network, states, part, recipe)
        return {
            task.name: metrics.main_metric(task, predicted[task.name], part.targets[task.name])
            for task in recipe.tasks
        }

    at_start, at_end = main_metrics(saved[START]), main_metrics(stitched)
    for task in recipe.tasks:
        moves = [move for move in search["path"] if move["task"] == task.name]
        assert at_end[task.name] == (moves[-1]["after"] if moves else at_start[task.name])
    assert search["path"], "random modules differ enough for a move"
    for unit, task in (("signal", "emotion"), ("neural_tags", "tags")):
        for option in [START, *EPOCHS]:
            changed = {module: saved[option][module] for module in members[unit]}
            score = main_metrics({**saved[START], **changed})[task]
            assert search["scores"][unit][str(option)] == score
    row = search["heat_map"]["unit"]["neural_tags"]
    changed = {**saved[6], "neural_tags": saved[2]["neural_tags"]}
    at = row["trunk_epochs"].index(6), row["unit_epochs"].index(2)
    assert row["scores"][at[0]][at[1]] == main_metrics(changed)["tags"]


def test_the_stitched_weights_are_those_of_the_chosen_places(searched, saved):
    search, stitched, _ = searched
    members = units(saved[START])
    place = dict.fromkeys(saved[START], START)
    place |= {m: option for unit, option in search["chosen"].items() for m in members[unit]}
    expected = {module: saved[option][module] for module, option in place.items()}
    assert hash_modules(stitched) == hash_modules(expected)
    assert place["backbone"] == place["heads.emotion"] == START


def test_on_a_frozen_trunk_heads_are_searched_too(network, saved, recipe, part):
    search, _ = search_checkpoints(
        network, saved.__getitem__, EPOCHS, units(saved[START], frozen_trunk=True), part, recipe
    )
    assert {f"heads.{task.name}" for task in recipe.tasks} <= set(search["units"])
    assert "trunk" not in search["units"]


def test_one_task_and_one_checkpoint_are_enough(recipe, part):
    task = recipe.tasks[3]
    alone = replace(recipe, tasks=(task,))
    part = replace(part, targets={task.name: part.targets[task.name]})
    (states,) = states_of(alone, part, (0,))
    network = inference.network_for(alone, part)
    search, stitched = search_checkpoints(
        network, {START: states, 2: states}.__getitem__, [2], units(states), part, alone
    )
    assert search["path"] == []
    assert hash_modules(stitched) == hash_modules(states)
    assert search["cost"]["forward_evaluations"] == 3


def test_tasks_without_labels_move_nothing(network, saved, recipe, part):
    targets = {name: np.full_like(rows, np.nan) for name, rows in part.targets.items()}
    search, _ = search_checkpoints(
        network,
        saved.__getitem__,
        EPOCHS,
        units(saved[START]),
        replace(part, targets=targets),
        recipe,
    )
    assert search["path"] == []
    assert set(search["scores"]["signal"].values()) == {None}
