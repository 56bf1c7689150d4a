"""Soups: means of states, and the members that a greedy one keeps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from filled_states import Loader, state, value
from hypothesis import given
from hypothesis import strategies as st

from redheart.crossover import candidate_predictions
from redheart.crossover.soups import average, greedy_soup, make_soups
from redheart.errors import UserError
from redheart.evaluation import inference
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.tasks import metrics


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_average_is_the_mean_in_the_same_dtype(dtype):
    soup = average(state(number, dtype) for number in (1, 2, 6))
    assert value(soup) == 3
    assert soup["neural_x"]["w"].dtype == dtype
    assert soup["neural_x"]["w"].shape == (2, 2)


@given(st.lists(st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1))
def test_average_is_the_mean_of_numpy(rows):
    averaged = average({"dsp": {"w": np.array(row, np.float32)}} for row in rows)["dsp"]["w"]
    np.testing.assert_allclose(averaged, np.mean(rows, axis=0), rtol=1e-5, atol=1e-5)


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
    states = [{"dsp": {"w": torch.full((2,), x, dtype=torch.bfloat16)}} for x in (256.0, 1.0, 1.0)]
    soup = average(states)["dsp"]["w"]
    assert soup.dtype == torch.bfloat16
    assert soup.tolist() == [86.0, 86.0]  # summed in bfloat16, where 256 + 1 is 256: 85.5


def table(epoch, raw, ema):
    return {"epoch": epoch, "fused": {"raw": {"macro": raw}, "ema": {"macro": ema}}}


@pytest.mark.slow
def test_soups_are_means_and_the_greedy_one_is_no_worse(saved, recipe, part):
    network = inference.network_for(recipe, part)
    load = candidate_predictions.loader(saved)
    states = {int(Path(path).stem[-3:]): load_tensors(path)["weights"] for path in saved}
    scores = {
        epoch: metrics.macro(
            recipe.tasks,
            candidate_predictions.fit_fusion(network, states[epoch], part, recipe)[0],
            part.targets,
        )
        for epoch in states
    }
    tables = [table(epoch, score, 0.0) for epoch, score in scores.items()]
    soups = {}
    recipes = make_soups(network, load, tables, part, recipe, soups.__setitem__)
    for module, parameters in soups["uniform"].items():
        for name, averaged in parameters.items():
            mean = (states[2][module][name] + states[4][module][name]) / 2
            torch.testing.assert_close(averaged, mean)
    greedy, _ = candidate_predictions.fit_fusion(network, soups["greedy"], part, recipe)
    assert metrics.macro(recipe.tasks, greedy, part.targets) >= max(scores.values())
    assert recipes["uniform"]["epochs"] == [2, 4]
    assert recipes["greedy"]["epochs"][0] == max(scores, key=scores.get)
    # The averages of these checkpoints are their weights, but were ranked otherwise.
    assert hash_modules(soups["uniform_ema"]) == hash_modules(soups["uniform"])
    assert recipes["greedy_ema"]["epochs"][0] == 2
