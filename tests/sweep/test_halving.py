"""Successive halving: its rungs, the decision of a rung, and simulated sweeps."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from statistics import fmean

import pytest
import simulated_sweeps
from hypothesis import given
from hypothesis import strategies as st

from redheart.errors import UserError
from redheart.sweep.choice import choose_rate
from redheart.sweep.halving import HalvingOptions, Rung, decide_rung, make_rungs
from redheart.sweep.trials import derive, eliminated_trial, join_repeats, summarise


def trial(rate, loss, seed=0, diverged=None):
    row = {"epoch": 1, "train_loss": 1.0, "val_loss": loss, "gradient_norm": {"std": 1.0}}
    epochs = derive([{**row, "val_loss_se": 0.1}])
    return {
        "learning_rate": rate,
        "seed": seed,
        "diverged": diverged,
        "epochs": epochs,
        "summary": summarise(epochs),
        "record_losses": [loss, loss],
    }


def decide(losses, factor=2.0, rung=1, criterion="one_standard_error"):
    trials = [trial(rate, loss) for rate, loss in losses.items()]
    return decide_rung(trials, rung, criterion, factor)


# --- the rungs --------------------------------------------------------------------------------


def test_without_halving_there_is_one_rung():
    assert make_rungs(5, 3, HalvingOptions()) == [Rung(3, 5)]


@pytest.mark.parametrize(
    ("epochs", "seeds", "options", "expected"),
    [
        (5, 3, HalvingOptions(3), [Rung(1, 2), Rung(1, 5), Rung(3, 5)]),
        (5, 1, HalvingOptions(3), [Rung(1, 1), Rung(1, 2), Rung(1, 5)]),
        (27, 1, HalvingOptions(4), [Rung(1, 1), Rung(1, 3), Rung(1, 9), Rung(1, 27)]),
        (8, 4, HalvingOptions(4, 2.0), [Rung(1, 4), Rung(1, 8), Rung(2, 8), Rung(4, 8)]),
        (3, 1, HalvingOptions(2, 1.1), [Rung(1, 2), Rung(1, 3)]),
        (2, 1, HalvingOptions(9), [Rung(1, 1), Rung(1, 2)]),
        (1, 1, HalvingOptions(3), [Rung(1, 1)]),
    ],
)
def test_rungs_spare_seeds_first_and_then_epochs(epochs, seeds, options, expected):
    assert make_rungs(epochs, seeds, options) == expected


@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 6), st.floats(1.01, 10, allow_nan=False)
)
def test_every_rung_trains_more_than_the_one_before(epochs, seeds, rungs, factor):
    found = make_rungs(epochs, seeds, HalvingOptions(rungs, factor))
    assert found[-1] == Rung(seeds, epochs)
    assert len(found) <= rungs
    for before, after in pairwise(found):
        assert 1 <= before.seeds <= after.seeds and 1 <= before.epochs <= after.epochs
        assert before != after


# --- a decision -------------------------------------------------------------------------------


def test_the_best_share_of_the_rates_goes_on():
    decision = decide({0.1: 3.0, 0.01: 1.0, 0.001: 2.0, 0.0001: 4.0, 0.03: 1.5}, rung=2)
    assert decision["goes_on"] == [0.001, 0.01, 0.03]
    assert decision["scores"] == {"0.0001": 4.0, "0.001": 2.0, "0.01": 1.0, "0.03": 1.5, "0.1": 3.0}
    assert decision["eliminated"]["0.1"] == {
        "rung": 2,
        "reason": "its score 3 is behind that of 0.001 (2), the last of 3 to go on",
    }
    assert list(decision["eliminated"]) == ["0.0001", "0.1"]


def test_of_equal_rates_the_smallest_goes_on():
    assert decide({0.1: 1.0, 0.01: 1.0, 0.001: 1.0}, factor=3.0)["goes_on"] == [0.001]


def test_the_weighted_criterion_ranks_by_its_own_score():
    # At equal losses the weighted score cannot tell rates apart; a better rate wins there too.
    assert decide({0.1: 1.0, 0.01: 2.0}, criterion="weighted")["goes_on"] == [0.1]


def test_the_mean_over_the_seeds_decides():
    losses = {0.1: (1.0, 4.0), 0.01: (2.0, 2.0)}
    trials = [trial(r, loss, seed) for r, row in losses.items() for seed, loss in enumerate(row)]
    assert decide_rung(trials, 1, "one_standard_error", 2.0)["goes_on"] == [0.01]


def test_a_rate_that_diverges_ends_here_and_leaves_its_place_to_no_other():
    diverged = {"epoch": 2, "reason": "the loss became nan"}
    trials = [trial(0.1, 0.5, diverged=diverged), trial(0.01, 1.0), trial(0.001, 2.0)]
    decision = decide_rung(trials, 1, "one_standard_error", 3.0)
    assert decision["goes_on"] == [0.01]
    assert decision["eliminated"]["0.1"] == {
        "rung": 1,
        "reason": "seed 0 diverged in epoch 2: the loss became nan",
    }


def test_a_loss_that_is_not_finite_ends_a_rate_and_the_file_is_json():
    decision = decide({0.1: math.nan, 0.01: 1.0})
    assert decision["eliminated"]["0.1"]["reason"] == "its score is not a finite number"
    json.dumps(decision, allow_nan=False)


def test_where_all_diverged_none_goes_on_and_the_choice_says_so():
    diverged = {"epoch": 1, "reason": "the loss became inf"}
    trials = [trial(rate, 1.0, diverged=diverged) for rate in (0.1, 0.2)]
    decision = decide_rung(trials, 1, "one_standard_error", 2.0)
    assert decision["goes_on"] == []
    ended = [
        eliminated_trial(t, 0, 0, decision["eliminated"][str(t["learning_rate"])]) for t in trials
    ]
    with pytest.raises(UserError, match=r"every learning rate is eliminated .* below 0\.1"):
        choose_rate([join_repeats([t]) for t in ended])


def test_what_ended_earlier_keeps_its_rung_and_takes_no_place():
    first = decide({0.1: 1.0, 0.01: 2.0, 0.001: 3.0, 1.0: 9.0})
    later = [
        eliminated_trial(trial(rate, 0.1), rate, 0, first["eliminated"][str(rate)])
        for rate in (0.001, 1.0)
    ]
    second = decide_rung([trial(0.1, 1.0), trial(0.01, 0.9), *later], 2, "one_standard_error", 2.0)
    assert second["goes_on"] == [0.01]
    assert {rate: end["rung"] for rate, end in second["eliminated"].items()} == {
        "0.001": 1,
        "0.1": 2,
        "1.0": 1,
    }


def test_another_rate_that_falls_behind_changes_nothing_for_the_others():
    losses = {0.1: 1.0, 0.01: 2.0, 0.001: 3.0}
    before, after = decide(losses), decide({**losses, 1e-4: 5.0})
    assert before["goes_on"] == after["goes_on"]
    assert after["eliminated"]["0.001"] == before["eliminated"]["0.001"]


# --- the choice after it ----------------------------------------------------------------------


def test_an_eliminated_rate_keeps_what_it_showed_and_is_not_chosen():
    end = {"rung": 1, "reason": "it fell behind"}
    ended = [
        eliminated_trial(trial(0.1, 0.5), 0.1, 0, end),
        eliminated_trial(None, 0.1, 1, end),  # a seed that no rung so far had
    ]
    left = [trial(0.01, 1.0, 0), trial(0.01, 1.2, 1)]
    best, curves = choose_rate([join_repeats(ended), join_repeats(left)])
    assert best["best_learning_rate"] == 0.01
    row = best["scores"][1]
    assert (row["val_loss"], row["eliminated"], row["interval"]) == (0.5, end, None)
    assert "Eliminated: 0.1 (rung 1: it fell behind)." in best["reason"]
    assert [rate["val_loss"] for rate in curves["rates"]] == [[1.1], [0.5]]
    json.dumps([best, curves], allow_nan=False)


def test_the_last_survivors_divergence_asks_for_rates_below_them_and_not_below_all():
    diverged = {"epoch": 4, "reason": "the loss became nan"}
    ended = eliminated_trial(trial(1e-5, 9.0), 1e-5, 0, {"rung": 1, "reason": "it fell behind"})
    rates = [join_repeats([t]) for t in (ended, trial(0.1, 1.0, diverged=diverged))]
    with pytest.raises(UserError, match=r"set sweep.learning_rates to rates below 0\.1"):
        choose_rate(rates)


# --- simulated sweeps -------------------------------------------------------------------------


@pytest.mark.slow
def test_of_50_simulated_sweeps_nine_in_ten_choose_well_at_two_fifths_of_the_cost():
    worlds = [simulated_sweeps.World(number) for number in range(50)]
    halving, grid = (
        [simulated_sweeps.run_sweep(world, "one_standard_error", options) for world in worlds]
        for options in (simulated_sweeps.HALVING, HalvingOptions())
    )
    assert simulated_sweeps.share_within(halving) >= 0.9
    assert max(result.cost for result in halving) <= 0.4
    assert simulated_sweeps.share_within(grid) >= 0.9
    assert {result.cost for result in grid} == {1.0}


def test_the_simulation_is_no_easy_one():
    """A rate taken at random is seldom good enough, and an epoch alone leads astray."""
    worlds = [simulated_sweeps.World(number) for number in range(50)]
    long_run = [world.expected(simulated_sweeps.LONG_RUN) for world in worlds]
    near = [fmean(loss - loss.min() <= simulated_sweeps.STANDARD_ERROR) for loss in long_run]
    assert fmean(near) < 0.6
    early = [
        loss[w.expected(1).argmin()] - loss.min() for w, loss in zip(worlds, long_run, strict=True)
    ]
    assert fmean(excess <= simulated_sweeps.STANDARD_ERROR for excess in early) < 0.6
