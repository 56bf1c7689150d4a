"""From a section of the config to options, and the epochs that get a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from redheart.recipe.build import build, read_recipe
from redheart.recipe.training_options import LegOptions, TrainOptions, checkpoint_epochs


@dataclass(frozen=True)
class Options:
    rates: tuple[tuple[float, ...], ...] = ((0.1,),)
    name: str = "a"


def test_a_dataclass_takes_its_own_keys_of_a_section():
    section = {"rates": [[0.5, 1.0], [2.0]], "name": None, "of_another": 3}
    assert build(Options, section) == Options(((0.5, 1.0), (2.0,)), None)
    assert build(Options, {}) == Options()


def test_a_recipe_leaves_out_what_does_not_change_training():
    section = {"batch_size": 9, "epochs": 7, "max_tokens": 5}
    tasks = {"regret": {"kind": "regression", "field": "r"}}
    recipe = read_recipe({"tasks": tasks, "model": {"advanced": ["regret"]}, "train": section})
    assert recipe.train == TrainOptions(batch_size=9)
    assert recipe.model.advanced == ("regret",)
    assert [task.name for task in recipe.tasks] == ["regret"]


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (6, 2, [2, 4, 6]),
        (7, 2, [2, 4, 6, 7]),
        (3, 5, [3]),
        (1, 1, [1]),
        (4, 1, [1, 2, 3, 4]),
    ],
)
def test_the_last_epoch_always_has_a_checkpoint(epochs, every, expected):
    assert checkpoint_epochs(LegOptions(epochs, every)) == expected


def test_the_plan_has_thirty_checkpoints_by_default():
    assert checkpoint_epochs(LegOptions()) == list(range(2, 61, 2))
