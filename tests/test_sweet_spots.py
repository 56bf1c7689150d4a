"""Sweet spots: planted ones are found, noise raises no alarm, NaN never wins."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from redheart.errors import UserError
from redheart.sweet_spots import (
    Curve,
    SweetSpotOptions,
    document_score,
    find_overfitting,
    find_sweet_spots,
    mann_kendall_p,
    moving_mean,
    noise_deviation,
    read_curve,
)

RAW = SweetSpotOptions(smoothing=1)
EPOCHS = np.arange(2, 62, 2)


def table(curves):
    """Return the metrics of checkpoints 2, 4, ... from (train, val, stability) rows by group."""
    length = len(next(iter(curves.values()))[0])
    names = ("train_loss", "val_loss", "stability")
    return [
        {
            "epoch": 2 * (i + 1),
            "groups": {
                group: {name: row[i] for name, row in zip(names, rows, strict=True)}
                for group, rows in curves.items()
            },
        }
        for i in range(length)
    ]


def curve_of(val_loss, train_loss=None):
    val_loss = np.asarray(val_loss, dtype=float)
    train_loss = val_loss if train_loss is None else train_loss
    epochs = 2 * np.arange(1, len(val_loss) + 1)
    return Curve("A", epochs, train_loss, val_loss, np.ones(len(val_loss)))


def valley(bottom, rng, noise=0.02):
    """Return a validation loss that falls to `bottom` and rises behind it, with noise."""
    steps = (EPOCHS - bottom) / 2
    return 1 + np.where(steps < 0, -0.05, 0.04) * steps + rng.normal(0, noise, len(EPOCHS))


def documents_alarm(gap):
    """Say whether the gap rises twice in a row anywhere: the design document's test."""
    rises = np.diff(gap) > 0
    return bool((rises[1:] & rises[:-1]).any())


def test_document_score_by_hand():
    curve = Curve(
        "A", np.array([2, 4]), np.array([1.0, 3.0]), np.array([2.0, 1.0]), np.array([0.5, 1.0])
    )
    expected = [2 + 0.2 * 1 - 0.1 * 0.5, 1 + 0.2 * 2 - 0.1 * 1]
    np.testing.assert_allclose(document_score(curve, SweetSpotOptions()), expected)
    options = SweetSpotOptions(gap_weight=1.0, stability_weight=0.0)
    np.testing.assert_allclose(document_score(curve, options), [3.0, 3.0])


def test_each_group_is_chosen_by_its_own_losses():
    flat = [1.0] * 3
    metrics = table({"A": (flat, [3.0, 1.0, 2.0], flat), "B": (flat, [3.0, 2.0, 1.0], flat)})
    found = find_sweet_spots(metrics[::-1], {"A": ["backbone", "heads.x"], "B": ["neural_x"]}, RAW)
    assert found["selector"] == "document"
    assert {group: entry["epoch"] for group, entry in found["groups"].items()} == {"A": 4, "B": 6}
    assert found["groups"]["A"]["modules"] == ["backbone", "heads.x"]
    assert found["groups"]["A"]["score"] == 0.9
    assert found["groups"]["A"]["curve"] == {
        "epochs": [2, 4, 6],
        "train_loss": flat,
        "val_loss": [3.0, 1.0, 2.0],
        "smoothed_val_loss": [3.0, 1.0, 2.0],
        "stability": flat,
        "score": [3.3, 0.9, 2.1],
    }


def test_a_reason_tells_the_numbers():
    rng = np.random.default_rng(0)
    val_loss = valley(20, rng)
    metrics = table({"A": (val_loss - 0.1, val_loss, np.ones(30))})
    entry = find_sweet_spots(metrics, {"A": ["backbone"]})["groups"]["A"]
    assert entry["epoch"] == 20
    assert entry["overfitting_epoch"] == 20
    assert 0.005 < entry["noise"] < 0.05
    assert "Epoch 20 has the lowest score of 30 checkpoints, 0.9" in entry["reason"]
    assert "stability 1 (moving means over 3 checkpoints)" in entry["reason"]
    assert "Within the noise between checkpoints" in entry["reason"]
    assert "The validation loss rises behind its smoothed minimum at epoch 20" in entry["reason"]
    assert "Mann-Kendall over 19 checkpoints, one-sided p = " in entry["reason"]
    json.dumps(entry, allow_nan=False)


@pytest.mark.parametrize("smoothing", [1, 3, 5, 7])
def test_the_earliest_of_equal_scores_wins(smoothing):
    flat = [0.3] * 9
    options = SweetSpotOptions(smoothing=smoothing)
    found = find_sweet_spots(table({"A": (flat, flat, flat)}), {"A": []}, options)["groups"]["A"]
    assert (found["epoch"], found["overfitting_epoch"]) == (2, None)
    assert found["as_good_epochs"] == [4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), None])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_checkpoint_that_is_not_finite_never_wins(bad, column):
    rows = [[1.0] * 4, [4.0, 3.0, 0.0, 2.0], [1.0] * 4]
    rows[column][2] = bad
    found = find_sweet_spots(table({"A": rows}), {"A": []}, RAW)["groups"]["A"]
    assert found["epoch"] == 8
    assert found["curve"]["score"][2] is None
    json.dumps(found, allow_nan=False)


def test_a_group_without_a_finite_score_is_named():
    good, bad = [1.0] * 3, [float("nan")] * 3
    metrics = table({"A": (good, good, good), "B": (good, bad, good)})
    with pytest.raises(UserError, match=r"group 'B' has no finite score .* \(epochs 2 to 6\)"):
        find_sweet_spots(metrics, {"A": [], "B": []})


def test_missing_metrics_are_named():
    with pytest.raises(UserError, match="no checkpoint to choose from"):
        find_sweet_spots([], {"A": []})
    with pytest.raises(UserError, match=r"epoch 2 have no group 'C' \(they have A\)"):
        read_curve(table({"A": ([1.0], [1.0], [1.0])}), "C")


@pytest.mark.parametrize("smoothing", [0, 2, -1])
def test_an_even_window_is_refused(smoothing):
    with pytest.raises(UserError, match="expected an odd number of checkpoints"):
        SweetSpotOptions(smoothing=smoothing)


def test_moving_mean_is_cut_off_at_the_ends_and_leaves_nan_out():
    np.testing.assert_allclose(moving_mean(np.array([1.0, 2, 6, 4]), 3), [1.5, 3, 4, 5])
    nan = np.nan
    np.testing.assert_allclose(moving_mean(np.array([1.0, nan, 3, 5]), 3), [1, nan, 4, 4])
    np.testing.assert_allclose(moving_mean(np.array([1.0, 3]), 7), [2, 2])


values = arrays.arrays(np.float64, st.integers(1, 12), elements=st.floats(-9, 9), unique=True)


@given(values, st.sampled_from([1, 3, 5]))
def test_moving_mean_equals_a_loop(numbers, window):
    half = window // 2
    loop = [numbers[max(0, i - half) : i + half + 1].mean() for i in range(len(numbers))]
    np.testing.assert_allclose(moving_mean(numbers, window), loop, atol=1e-11)


@given(values.filter(lambda numbers: len(numbers) > 1))
def test_mann_kendall_equals_scipys_exact_kendall(numbers):
    order = np.arange(len(numbers))
    oracle = stats.kendalltau(order, numbers, method="exact", alternative="greater")
    assert mann_kendall_p(numbers) == pytest.approx(oracle.pvalue, abs=1e-12)


def test_mann_kendall_of_short_and_tied_series():
    assert mann_kendall_p(np.array([])) == 1.0
    assert mann_kendall_p(np.array([1.0])) == 1.0
    assert mann_kendall_p(np.arange(4.0)) == pytest.approx(1 / 24)
    assert mann_kendall_p(np.ones(9)) > 0.5


def test_noise_is_estimated_on_top_of_a_trend():
    rng = np.random.default_rng(1)
    trend = np.linspace(3, 0, 400) ** 2
    assert noise_deviation(trend + rng.normal(0, 0.1, 400)) == pytest.approx(0.1, rel=0.15)
    assert np.isnan(noise_deviation(np.array([1.0, 2.0])))


@pytest.mark.parametrize("bottom", [8, 20, 34, 46])
def test_planted_sweet_spots_are_found_within_one_checkpoint(bottom):
    hits = overfits = 0
    for seed in range(50):
        val_loss = valley(bottom, np.random.default_rng([bottom, seed]))
        metrics = table({"A": (val_loss, val_loss, np.ones(30))})
        entry = find_sweet_spots(metrics, {"A": []})["groups"]["A"]
        hits += abs(entry["epoch"] - bottom) <= 2
        overfits += abs((entry["overfitting_epoch"] or 0) - bottom) <= 2
    assert hits >= 45
    assert overfits >= 45


@pytest.mark.parametrize("smoothing", [1, 3, 5])
def test_noise_alone_is_rarely_called_overfitting(smoothing):
    rng = np.random.default_rng(smoothing)
    flat = rng.normal(1, 0.1, (400, 30))
    alarms = [find_overfitting(curve_of(row), smoothing)[0] is not None for row in flat]
    assert np.mean(alarms) <= 0.07
    assert np.mean([documents_alarm(row) for row in flat]) > 0.95, "what the test replaces"


def test_a_gap_that_widens_while_the_loss_falls_is_no_overfitting():
    rng = np.random.default_rng(3)
    val_loss = 1 + np.exp(-EPOCHS / 10) + rng.normal(0, 0.02, (400, 30))
    alarms = [find_overfitting(curve_of(row, 1 - EPOCHS / 100), 3)[0] for row in val_loss]
    assert np.mean([alarm is not None for alarm in alarms]) <= 0.07


def test_a_minimum_at_the_end_proves_nothing():
    epoch, reason = find_overfitting(curve_of([3.0, 2.0, 1.0, 1.5]), 3)
    assert epoch is None
    assert "No rise of the validation loss is proved" in reason
    assert "over 0 checkpoints, one-sided p = 1" in reason
