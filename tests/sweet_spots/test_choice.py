"""Sweet spots: planted ones are found, noise raises no alarm, NaN never wins."""

from __future__ import annotations

import json

import numpy as np
import pytest

from redheart.errors import UserError
from redheart.sweet_spots.choice import (
    SELECTORS,
    SweetSpotOptions,
    document_score,
    find_overfitting,
    find_sweet_spots,
)
from redheart.sweet_spots.curves import Curve, NoisyCurve, read_curve

RAW = SweetSpotOptions(smoothing=1)
BY_LOSS = SweetSpotOptions()
EPOCHS = np.arange(2, 62, 2)


def table(curves, metrics=None):
    """Return the metrics of checkpoints 2, 4, ... from (train, val, stability) rows by group.

    `metrics`: module -> task -> the metric at each checkpoint.
    """
    length = len(next(iter(curves.values()))[0])
    names = ("train_loss", "val_loss", "stability")
    return [
        {
            "epoch": 2 * (i + 1),
            "groups": {
                group: {name: row[i] for name, row in zip(names, rows, strict=True)}
                for group, rows in curves.items()
            },
            "modules": {
                module: {task: {"val_metric": values[i]} for task, values in tasks.items()}
                for module, tasks in (metrics or {}).items()
            },
        }
        for i in range(length)
    ]


def curve_of(val_loss, train_loss=None):
    val_loss = np.asarray(val_loss, dtype=float)
    train_loss = val_loss if train_loss is None else train_loss
    size = len(val_loss)
    unknown = np.full(size, np.nan)
    return Curve("A", 2 * np.arange(1, size + 1), train_loss, val_loss, np.ones(size), unknown)


def chosen(val_loss, **options):
    """Return the entry of one group that is chosen by its loss."""
    metrics = table({"A": (val_loss, val_loss, np.ones(len(val_loss)))})
    options = SweetSpotOptions(**{"by": "loss", **options})
    return find_sweet_spots(metrics, {"A": []}, options)["groups"]["A"]


def noise(rng, correlation=0.0):
    """Return noise of variance 1 over 30 checkpoints, correlated from one to the next."""
    values = rng.standard_normal(len(EPOCHS))
    for i in range(1, len(values)):
        fresh = np.sqrt(1 - correlation**2) * values[i]
        values[i] = correlation * values[i - 1] + fresh
    return values


def valley(bottom, rng, slope=1.5, correlation=0.0, shape="kink"):
    """Return a validation loss that falls to `bottom` and rises behind it.

    The noise between checkpoints is 0.02; behind the bottom the loss rises by `slope` times that
    from one checkpoint to the next. Before it, it falls as fast (`kink`) or exponentially from
    far above, ever more slowly (`decay`).
    """
    steps = (EPOCHS - bottom) / 2
    fall = np.expm1(-steps / 4) * 4 if shape == "decay" else -steps
    course = slope * np.where(steps < 0, fall, steps)
    return 1 + 0.02 * (course + noise(rng, correlation))


def documents_alarm(gap):
    """Say whether the gap rises twice in a row anywhere: the design document's test."""
    rises = np.diff(gap) > 0
    return bool((rises[1:] & rises[:-1]).any())


def test_document_score_by_hand():
    columns = ([1.0, 3.0], [2.0, 1.0], [0.5, 1.0], [0.0, 0.0])
    curve = Curve("A", np.array([2, 4]), *map(np.array, columns))
    expected = [2 + 0.2 * 1 - 0.1 * 0.5, 1 + 0.2 * 2 - 0.1 * 1]
    np.testing.assert_allclose(document_score(curve, SweetSpotOptions()), expected)
    options = SweetSpotOptions(gap_weight=1.0, stability_weight=0.0)
    np.testing.assert_allclose(document_score(curve, options), [3.0, 3.0])


def test_each_group_is_chosen_by_its_own_losses():
    flat = [1.0] * 3
    metrics = table({"A": (flat, [3.0, 1.0, 2.0], flat), "B": (flat, [3.0, 2.0, 1.0], flat)})
    spots = find_sweet_spots(metrics[::-1], {"A": ["backbone", "heads.x"], "B": ["neural_x"]}, RAW)
    assert spots["selector"] == "document"
    assert {group: entry["epoch"] for group, entry in spots["groups"].items()} == {"A": 4, "B": 6}
    assert spots["groups"]["A"]["modules"] == ["backbone", "heads.x"]
    assert spots["groups"]["A"]["score"] == 0.9
    curve = spots["groups"]["A"]["curve"]
    error = 3 / 0.6744897501960817 / 6**0.5  # of the one second difference, 1 - 2 * 1 + 2 + 3 - 1
    assert curve.pop("smoothed_val_loss_se") == pytest.approx([error] * 3)
    assert curve == {
        "epochs": [2, 4, 6],
        "train_loss": flat,
        "val_loss": [3.0, 1.0, 2.0],
        "smoothed_val_loss": [3.0, 1.0, 2.0],
        "val_metric": [None] * 3,
        "smoothed_val_metric": [None] * 3,
        "smoothed_val_metric_se": [None] * 3,
        "stability": flat,
        "score": [3.3, 0.9, 2.1],
    }


def test_a_reason_tells_the_numbers():
    val_loss = valley(20, np.random.default_rng(0))
    metrics = table({"A": (val_loss - 0.1, val_loss, np.ones(30))})
    entry = find_sweet_spots(metrics, {"A": ["backbone"]})["groups"]["A"]
    assert entry["epoch"] == 20
    assert entry["overfitting_epoch"] == entry["overfitting"]["turn"] == 20
    assert entry["overfitting"]["p_value"] < 0.001
    assert 0.01 < entry["noise"] < 0.04
    reason = entry["reason"]
    assert "Epoch 20 has the lowest score of 30 checkpoints, 0.9" in reason
    assert "stability 1 (moving means over 3 checkpoints)" in reason
    assert f"Not worse by the noise between checkpoints ({entry['noise']:.2g}, " in reason
    assert "one-sided z test of each at 0.05): " in reason
    assert "The curve rises behind its lowest point, epoch 20 (Mann-Kendall over all" in reason
    assert f"p = {entry['overfitting']['p_value']:.2g})." in reason
    json.dumps(entry, allow_nan=False)


def test_the_selectors_by_hand():
    """A dip, a fall, and a bottom of four: they differ by less and by more than the noise."""
    raw = np.array([3.0, 2.004, 2.5, 2.1, 2.02, 2.006, 2.0, 2.009, 2.3])
    scores = NoisyCurve(raw, raw, np.eye(9), noise=0.01, correlation=0.0)
    curve, deviates = curve_of(raw), 1.6449  # errors of a difference: 0.0141
    spots = {name: select(scores, curve, deviates) for name, (select, _) in SELECTORS.items()}
    assert spots == {"document": 6, "minimum": 6, "one_standard_error": 1, "plateau": 4}
    np.testing.assert_array_equal(np.flatnonzero(scores.as_good(6, deviates)), [1, 4, 5, 6, 7])


@pytest.mark.parametrize("selector", ["minimum", "one_standard_error", "plateau"])
def test_reasons_of_the_other_selectors(selector):
    entry = chosen(valley(40, np.random.default_rng(3), slope=0.3), selector=selector)
    words = {
        "minimum": "has the lowest validation loss of 30 checkpoints",
        "one_standard_error": "is the earliest of 30 checkpoints within one standard error of the",
        "plateau": "begins the plateau around the lowest validation loss of 30 checkpoints",
    }
    assert f"Epoch {entry['epoch']} {words[selector]}" in entry["reason"]
    lowest = chosen(valley(40, np.random.default_rng(3), slope=0.3), selector="minimum")["epoch"]
    assert entry["epoch"] <= lowest
    if selector != "minimum":
        assert f"at epoch {lowest})" in entry["reason"]


def test_what_is_selected_on():
    """The loss is lowest at epoch 2, the metric best at 6; a task's modules share its weight."""
    metrics = {
        "heads.x": {"x": [0.1, 0.2, 0.8]},
        "neural_x": {"x": [0.3, 0.4, 0.4]},
        "neural_y": {"y": [0.6, 0.5, 0.7]},
        "neural_z": {"z": [None, None, None]},
    }
    rows = table({"B": ([1.0] * 3, [1.0, 2.0, 3.0], [1.0] * 3)}, metrics)
    epochs = {}
    for selector, by in (("document", None), ("minimum", "loss"), ("minimum", None)):
        options = SweetSpotOptions(selector=selector, by=by, smoothing=1)
        spots = find_sweet_spots(rows, {"B": list(metrics)}, options)
        epochs[selector, spots["by"]] = spots["groups"]["B"]["epoch"]
    assert epochs == {("document", "loss"): 2, ("minimum", "loss"): 2, ("minimum", "metric"): 6}
    assert spots["groups"]["B"]["score"] == pytest.approx(1 - 0.65)
    assert spots["groups"]["B"]["curve"]["val_metric"] == pytest.approx([0.4, 0.4, 0.65])
    assert "lowest validation error (1 - metric) of 3 checkpoints" in spots["groups"]["B"]["reason"]


def test_a_metric_that_is_undefined_somewhere_never_wins():
    metrics = {"neural_x": {"x": [0.1, 0.2, None]}, "neural_y": {"y": [0.1, 0.2, 0.9]}}
    rows = table({"B": ([1.0] * 3, [1.0] * 3, [1.0] * 3)}, metrics)
    options = SweetSpotOptions(selector="minimum", smoothing=1)
    assert find_sweet_spots(rows, {"B": list(metrics)}, options)["groups"]["B"]["epoch"] == 4
    with pytest.raises(UserError, match=r"group 'B' has no metric .* sweet_spots.by: loss"):
        find_sweet_spots(rows, {"B": []}, options)


def test_the_documents_score_has_no_metric():
    with pytest.raises(UserError, match=r"sweet_spots\.by: the selector 'document' is defined"):
        SweetSpotOptions(by="metric")


@pytest.mark.parametrize("smoothing", [1, 3, 5, 7])
def test_the_earliest_of_equal_scores_wins(smoothing):
    flat = [0.3] * 9
    options = SweetSpotOptions(smoothing=smoothing)
    spots = find_sweet_spots(table({"A": (flat, flat, flat)}), {"A": []}, options)["groups"]["A"]
    assert (spots["epoch"], spots["overfitting_epoch"]) == (2, None)
    assert spots["as_good_epochs"] == [4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), None])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_checkpoint_that_is_not_finite_never_wins(bad, column):
    rows = [[1.0] * 4, [4.0, 3.0, 0.0, 2.0], [1.0] * 4]
    rows[column][2] = bad
    spots = find_sweet_spots(table({"A": rows}), {"A": []}, RAW)["groups"]["A"]
    assert spots["epoch"] == 8
    assert spots["curve"]["score"][2] is None
    json.dumps(spots, allow_nan=False)


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


@pytest.mark.parametrize(
    ("slope", "correlation", "shape"),
    [(1.0, 0.0, "kink"), (1.0, 0.0, "decay"), (1.5, 0.3, "kink"), (2.0, 0.6, "decay")],
)
@pytest.mark.parametrize("bottom", [8, 20, 34, 46])
def test_planted_turns_are_found_within_one_checkpoint(bottom, slope, correlation, shape):
    """From 7 to 26 checkpoints behind the turn, that rise by 1 to 2 noise deviations each."""
    spots = {"minimum": 0, "overfitting": 0}
    for seed in range(50):
        val_loss = valley(bottom, np.random.default_rng([bottom, seed]), slope, correlation, shape)
        entry = chosen(val_loss, selector="minimum")
        spots["minimum"] += abs(entry["epoch"] - bottom) <= 2
        spots["overfitting"] += abs((entry["overfitting_epoch"] or 0) - bottom) <= 2
    assert min(spots.values()) >= 45, spots


def test_a_rise_by_a_third_of_the_noise_is_seen_if_it_lasts():
    curves = [valley(30, np.random.default_rng(i), 0.33, shape="decay") for i in range(100)]
    assert np.mean([find_overfitting(curve_of(row), BY_LOSS).proved for row in curves]) >= 0.7


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_the_turn_is_where_ruptures_puts_the_change_of_slope(correlation):
    """An oracle: it knows the number of changes, and that the curve is a broken line."""
    ruptures = pytest.importorskip("ruptures")
    near = 0
    for seed in range(20):
        val_loss = valley(30, np.random.default_rng(seed), correlation=correlation)
        signal = ruptures.Dynp(model="clinear", min_size=2, jump=1).fit(val_loss)
        theirs = EPOCHS[signal.predict(n_bkps=1)[0] - 1]
        near += abs(find_overfitting(curve_of(val_loss), BY_LOSS).epoch - theirs) <= 2
    assert near >= 18


def courses():
    """Return validation losses that do not overfit: flat, and falling ever more slowly."""
    return {"flat": np.ones(30), "falling": 1 + np.exp(-EPOCHS / 10), "line": 2 - EPOCHS / 1000}


@pytest.mark.parametrize("course", courses())
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_false_alarms_are_as_rare_as_the_config_says(course, rate):
    """The training loss falls on and the gap widens; the design document calls that overfitting."""
    rng = np.random.default_rng(7)
    options = SweetSpotOptions(selector="minimum", by="loss", false_alarm_rate=rate)
    proved, document = [], []
    for _ in range(400):
        val_loss = courses()[course] + 0.02 * noise(rng)
        train_loss = 1 - EPOCHS / 1000 + 0.02 * noise(rng)
        proved.append(find_overfitting(curve_of(val_loss, train_loss), options).proved)
        document.append(documents_alarm(val_loss - train_loss))
    assert np.mean(proved) <= rate
    assert np.mean(document) > 0.95, "what the test replaces"


def test_a_rise_that_goes_on_from_the_start_turns_at_the_first_checkpoint():
    turn = find_overfitting(curve_of(1 + EPOCHS / 10), BY_LOSS)
    assert (turn.epoch, turn.proved) == (2, True)


def test_a_minimum_at_the_end_proves_nothing():
    turn = find_overfitting(curve_of([3.0, 2.0, 1.0, 1.5]), BY_LOSS)
    assert not turn.proved
    assert "The curve is not proved to rise behind its lowest point, epoch 8" in str(turn)


def test_a_rise_before_the_lowest_point_is_none_behind_it():
    turn = find_overfitting(curve_of([*np.linspace(2, 3, 29), -3.0]), BY_LOSS)
    assert turn.p_value < 0.01
    assert (turn.epoch, turn.proved) == (60, False)
