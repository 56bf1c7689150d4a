"""Modules fall into selection groups, and every parameter into exactly one module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from redheart.model.network import Network
from redheart.model.states import parameters_by_module
from redheart.recipe.groups import (
    KINDS,
    clipping_unit,
    contribution_group,
    group_in_words,
    groups,
    kind_of,
    trunk_is_frozen,
    units,
)
from redheart.recipe.model_options import PRESETS, ModelOptions, module_names, resolve
from redheart.tasks.task import Task

EMOTION = Task("emotion", "distribution", "emotions", tuple("abcdefg"))
REGRET = Task("regret", "regression", "regret_factor")
TAGS = Task("tags", "multilabel", "tags", ("x", "y"))


def network_of(*tasks: Task, preset: str = "tiny") -> Network:
    """A network whose weights take no memory: only its shape matters here."""
    with torch.device("meta"):
        return Network(resolve(ModelOptions(preset=preset), tasks, 100, 16, 50), tasks)


def test_groups_follow_the_table_of_the_plan():
    assert groups(module_names(ModelOptions(), [EMOTION, REGRET])) == {
        "A": ("backbone", "heads.emotion", "heads.regret"),
        "B": ("neural_emotion", "neural_regret"),
        "C": ("dsp", "kalman"),
        "advanced_emotion": ("advanced_emotion",),
        "advanced_regret": ("advanced_regret",),
        "lexical_emotion": ("lexical_emotion",),
        "lexical_regret": ("lexical_regret",),
    }


def test_a_group_without_modules_is_absent():
    assert list(groups(module_names(ModelOptions(lexical=False), [TAGS]))) == ["A", "B"]


def test_units_are_task_by_module_and_the_trunk_has_its_heads():
    assert units(module_names(ModelOptions(), [EMOTION, REGRET])) == {
        "trunk": ("backbone", "heads.emotion", "heads.regret"),
        "neural_emotion": ("neural_emotion",),
        "neural_regret": ("neural_regret",),
        "signal": ("dsp", "kalman"),
        "advanced_emotion": ("advanced_emotion",),
        "advanced_regret": ("advanced_regret",),
        "lexical_emotion": ("lexical_emotion",),
        "lexical_regret": ("lexical_regret",),
    }


def test_on_a_frozen_trunk_every_head_is_a_unit():
    by_unit = units(module_names(ModelOptions(), [TAGS]), frozen_trunk=True)
    assert by_unit == {name: (name,) for name in ("heads.tags", "neural_tags", "lexical_tags")} | {
        "trunk": ("backbone",)
    }


def test_a_trunk_is_frozen_if_several_checkpoints_have_the_same():
    def manifests(*hashes):
        return [{"weights": {"backbone": one, "neural_x": i}} for i, one in enumerate(hashes)]

    assert trunk_is_frozen(manifests("a", "a", "a"))
    assert not trunk_is_frozen(manifests("a", "a", "b"))
    assert trunk_is_frozen([{"weights": {"neural_x": 1}}])
    assert not trunk_is_frozen(manifests("a"))


def test_an_unknown_module_has_no_group():
    with pytest.raises(ValueError, match="'head'"):
        contribution_group("head")


def test_every_module_is_of_one_kind_in_canonical_order():
    names = module_names(ModelOptions(), [EMOTION, REGRET])
    for name in names:
        assert [kind for kind in KINDS if name.startswith(kind.name)] == [kind_of(name)]
    assert sorted(names, key=lambda name: KINDS.index(kind_of(name))) == list(names)
    assert [name for name in names if not kind_of(name).dense] == [
        "lexical_emotion",
        "lexical_regret",
    ]


def test_trunk_and_heads_share_a_gradient_norm_and_no_others_do():
    names = module_names(ModelOptions(), [EMOTION, REGRET])
    assert {name: clipping_unit(name) for name in names} == {
        **{name: name for name in names},
        **dict.fromkeys(("backbone", "heads.emotion", "heads.regret"), "trunk"),
    }


def test_a_group_of_several_modules_says_which():
    assert group_in_words("A") == "A: backbone and heads"
    assert group_in_words("B") == "B: neural analyzers"
    assert group_in_words("C") == "C: dsp and kalman"
    assert group_in_words("advanced_emotion") == "advanced_emotion"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tasks", [(EMOTION, REGRET), (TAGS,)], ids=["chain", "one"])
def test_parameters_are_partitioned(preset, tasks):
    network = network_of(*tasks, preset=preset)
    parameters = parameters_by_module(network)
    assert list(parameters) == list(network.architecture.module_names)
    held = [id(parameter) for part in parameters.values() for parameter in part.values()]
    assert sorted(held) == sorted(map(id, network.parameters()))


def test_the_states_of_the_modules_are_the_state_of_the_network():
    network = network_of(EMOTION, REGRET)
    parts = [part.state_dict() for part in network.modules_by_name().values()]
    assert sum(map(len, parts)) == len(network.state_dict()) == len(list(network.parameters()))


def test_a_parameter_of_no_module_is_found():
    network = network_of(TAGS)
    network.stray = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="stray belongs to no module"):
        parameters_by_module(network)


def test_a_parameter_of_two_modules_is_found():
    network = network_of(EMOTION, TAGS)
    network.neural_tags.score = network.neural_emotion.score
    with pytest.raises(ValueError, match="two modules: neural_emotion and neural_tags"):
        parameters_by_module(network)


@pytest.mark.parametrize("name", ["values", "type", "train", "a.b"])
def test_a_task_may_be_called_anything(name):
    task = Task(name, "distribution", "field", ("x", "y"))
    assert f"heads.{name}" in parameters_by_module(network_of(task))
