"""The paired bootstrap over clusters, its intervals and p-values, and Holm's correction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noisy_predictions import TASKS, UNKNOWN, drawn_targets, noisy

from redheart.selection.bootstrap import (
    Interval,
    bootstrap_scores,
    holm,
    holm_of_differences,
    interval,
    p_value,
    resample_weights,
)
from redheart.tasks.metrics import macro


def differences(first, second, targets, resamples, clusters=None, seed=0):
    """Return macro(first) - macro(second) on the records and in every resample."""
    runs = {
        name: run if isinstance(run, list) else [run]
        for name, run in (("first", first), ("second", second))
    }
    if clusters is None:
        clusters = np.arange(len(targets["emotion"]))
    scores = bootstrap_scores(TASKS, runs, targets, clusters, resamples, seed)
    return scores["first"] - scores["second"]


def repeated(arrays, times):
    return {name: np.repeat(array, times, axis=0) for name, array in arrays.items()}


# --- resamples --------------------------------------------------------------------------------


def test_resamples_draw_n_records_and_depend_on_the_seed_alone():
    alone = np.arange(30)
    weights = resample_weights(alone, 200, seed=1)
    assert weights.shape == (200, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.35)
    assert np.array_equal(weights, resample_weights(alone, 200, seed=1))
    assert not np.array_equal(weights, resample_weights(alone, 200, seed=2))
    assert resample_weights(np.arange(0), 5).shape == (5, 0)


def test_records_that_are_clusters_alone_are_drawn_as_numpy_draws_records():
    drawn = np.random.default_rng(3).integers(0, 12, size=(7, 12))
    expected = [np.bincount(row, minlength=12) for row in drawn]
    assert np.array_equal(resample_weights(np.arange(100, 112), 7, seed=3), expected)


@given(st.lists(st.integers(0, 5), max_size=20))
def test_clusters_are_drawn_whole_as_a_loop_over_them_draws(clusters):
    names = sorted(set(clusters))
    drawn = np.random.default_rng(4).integers(0, max(1, len(names)), size=(6, len(names)))
    expected = np.zeros((6, len(clusters)), dtype=int)
    for row, picks in enumerate(drawn):
        for pick in picks:
            for record, cluster in enumerate(clusters):
                expected[row, record] += cluster == names[pick]
    weights = resample_weights(np.array(clusters, dtype=np.int64), 6, seed=4)
    assert np.array_equal(weights, expected)


def test_scores_are_the_macros_of_the_repeated_records():
    targets, clusters = drawn_targets(40, 0), np.arange(40) // 3
    runs = [noisy(targets, 0.8, seed) for seed in (1, 2)]
    scores = bootstrap_scores(TASKS, {"one": runs}, targets, clusters, 4)["one"]
    rows = [np.ones(40, dtype=int), *resample_weights(clusters, 4)]
    for row, score in zip(rows, scores, strict=True):
        of_seeds = [macro(TASKS, repeated(run, row), repeated(targets, row)) for run in runs]
        assert score == pytest.approx(np.mean(of_seeds), abs=1e-12)


# --- intervals --------------------------------------------------------------------------------


def test_copies_of_records_do_not_make_a_difference_surer():
    """Ten copies of every record: over records the interval shrinks, over clusters it stays."""
    targets = drawn_targets(60, 0)
    models = [noisy(targets, share, seed) for share, seed in ((0.5, 1), (0.6, 2))]
    once = interval(differences(*models, targets, 500))
    copied = [repeated(arrays, 10) for arrays in (*models, targets)]
    clusters = np.repeat(np.arange(60), 10)
    as_clusters = interval(differences(*copied, 500, clusters))
    as_records = interval(differences(*copied, 500))
    assert (as_clusters.low, as_clusters.high) == pytest.approx((once.low, once.high))
    assert as_clusters.high - as_clusters.low > 2 * (as_records.high - as_records.low)


def test_identical_predictions_differ_by_exactly_zero():
    targets = drawn_targets(50, 0)
    same = noisy(targets, 0.7, 1)
    zero = differences(same, same, targets, 100)
    assert interval(zero) == Interval(0, 0, 0)
    assert p_value(zero) == 1


def test_a_clear_winner_is_told_from_chance():
    targets = drawn_targets(100, 0)
    good, bad = noisy(targets, 0.3, 1), noisy(targets, 0.9, 2)
    resampled = differences(good, bad, targets, 200)
    sure = interval(resampled)
    assert 0 < sure.low < sure.difference < sure.high
    assert p_value(resampled) < 1e-6
    gain = macro(TASKS, good, targets) - macro(TASKS, bad, targets)
    assert sure.difference == pytest.approx(gain)
    mirrored = interval(differences(bad, good, targets, 200))
    assert (mirrored.low, mirrored.high) == pytest.approx((-sure.high, -sure.low))


def test_two_equally_good_ones_are_not():
    targets = drawn_targets(100, 0)
    resampled = differences(noisy(targets, 0.7, 1), noisy(targets, 0.7, 2), targets, 200)
    assert interval(resampled).low < 0 < interval(resampled).high
    assert p_value(resampled) > 0.05


def test_several_seeds_average_their_scores():
    targets = drawn_targets(60, 0)
    runs = [noisy(targets, 0.6, seed) for seed in (1, 2, 3)]
    single_run = noisy(targets, 0.9, 4)
    mean = np.mean([macro(TASKS, run, targets) for run in runs])
    resampled = differences(runs, single_run, targets, 100)
    assert resampled[0] == pytest.approx(mean - macro(TASKS, single_run, targets))


def test_a_part_without_labels_has_no_interval():
    targets = drawn_targets(5, 0)
    unlabelled = {name: np.full_like(target, np.nan) for name, target in targets.items()}
    resampled = differences(targets, noisy(targets, 0.5, 1), unlabelled, 10)
    assert repr(interval(resampled)) == repr(UNKNOWN)
    assert math.isnan(p_value(resampled))


def test_one_cluster_proves_nothing():
    targets = drawn_targets(9, 0)
    resampled = differences(targets, noisy(targets, 0.9, 1), targets, 20, np.zeros(9))
    assert p_value(resampled) == 1


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_hold_the_truth():
    population = drawn_targets(20_000, 0)
    first, second = noisy(population, 0.5, 1), noisy(population, 0.6, 2)
    truth = macro(TASKS, first, population) - macro(TASKS, second, population)
    held = 0
    for start in range(0, 20_000, 200):
        rows = slice(start, start + 200)
        sample = (
            {name: array[rows] for name, array in predictions.items()}
            for predictions in (first, second)
        )
        targets = {name: target[rows] for name, target in population.items()}
        estimate = interval(differences(*sample, targets, 300, seed=start))
        held += estimate.low <= truth <= estimate.high
    assert 88 <= held <= 99  # of 100


def test_p_values_are_those_of_a_z_test_on_means():
    """If the score is a mean, the bootstrap's error is the standard error of the textbooks."""
    from scipy.stats import norm

    values = np.random.default_rng(0).normal(0.1, 1, 400)
    weights = resample_weights(np.arange(400), 4000)
    means = np.concatenate([[values.mean()], weights @ values / 400])
    z = values.mean() / (values.std() / 20)
    assert p_value(means) == pytest.approx(2 * norm.sf(z), rel=0.15)


# --- Holm -------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_adjusts_as_defined(p_values):
    """The j-th smallest p counts (m - j + 1) times, and no less than a smaller one's."""
    adjusted = holm({str(i): p for i, p in enumerate(p_values)})
    m, ordered = len(p_values), sorted(p_values)
    for i, p in enumerate(p_values):
        rank = max(j for j, value in enumerate(ordered) if value == p)
        steps = [(m - j) * ordered[j] for j in range(rank + 1)]
        assert adjusted[str(i)] == pytest.approx(min(1, max(steps)))


def test_holm_of_a_published_example():
    """R's p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    adjusted = holm(dict(zip("dbca", (0.04, 0.02, 0.03, 0.01), strict=True)))
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06})


def test_an_undefined_p_is_no_member_of_the_family():
    adjusted = holm({"a": 0.01, "b": math.nan, "c": 0.5})
    assert adjusted["a"] == pytest.approx(0.02)
    assert math.isnan(adjusted["b"])


def test_the_same_comparison_twice_counts_once():
    rng = np.random.default_rng(0)
    one, other = rng.normal(2, 1, 50), rng.normal(1, 1, 50)
    twice = {"a": one, "same as a": one.copy(), "b": other, "reference": np.zeros(50)}
    adjusted = holm_of_differences(twice)
    once = holm({"a": p_value(one), "b": p_value(other)})
    assert adjusted == {**once, "same as a": once["a"], "reference": 1.0}
