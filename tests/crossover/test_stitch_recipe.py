"""Recipes of a crossover: shifted variants, and states stitched by them, on arrays of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from filled_states import GROUPS, MODULES, Loader
from hypothesis import given
from hypothesis import strategies as st

from redheart.crossover.stitch_recipe import CrossoverOptions, make_recipe, shift, stitch, variants
from redheart.errors import UserError

SAVED = list(range(2, 62, 2))


def manifest(epoch):
    hashes = {module: f"{module}@{epoch}" for module in MODULES}
    return {"weights": hashes, "ema": {name: f"ema:{text}" for name, text in hashes.items()}}


MANIFESTS = {epoch: manifest(epoch) for epoch in SAVED}


def test_recipe_names_epoch_checkpoint_and_hash_of_each_module():
    recipe = make_recipe({"A": 14, "B": 6}, GROUPS, MANIFESTS)
    assert recipe["epochs"] == {"A": 14, "B": 6}
    assert recipe["source"] == "weights"
    assert list(recipe["modules"]) == MODULES
    assert recipe["modules"]["backbone"] == {
        "epoch": 14,
        "checkpoint": "epoch_014.pt",
        "sha256": "backbone@14",
    }
    ema = make_recipe({"A": 14, "B": 6}, GROUPS, MANIFESTS, source="ema")
    assert ema["modules"]["neural_x"]["sha256"] == "ema:neural_x@6"


def test_recipe_names_what_is_missing():
    with pytest.raises(UserError, match="group 'B' has no chosen epoch"):
        make_recipe({"A": 2}, GROUPS, MANIFESTS)
    with pytest.raises(UserError, match=r"group 'A' wants epoch 3, .* \(saved: 2, 4"):
        make_recipe({"A": 3, "B": 2}, GROUPS, MANIFESTS)
    with pytest.raises(UserError, match="epoch 2 has no module 'dsp'"):
        make_recipe({"C": 2}, {"C": ["dsp"]}, MANIFESTS)


def test_shift_clamps_and_names_the_groups():
    assert shift({"A": 14, "B": 2}, -4, SAVED) == ({"A": 10, "B": 2}, ["B"])
    assert shift({"A": 58, "B": 60}, 2, SAVED) == ({"A": 60, "B": 60}, ["B"])


def test_shift_snaps_to_the_nearest_checkpoint_and_of_two_to_the_earlier():
    assert shift({"A": 10, "B": 10}, 4, [20, 5, 10, 15]) == ({"A": 15, "B": 15}, [])
    assert shift({"A": 10, "B": 20}, 5, [10, 20, 40]) == ({"A": 10, "B": 20}, [])


def test_shift_without_checkpoints_is_refused():
    with pytest.raises(UserError, match="no checkpoint to stitch from"):
        shift({"A": 2}, 0, [])


def test_variants_that_coincide_name_the_one_nearest_to_zero():
    plan = variants({"A": 2, "B": 4}, CrossoverOptions().offsets, SAVED)
    assert list(plan) == [-4, -2, 0, 2, 4]
    assert plan[-4] == {"epochs": {"A": 2, "B": 2}, "clamped": ["A", "B"], "same_as": -2}
    assert plan[-2] == {"epochs": {"A": 2, "B": 2}, "clamped": ["A"], "same_as": None}
    assert plan[0] == {"epochs": {"A": 2, "B": 4}, "clamped": [], "same_as": None}
    assert plan[4] == {"epochs": {"A": 6, "B": 8}, "clamped": [], "same_as": None}


def test_variants_of_a_single_checkpoint_are_all_offset_zero():
    plan = variants({"A": 60}, [4, -4, 0, 2], [60])
    assert {offset: entry["same_as"] for offset, entry in plan.items()} == {
        4: 0,
        -4: 0,
        0: None,
        2: 0,
    }


saved_epochs = st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True)
offsets = st.lists(st.integers(-70, 70), min_size=1, max_size=6, unique=True)


@given(st.data(), saved_epochs, offsets)
def test_variants_stay_with_the_saved_epochs_and_never_compound(data, saved, offsets):
    groups = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from(saved), min_size=1)
    epochs = data.draw(groups)
    plan = variants(epochs, offsets, saved)
    assert shift(epochs, 0, saved) == (epochs, [])
    for offset, entry in plan.items():
        assert set(entry["epochs"].values()) <= set(saved)
        assert (entry["epochs"], entry["clamped"]) == shift(epochs, offset, saved)
        for group, epoch in entry["epochs"].items():
            distance = abs(epoch - epochs[group] - offset)
            assert distance == min(abs(other - epochs[group] - offset) for other in saved)
    different = [entry["epochs"] for entry in plan.values() if entry["same_as"] is None]
    assert all(different.count(entry["epochs"]) == 1 for entry in plan.values())


def test_stitch_takes_each_module_from_its_epoch_and_loads_once():
    load = Loader()
    recipe = make_recipe({"A": 14, "B": 6}, GROUPS, MANIFESTS)
    stitched = stitch(recipe, load)
    assert load.asked == [6, 14]
    assert list(stitched) == MODULES
    numbers = {module: tensors["w"][0, 0] for module, tensors in stitched.items()}
    assert numbers == {"backbone": 14, "heads.x": 14, "neural_x": 6}


def test_stitch_names_a_missing_module():
    recipe = make_recipe({"A": 14, "B": 6}, GROUPS, MANIFESTS)
    with pytest.raises(UserError, match=r"epoch 6 has no module 'neural_x' \(it has backbone\)"):
        stitch(recipe, lambda epoch: {"backbone": {"w": np.zeros(1)}})
