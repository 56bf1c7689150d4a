"""The training of a leg: its inputs, and that it trains as `epochs` does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from redheart.encoding import tokens
from redheart.machine.memory_plan import UNLIMITED
from redheart.recipe.training_options import CheckpointOptions
from redheart.storage import files
from redheart.storage.store import Action, Store
from redheart.training.leg_training import LegTraining
from redheart.training.legs import Leg, StoredLeg, trained_values

PARENT = {"epoch": 2, "key": "p", "weights": {"a": "1"}, "ema": None, "state": "2", "more": 3}


@pytest.fixture
def encoded(part, tmp_path):
    path = tmp_path / "train.npz"
    tokens.save_encoded(path, part)
    return str(path)


@pytest.fixture
def leg(recipe, encoded):
    saved = CheckpointOptions()
    return LegTraining(recipe, saved, UNLIMITED, 1e-2, 0, Leg(0, 2), None, encoded)


def test_it_is_read_from_what_the_workflow_hands_over(recipe, encoded, shipped_config, tmp_path):
    files.write_json(tmp_path / "best.json", {"best_learning_rate": 3e-4})
    files.write_json(tmp_path / "parent.json", PARENT)
    inputs = SimpleNamespace(
        train=encoded, best=tmp_path / "best.json", trunk=[], parent_manifest=[tmp_path / "parent.json"]
    )  # fmt: skip
    settings = {**shipped_config, "checkpoints": {"dtype": "bf16", "ema": False}}
    params = SimpleNamespace(devices=1, memory={"budget_gb": 8.0})
    leg = LegTraining.read(inputs, settings, SimpleNamespace(seed="7", epoch="004"), params)
    assert (leg.rate, leg.seed, leg.leg, leg.trunk) == (3e-4, 7, Leg(2, 4), "")
    assert leg.saved == CheckpointOptions(dtype="bf16", ema=False)
    assert [task.name for task in leg.recipe.tasks] == [task.name for task in recipe.tasks]
    assert leg.uses == {"rate": 3e-4, "parent": {"weights": {"a": "1"}, "ema": None, "state": "2"}}


def test_a_first_leg_uses_no_parent(leg):
    assert leg.uses == {"rate": 1e-2, "parent": None}


def test_it_follows_from_its_seed_its_epochs_and_its_devices(leg):
    values = leg.values(1)
    assert (values["seed"], values["start"], values["stop"]) == (0, 0, 2)
    assert values["environment"]["threads"] == 1
    assert leg.values(2)["environment"] == {**values["environment"], "devices": 2}


@pytest.mark.slow
def test_it_trains_the_epochs_and_notes_what_they_took(leg, recipe, part, tmp_path):
    from redheart.model.states import module_states
    from redheart.storage.tensors import hash_modules
    from redheart.training.epochs import train_leg
    from redheart.training.state import prepare

    store, folder = Store(tmp_path / "store"), tmp_path / "leg"
    key = Action("train_leg", leg.values(1), "code", leg.uses).key
    params = SimpleNamespace(devices=1, snapshot_minutes=10)
    stored = StoredLeg.find(store, lambda devices: key, None, params)
    checked, noted = [], {}
    hashes = leg.train(stored, folder, checked.append, noted.update)

    state = prepare(recipe, part, 1e-2, 0)
    train_leg(state, part, Leg(0, 2))
    assert trained_values(folder / "manifest")["weights"] == hash_modules(
        module_states(state.network)
    )
    assert hashes["weights"] == files.sha256_file(folder / "weights")
    assert stored.state.is_file()
    assert files.read_json(folder / "manifest")["key"] == key
    (sizes,) = checked
    assert sizes.weights == sum(weight.numel() for weight in state.network.parameters())
    assert [row["epoch"] for row in noted["epochs"]] == [1, 2]


def test_a_leg_in_the_store_knows_its_parent_and_its_state(tmp_path):
    store = Store(tmp_path)
    params = SimpleNamespace(devices=2, snapshot_minutes=10)
    stored = StoredLeg.find(store, lambda devices: f"key{devices}", PARENT, params)
    assert stored.keys == {"key": "key2", "parent": "p"}
    assert stored.state == store.state_path("key2")
    assert stored.ancestor() is None
