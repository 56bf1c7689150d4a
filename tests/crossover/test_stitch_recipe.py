"""Crossover: recipes, shifted variants, stitched states and soups, on arrays of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.crossover.soups import average, greedy_soup
from redheart.crossover.stitch_recipe import CrossoverOptions, make_recipe, shift, stitch, variants
from redheart.errors import UserError

GROUPS = {"A": ["backbone", "heads.x"], "B": ["neural_x"]}
MODULES = [module for members in GROUPS.values() for module in members]
SAVED = list(range(2, 62, 2))


def manifest(epoch):
    hashes = {module: f"{module}@{epoch}" for module in MODULES}
    return {"weights": hashes, "ema": {name: f"ema:{text}" for name, text in hashes.items()}}


MANIFESTS = {epoch: manifest(epoch) for epoch in SAVED}


def state(number, dtype="float32"):
    """Return a state of all modules, filled with one number."""
    return {module: {"w": np.full((2, 2), number, dtype=dtype)} for module in MODULES}


def value(soup):
    """Return the number that a state is filled with."""
    return float(soup["backbone"]["w"][0, 0])


class Loader:
    """Loads states filled with their epoch, and remembers the epochs that were loaded."""

    def __init__(self):
        self.asked = []

    def __call__(self, epoch):
        self.asked.append(epoch)
        return state(epoch)


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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_average_is_the_mean_in_the_same_dtype(dtype):
    soup = average(state(number, dtype) for number in (1, 2, 6))
    assert value(soup) == 3
    assert soup["neural_x"]["w"].dtype == dtype
    assert soup["neural_x"]["w"].shape == (2, 2)


def test_average_of_half_precision_is_summed_in_single():
    # In float16, 3 x 60000 overflows and 2048 + 1 is 2048.
    assert value(average([state(60000, "float16")] * 3)) == 60000
    assert value(average([state(number, "float16") for number in (2048, 1, 1, 2)])) == 513


def test_average_leaves_its_inputs_alone():
    states = [state(1), state(3)]
    average(states)
    assert [value(item) for item in states] == [1, 3]


def test_average_refuses_nothing_and_unequal_states():
    with pytest.raises(UserError, match="no state to average"):
        average([])
    other_state = {**state(1), "dsp": {"filter": np.zeros(1)}}
    with pytest.raises(UserError, match=r"\(dsp\.filter is in one alone\)"):
        average([state(1), other_state])


def test_greedy_soup_keeps_what_does_not_lower_its_score():
    # The target is 5: 8 alone is 3 off, 8 and 4 are 1 off, 16 would be worse, 3 makes it exact.
    load = Loader()
    soup, members, trace = greedy_soup([8, 4, 16, 3], load, lambda soup: -abs(value(soup) - 5))
    assert members == [8, 4, 3]
    assert value(soup) == 5
    assert load.asked == [8, 4, 16, 3]
    assert [step["kept"] for step in trace] == [True, True, False, True]
    assert [step["epoch"] for step in trace] == [8, 4, 16, 3]
    assert trace[0]["score"] == -3 and trace[1]["score"] == -1


def test_greedy_soup_keeps_an_equal_score_and_never_nan():
    soup, members, _ = greedy_soup([2, 4], Loader(), lambda soup: 1.0)
    assert (value(soup), members) == (3, [2, 4])
    scores = iter([1.0, math.nan, 2.0])
    soup, members, trace = greedy_soup([2, 4, 6], Loader(), lambda soup: next(scores))
    assert (value(soup), members) == (4, [2, 6])
    assert trace[1] == {"epoch": 4, "score": None, "kept": False}


def test_greedy_soup_of_one_and_of_none():
    soup, members, trace = greedy_soup([6], Loader(), value)
    assert (value(soup), members, len(trace)) == (6, [6], 1)
    with pytest.raises(UserError, match="no checkpoint to begin with"):
        greedy_soup([], Loader(), value)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8, unique=True), st.integers(0, 60))
def test_greedy_soup_is_the_average_of_its_members_and_never_worse_than_the_first(epochs, target):
    soup, members, _ = greedy_soup(epochs, state, lambda soup: -abs(value(soup) - target))
    assert value(soup) == pytest.approx(np.mean(members), rel=1e-6)
    assert abs(value(soup) - target) <= abs(epochs[0] - target) + 1e-5


@pytest.mark.slow
def test_soups_take_tensors_of_torch():
    torch = pytest.importorskip("torch")
    states = [{"dsp": {"w": torch.full((2,), x, dtype=torch.bfloat16)}} for x in (256.0, 1.0, 1.0)]
    soup = average(states)["dsp"]["w"]
    assert soup.dtype == torch.bfloat16
    assert soup.tolist() == [86.0, 86.0]  # summed in bfloat16, where 256 + 1 is 256: 85.5
