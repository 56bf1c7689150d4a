"""Weights by module: read from one network, loaded into another, refused where they do not fit."""

from __future__ import annotations

import pytest
import torch

from redheart.encoding.tokens import PartSizes
from redheart.errors import UserError
from redheart.model.network import build_network
from redheart.model.states import load_into, module_states
from redheart.recipe.model_options import ModelOptions

SIZES = ModelOptions(dimension=8, layers=1, attention_heads=2, feedforward=8)


def build(tasks, seed=0, **sizes):
    options = ModelOptions(**{**vars(SIZES), **sizes})
    return build_network(options, tasks, PartSizes(vocab_size=20, max_tokens=8), seed)


def test_weights_go_from_one_network_into_another(tasks):
    source, target = build(tasks, seed=0), build(tasks, seed=1)
    load_into(target, module_states(source))
    assert all(
        torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True)
    )
    # A copy: the networks stay independent.
    with torch.no_grad():
        next(source.parameters()).add_(1)
    assert not torch.equal(next(source.parameters()), next(target.parameters()))


def test_a_networks_states_hold_every_weight_once(tasks):
    network = build(tasks)
    states = module_states(network)
    assert tuple(states) == network.architecture.module_names
    counted = sum(value.numel() for state in states.values() for value in state.values())
    assert counted == sum(parameter.numel() for parameter in network.parameters())


def test_weights_of_other_tasks_are_refused(tasks):
    states = module_states(build(tasks[:3]))
    with pytest.raises(UserError, match=r"another model: modules .*'heads\.regret'.* differ"):
        load_into(build(tasks), states)


def test_weights_with_another_number_of_layers_are_refused(tasks):
    states = module_states(build(tasks, layers=2))
    with pytest.raises(UserError, match="another model: module backbone differs"):
        load_into(build(tasks), states)


def test_weights_of_another_shape_are_refused_with_both_shapes(tasks):
    states = module_states(build(tasks, feedforward=4))
    message = (
        r"backbone\.layers\.0\.feedforward\.widen\.weight: expected shape \(8, 8\), got \(4, 8\)"
    )
    with pytest.raises(UserError, match=message):
        load_into(build(tasks), states)
