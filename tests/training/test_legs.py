"""Legs: where training goes on from, and which training states stay."""

from __future__ import annotations

import pytest

from redheart.storage import files
from redheart.storage.store import Action, Store
from redheart.training.legs import Ancestor, Leg, nearest_ancestor, parent_values, thin_states

LEGS = [Action("train_leg", {"stop": stop}, "code", {}) for stop in range(2, 22, 2)]
KEYS = [leg.key for leg in LEGS]


@pytest.fixture
def store(tmp_path):
    """Ten legs, each the parent of the next, with their training states."""
    store = Store(tmp_path / "store")
    for parent, leg in zip([None, *KEYS], LEGS, strict=False):
        state = store.state_path(leg.key)
        files.write_text(state, f"state of {leg.key}")
        manifest = {
            "parent": parent,
            "state": files.sha256_file(state),
            "epoch": leg.params["stop"],
        }

        def train(folder, manifest=manifest):
            files.write_text(folder / "weights", manifest["state"])
            files.write_json(folder / "manifest", manifest)

        store.run(leg, {name: tmp_path / name for name in ("weights", "manifest")}, train)
    return store


def kept(store):
    return [number for number, key in enumerate(KEYS, 1) if store.state_path(key).exists()]


def ancestor(store, key):
    epoch = 2 * KEYS.index(key) + 2
    return Ancestor(store.folder(key) / "weights", store.state_path(key), epoch)


def test_training_goes_on_from_the_parent(store):
    assert nearest_ancestor(store, KEYS[5]) == ancestor(store, KEYS[5])


def test_without_a_parent_it_begins_anew(store):
    assert nearest_ancestor(store, None) is None


def test_it_goes_back_as_far_as_the_states_are_gone(store):
    for key in KEYS[2:6]:
        store.state_path(key).unlink()
    assert nearest_ancestor(store, KEYS[5]) == ancestor(store, KEYS[1])


def test_a_damaged_state_is_passed_over(store):
    store.state_path(KEYS[5]).write_text("damaged")
    assert nearest_ancestor(store, KEYS[5]) == ancestor(store, KEYS[4])


def test_damaged_weights_are_passed_over(store):
    weights = store.folder(KEYS[5]) / "weights"
    weights.chmod(0o644)
    weights.write_text("damaged")
    assert nearest_ancestor(store, KEYS[5]) == ancestor(store, KEYS[4])


def test_without_any_state_it_begins_anew(store):
    for key in KEYS:
        store.state_path(key).unlink()
    assert nearest_ancestor(store, KEYS[5]) is None


def test_a_chain_with_a_hole_ends_there(store):
    (store.folder(KEYS[4]) / "manifest").unlink()
    store.state_path(KEYS[5]).unlink()
    assert nearest_ancestor(store, KEYS[5]) is None


def test_the_last_two_states_and_every_kth_stay(store):
    thin_states(store, KEYS[9], keep_every=4)
    assert kept(store) == [4, 8, 9, 10]


def test_thinning_leg_by_leg_keeps_the_same(store):
    for key in KEYS:
        thin_states(store, key, keep_every=4)
    assert kept(store) == [4, 8, 9, 10]


def test_thinning_leaves_weights_and_later_legs_alone(store):
    thin_states(store, KEYS[5], keep_every=100)
    assert kept(store) == [5, 6, 7, 8, 9, 10]
    assert all((store.folder(key) / "manifest").exists() for key in KEYS)


def test_a_leg_uses_the_values_of_its_parent_and_not_its_history():
    manifest = {"weights": {"dsp": "a"}, "ema": {"dsp": "b"}, "state": "c", "training": [1]}
    assert parent_values(manifest) == {"weights": {"dsp": "a"}, "ema": {"dsp": "b"}, "state": "c"}
    assert parent_values(None) is None


def test_a_leg_names_both_ends():
    assert Leg(2, 4).epochs == {"start": 2, "stop": 4}
