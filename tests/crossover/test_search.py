"""The search: brute force as the oracle of its moves, on tables and on arrays."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.crossover.search import (
    START,
    ascend,
    heat_map,
    heat_map_epochs,
    recombine,
    search_units,
    units_by_task,
)

UNITS = {"trunk": ("backbone", "heads.x", "heads.y"), "neural_x": ("neural_x",)}
UNITS |= {"signal": ("dsp", "kalman"), "neural_y": ("neural_y",)}
MODULES = {"x": ("heads.x", "neural_x", "dsp", "kalman"), "y": ("heads.y", "neural_y")}
OPTIONS = (START, 2, 4, 6)


def cache(seed, options=OPTIONS):
    """Contributions of one record, drawn at random."""
    rng = np.random.default_rng(seed)
    return {
        option: {t: {m: rng.normal(size=(1, 1)) for m in names} for t, names in MODULES.items()}
        for option in options
    }


def near_one(task, contributions):
    """Score the mean of the contributions: the nearer to 1 the better."""
    return -abs(float(np.mean(list(contributions.values()))) - 1)


def table_score(units, values):
    """Return a score that looks combinations up."""
    combinations = list(product(OPTIONS, repeat=len(units)))
    table = dict(zip(combinations, values, strict=True))
    return lambda chosen: table[tuple(chosen[unit] for unit in units)]


def tables(size, values):
    """Draw a score for every combination of `size` units."""
    return st.lists(values, min_size=len(OPTIONS) ** size, max_size=len(OPTIONS) ** size)


@given(st.integers(1, 3).flatmap(lambda n: tables(n, st.integers(0, 20) | st.just(math.nan))))
def test_the_ascent_never_falls_and_ends_where_no_single_change_helps(values):
    units = ["a", "b", "c"][: round(math.log(len(values), len(OPTIONS)))]
    score = table_score(units, values)
    chosen, path = ascend(units, OPTIONS, score)
    start = score(dict.fromkeys(units, START))
    if math.isnan(start):
        assert (set(chosen.values()), path) == ({START}, [])
        return
    assert score(chosen) >= start
    for unit, option in product(units, OPTIONS):
        assert not score({**chosen, unit: option}) > score(chosen)
    scores = [start, *(move["after"] for move in path)]
    assert scores == sorted(set(scores))
    assert [move["before"] for move in path] == scores[:-1]


@given(tables(2, st.integers(0, 20)))
def test_every_move_is_the_best_of_its_unit(values):
    """Brute force: replay the path, and try all options of the unit that moves."""
    units = ["a", "b"]
    score = table_score(units, values)
    chosen, path = ascend(units, OPTIONS, score)
    at = dict.fromkeys(units, START)
    for move in path:
        tried = {option: score({**at, move["unit"]: option}) for option in OPTIONS}
        assert move["from"] == at[move["unit"]]
        assert move["to"] == next(o for o in OPTIONS if tried[o] == max(tried.values()))
        assert (move["before"], move["after"]) == (score(at), tried[move["to"]])
        at[move["unit"]] = move["to"]
    assert at == chosen


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=4))
def test_where_units_add_up_the_ascent_finds_the_best_of_all(gains):
    units = [f"unit_{i}" for i in range(len(gains))]
    gain = {
        unit: dict(zip(OPTIONS, row, strict=True)) for unit, row in zip(units, gains, strict=True)
    }
    chosen, path = ascend(units, OPTIONS, lambda c: sum(gain[unit][o] for unit, o in c.items()))
    for unit, row in gain.items():
        best = max(row.values())
        assert row[chosen[unit]] == best
        assert chosen[unit] == START if row[START] == best else True
    assert len(path) <= len(units)


def test_ties_keep_the_current_one():
    chosen, path = ascend(["a", "b"], OPTIONS, lambda combination: 0.5)
    assert (chosen, path) == ({"a": START, "b": START}, [])


def test_units_serve_tasks_and_the_trunk_is_fixed():
    contributions = cache(0)[START]
    assert units_by_task(contributions, UNITS) == {"x": ["neural_x", "signal"], "y": ["neural_y"]}
    frozen = {"trunk": ("backbone",), "heads.y": ("heads.y",), "neural_y": ("neural_y",)}
    assert units_by_task(contributions, frozen)["y"] == ["heads.y", "neural_y"]


def test_a_recombination_takes_each_unit_from_its_place():
    cached = cache(0)
    recombined = recombine(cached, "x", {"signal": 4}, UNITS, base=2)
    assert list(recombined) == list(MODULES["x"])
    assert {
        m: next(o for o in OPTIONS if cached[o]["x"][m] is v) for m, v in recombined.items()
    } == {
        "heads.x": 2,
        "neural_x": 2,
        "dsp": 4,
        "kalman": 4,
    }


@pytest.mark.parametrize("seed", range(10))
def test_the_search_ends_at_a_brute_force_optimum_of_single_changes(seed):
    cached = cache(seed)
    search = search_units(cached, UNITS, near_one)
    assert search["units"] == ["neural_x", "signal", "neural_y"]
    assert search["epochs"] == [2, 4, 6]
    for task, units in units_by_task(cached[START], UNITS).items():

        def score(chosen, task=task):
            return near_one(task, recombine(cached, task, chosen, UNITS))

        chosen = {unit: search["chosen"][unit] for unit in units}
        around = [{**chosen, unit: option} for unit in units for option in OPTIONS]
        assert score(chosen) == max(map(score, around))
        for unit in units:
            alone = {str(option): score({unit: option}) for option in OPTIONS}
            assert search["scores"][unit] == alone
        moves = [move for move in search["path"] if move["task"] == task]
        assert score(chosen) == (moves[-1]["after"] if moves else score({}))


def test_undefined_scores_are_null_and_move_nothing():
    search = search_units(cache(0), UNITS, lambda task, given: math.nan)
    assert set(search["chosen"].values()) == {START}
    assert search["scores"]["signal"] == dict.fromkeys(map(str, OPTIONS))


def test_the_heat_map_has_each_trunks_own_checkpoint_on_its_diagonal():
    epochs = [2, 4, 6]
    caches = {trunk: cache(trunk, epochs) for trunk in epochs}
    maps = heat_map(caches, UNITS, near_one)
    assert list(maps) == ["neural_x", "signal", "neural_y"]
    for unit, task in (("neural_x", "x"), ("signal", "x"), ("neural_y", "y")):
        rows = maps[unit]["scores"]
        assert maps[unit]["trunk_epochs"] == maps[unit]["unit_epochs"] == epochs
        for i, j in product(range(3), range(3)):
            on_own_trunk = caches[epochs[i]]
            expected = recombine(on_own_trunk, task, {unit: epochs[j]}, UNITS, base=epochs[i])
            assert rows[i][j] == near_one(task, expected)
            if i == j:
                assert rows[i][j] == near_one(task, on_own_trunk[epochs[i]][task])


@pytest.mark.parametrize("count", range(1, 70))
def test_the_heat_map_leaves_the_search_within_three_evaluations_of_all_checkpoints(count):
    epochs = list(range(2, 2 * count + 2, 2))
    grid = heat_map_epochs(epochs)
    assert grid == sorted(set(grid)) and set(grid) <= set(epochs)
    assert len(grid) == min(6, max(k for k in range(1, 70) if k * k <= 2 * count - 1))
    assert 1 + count + len(grid) ** 2 <= 3 * count
    assert grid[0] == 2
    assert len(grid) == 1 or grid[-1] == epochs[-1]
    assert np.ptp(np.diff(grid)) <= 2 if len(grid) > 1 else True
