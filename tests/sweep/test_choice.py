"""The choice of the learning rate: derived columns, joined repeats, ties, eliminations."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sweep_rows import repeat

from redheart.errors import UserError
from redheart.sweep.choice import ChoiceOptions, choose_rate, learning_curves, weighted_score
from redheart.sweep.trials import join_repeats

WEIGHTED = ChoiceOptions(criterion="weighted")


def sweep(losses_by_rate, error=0.01):
    """Return the metrics of rates whose repeats stay at one loss each."""
    return [
        join_repeats(
            [
                repeat(rate, seed, [loss] * 3, error=error, place=place)
                for seed, loss in enumerate(row)
            ]
        )
        for place, (rate, row) in enumerate(losses_by_rate.items())
    ]


def test_the_smallest_of_the_tied_rates_is_taken():
    rates = sweep({1e-5: [1.2], 1e-4: [1.005], 1e-3: [1.0], 1e-2: [1.009], 1e-1: [1.5]})
    best, _ = choose_rate(rates)
    assert best["best_learning_rate"] == 1e-4
    assert best["tie"] == [1e-4, 1e-3, 1e-2]
    assert (
        "0.001 has the lowest mean validation loss of its last epochs (3 at most)" in best["reason"]
    )
    assert "of the difference over the validation records; with one seed" in best["reason"]
    assert "0.0001 (1.005), 0.01 (1.009)" in best["reason"]
    assert "the smallest, 0.0001, is taken: a short sweep flatters large rates" in best["reason"]
    assert [row["learning_rate"] for row in best["scores"]] == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]


def test_a_clear_winner_is_named_with_the_next_best():
    best, _ = choose_rate(sweep({0.1: [1.0], 0.01: [0.5], 0.001: [0.9]}))
    assert (best["best_learning_rate"], best["tie"]) == (0.01, [0.01])
    assert "the next best, 0.001 (0.9), is further away" in best["reason"]


def test_the_standard_error_is_pooled_over_the_rates():
    # Variances 0.02 and 0.08 over two seeds each: pooled 0.05, standard error sqrt(0.05 / 2).
    best, _ = choose_rate(sweep({0.001: [1.1, 1.3], 0.01: [0.9, 1.3], 0.1: [3.0, 3.0]}))
    expected = math.sqrt((0.02 + 0.08 + 0.0) / 3 / 2)
    assert [row["standard_error"] for row in best["scores"]] == pytest.approx([expected] * 3)
    assert "across seeds, their variance pooled over the rates" in best["reason"]
    assert best["tie"] == [0.001, 0.01]


def test_intervals_over_seeds_are_those_of_the_t_test():
    losses = {0.001: [1.1, 1.3, 1.15], 0.01: [0.9, 1.3, 1.0]}
    best, _ = choose_rate(sweep(losses))
    expected = stats.ttest_ind(losses[0.001], losses[0.01]).confidence_interval()
    assert best["scores"][0]["interval"] == pytest.approx(list(expected))
    assert best["scores"][1]["interval"] is None, "the leader differs from itself by nothing"
    assert best["intervals"].startswith("95 % for a rate's validation loss minus that of 0.01:")
    assert "1/seeds" in best["intervals"] and "4 degrees of freedom" in best["intervals"]


def test_intervals_of_one_seed_are_those_of_the_paired_t_test_over_the_records():
    rates = sweep({0.001: [1.1], 0.01: [1.0]}, error=0.05)
    best, _ = choose_rate(rates)
    expected = stats.ttest_rel(*(rate["record_losses"] for rate in rates)).confidence_interval()
    assert best["scores"][0]["interval"] == pytest.approx(list(expected))
    assert "63 degrees of freedom" in best["intervals"]


def test_one_record_and_one_seed_leave_the_interval_unknown():
    rates = [{**rate, "record_losses": [1.0]} for rate in sweep({0.001: [1.1], 0.01: [1.0]})]
    assert [row["interval"] for row in choose_rate(rates)[0]["scores"]] == [None, None]


def test_a_diverged_rate_is_eliminated_with_its_reason():
    diverged = {"epoch": 2, "reason": "loss is nan"}
    broken = join_repeats([repeat(0.1, 0, [0.1]), repeat(0.1, 1, [0.1], diverged=diverged)])
    best, curves = choose_rate([broken, *sweep({0.01: [1.0]})])
    assert best["best_learning_rate"] == 0.01
    reason = "seed 1 diverged in epoch 2: loss is nan"
    assert best["scores"][1]["eliminated"] == {"rung": None, "reason": reason}
    assert "Eliminated: 0.1 (seed 1 diverged in epoch 2: loss is nan)." in best["reason"]
    assert [rate["learning_rate"] for rate in curves["rates"]] == [0.01, 0.1]


@pytest.mark.parametrize("criterion", ["one_standard_error", "weighted"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_never_wins(criterion, bad):
    broken = join_repeats([repeat(0.1, 0, [1.0, bad])])
    best, curves = choose_rate([broken, *sweep({0.01: [5.0]})], ChoiceOptions(criterion))
    assert best["best_learning_rate"] == 0.01
    assert best["scores"][1]["eliminated"]["reason"] == "its score is not a finite number"
    json.dumps([best, curves], allow_nan=False)


def test_a_rate_that_learns_nothing_is_no_tie_because_records_differ_among_themselves():
    # The records' own losses spread from 0 to 2; every one of them is better at the larger rate.
    records = [i / 32 for i in range(64)]
    learning = {**repeat(1e-3, 0, [1.0]), "record_losses": [loss - 0.05 for loss in records]}
    standing_still = {**repeat(1e-7, 0, [1.05]), "record_losses": records}
    best, _ = choose_rate([join_repeats([trial]) for trial in (learning, standing_still)])
    assert (best["best_learning_rate"], best["tie"]) == (1e-3, [1e-3])


def test_nothing_left_says_what_to_change():
    diverged = {"epoch": 1, "reason": "loss is nan"}
    lost = [join_repeats([repeat(rate, 0, [], diverged=diverged)]) for rate in (0.1, 0.01)]
    with pytest.raises(UserError, match=r"0.01: seed 0 diverged .* set .* to rates below 0.01"):
        choose_rate(lost)
    with pytest.raises(UserError, match=r"set sweep.learning_rates"):
        choose_rate([])


def test_a_winner_at_the_edge_of_the_sweep_is_remarked():
    best, _ = choose_rate(sweep({0.1: [0.1], 0.01: [0.5]}))
    assert "0.1 is the largest rate of the sweep" in best["reason"]
    assert "the sweep:" not in choose_rate(sweep({0.1: [0.1]}))[0]["reason"]


def test_weighted_score_by_hand():
    summary = {
        "mean_val_loss_last3": 1.0,
        "overall_stability": 0.5,
        "total_improvement": 3.0,
        "overfit_gap": -1.0,
        "convergence_rate": 0.1,
    }
    assert weighted_score(summary) == pytest.approx(0.4 / 2 + 0.2 * 0.5 + 0.2 * 1 + 0.2 / 2)
    assert math.isnan(weighted_score({**summary, "total_improvement": None}))


def test_weighted_takes_the_highest_score_and_of_equal_ones_the_smallest_rate():
    rates = sweep({0.001: [2.0], 0.01: [1.0], 0.1: [1.0]})
    best, _ = choose_rate(rates, WEIGHTED)
    assert (best["best_learning_rate"], best["tie"]) == (0.01, [0.01, 0.1])
    assert best["criterion"] == "weighted"
    scores = [row["score"] for row in best["scores"]]
    assert scores[1] == scores[2] > scores[0]


def test_curves_hold_the_mean_losses_by_epoch():
    joined = join_repeats([repeat(0.1, 0, [4.0, 2.0]), repeat(0.1, 1, [6.0, 4.0])])
    assert learning_curves([joined]) == {
        "rates": [
            {
                "learning_rate": 0.1,
                "epochs": [1, 2],
                "train_loss": [2.0, 1.0],
                "val_loss": [5.0, 3.0],
                "val_loss_se": [0.01, 0.01],
            }
        ]
    }


loss = st.floats(0.01, 10)
sweeps = st.dictionaries(
    st.sampled_from([1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3]),
    st.lists(loss, min_size=1, max_size=3),
    min_size=1,
)


@given(sweeps, st.randoms(use_true_random=False))
def test_the_choice_is_within_one_standard_error_and_the_smallest_such(losses, random):
    rates = sweep(losses)
    random.shuffle(rates)
    best, _ = choose_rate(rates)
    rows = {row["learning_rate"]: row for row in best["scores"]}
    leader = min(rows.values(), key=lambda row: (row["score"], row["learning_rate"]))
    tie = [r for r, row in rows.items() if row["score"] - leader["score"] <= row["standard_error"]]
    assert best["best_learning_rate"] == min(tie)
    assert best["best_learning_rate"] == best["tie"][0]
    assert best == choose_rate(sweep(losses))[0], "the order of the rates does not count"
