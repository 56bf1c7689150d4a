"""What a trial showed: derived columns, a summary, and the repeats of a rate joined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sweep_rows import epoch_row, repeat

from redheart.errors import UserError
from redheart.sweep.trials import derive, eliminated_trial, join_repeats, summarise


def test_derive_adds_the_documents_columns():
    rows = [epoch_row(1, 4.0, 5.0, deviation=3.0), epoch_row(2, 1.0, 2.0, deviation=0.0)]
    first, second = derive(rows)
    assert (first["learning_efficiency"], second["learning_efficiency"]) == (0.0, 0.75)
    assert (first["convergence_speed"], second["convergence_speed"]) == (None, 3.0)
    assert (first["stability"], second["stability"]) == (0.25, 1.0)
    assert "stability" not in rows[0], "the input is left alone"


def test_derive_of_a_perfect_start_does_not_divide_by_zero():
    assert derive([epoch_row(1, 0.0, 1.0)])[0]["learning_efficiency"] == 0.0


def test_summary_of_a_run():
    losses = [(4.0, 5.0), (3.0, 4.0), (2.0, 3.0), (1.0, 3.5)]
    rows = [epoch_row(i, *pair) for i, pair in enumerate(losses, start=1)]
    assert summarise(derive(rows)) == {
        "mean_val_loss_last3": 3.5,
        "overfit_gap": 2.5,
        "total_improvement": 1.5,
        "overall_stability": 0.5,
        "convergence_rate": 1.0,
    }


def test_summary_says_null_where_nothing_is_known():
    assert summarise([]) is None
    single = summarise(derive([epoch_row(1, 1.0, 2.0)]))
    assert single is not None and single["convergence_rate"] is None
    broken = summarise(derive([epoch_row(1, 1.0, 2.0), epoch_row(2, math.inf, None)]))
    assert broken is not None
    assert broken["mean_val_loss_last3"] is None and broken["overfit_gap"] is None
    json.dumps(broken, allow_nan=False)


def test_join_averages_the_repeats_that_did_not_diverge():
    diverged = {"epoch": 2, "reason": "loss is nan"}
    joined = join_repeats(
        [
            repeat(0.1, 2, [9.0], diverged=diverged),
            repeat(0.1, 1, [4.0, 2.0]),
            repeat(0.1, 0, [6.0, 4.0]),
        ]
    )
    assert joined["learning_rate"] == 0.1
    assert joined["seeds"] == [0, 1, 2]
    assert joined["diverged"] == [{"seed": 2, **diverged}]
    assert list(joined["repeats"]) == ["0", "1", "2"]
    assert [row["epoch"] for row in joined["mean"]] == [1, 2]
    assert [row["val_loss"] for row in joined["mean"]] == [5.0, 3.0]
    assert joined["mean"][0]["gradient_norm"]["std"] == 1.0
    assert joined["mean"][0]["convergence_speed"] is None
    assert joined["val_loss"] == 4.0  # the mean of 5 and 3
    assert joined["standard_error"] == pytest.approx(1.0)  # of 5 and 3: sqrt(2) / sqrt(2)
    assert len(joined["record_losses"]) == 64


def test_join_of_one_seed_and_of_none_left():
    assert join_repeats([repeat(0.1, 0, [1.0])])["standard_error"] is None
    lost = join_repeats([repeat(0.1, 0, [], diverged={"epoch": 1, "reason": "loss is nan"})])
    assert (lost["val_loss"], lost["mean"], lost["repeats"]) == (None, [], {"0": None})
    json.dumps(lost, allow_nan=False)


def test_join_refuses_several_rates():
    with pytest.raises(UserError, match=r"one learning rate, got those of \[0.1, 0.2\]"):
        join_repeats([repeat(0.2, 0, [1.0]), repeat(0.1, 0, [1.0])])


losses = st.lists(st.floats(0.1, 9), min_size=3, max_size=3)


@given(st.lists(losses, min_size=2, max_size=5))
def test_join_equals_numpy(runs):
    repeats = [repeat(0.1, seed, val_losses) for seed, val_losses in enumerate(runs)]
    joined = join_repeats(repeats[::-1])
    assert joined["seeds"] == list(range(len(runs)))
    ends = np.mean(runs, axis=1)  # over the last three epochs, which are all
    assert joined["val_loss"] == pytest.approx(ends.mean())
    error = scipy.stats.sem(ends)
    assert joined["standard_error"] == pytest.approx(error, abs=1e-12)
    assert [row["val_loss"] for row in joined["mean"]] == pytest.approx(np.mean(runs, axis=0))
    assert [row["gradient_norm"]["std"] for row in joined["mean"]] == [1.0] * 3
    columns = np.mean([run["record_losses"] for run in repeats], axis=0)
    assert joined["record_losses"] == pytest.approx(columns)


def test_an_ended_trial_keeps_what_it_showed():
    end = {"rung": 1, "reason": "it fell behind"}
    before = repeat(0.1, 3, [2.0, 1.0])
    assert eliminated_trial(before, 0.1, 3, end) == {**before, "eliminated": end}
    never = eliminated_trial(None, 0.1, 3, end)
    assert (never["learning_rate"], never["seed"], never["epochs"]) == (0.1, 3, [])
    joined = join_repeats([eliminated_trial(before, 0.1, 0, end), never])
    assert joined["eliminated"] == end
    assert joined["val_loss"] == 1.5, "of the one that was trained"
