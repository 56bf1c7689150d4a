"""Noisy curves: smoothing, noise, its correlation and the test of a rise, against oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import optimize, stats

from redheart.sweet_spots.statistics import (
    estimate_correlation,
    kendall_scores,
    moving_mean,
    noise_deviation,
    rise_p,
    smoother,
    standard_error,
    unimodal_fit,
)


def noisy(rng, count, size, correlation):
    """Return curves of autoregressive noise of variance 1."""
    curves = rng.standard_normal((count, size))
    for i in range(1, size):
        fresh = np.sqrt(1 - correlation**2) * curves[:, i]
        curves[:, i] = correlation * curves[:, i - 1] + fresh
    return curves


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


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_noise_is_estimated_on_top_of_a_trend(correlation):
    trend = np.linspace(3, 0, 2000) ** 2
    noise = noisy(np.random.default_rng(1), 1, 2000, correlation)[0]
    found = noise_deviation(trend + 0.1 * noise, correlation)
    assert found == pytest.approx(0.1, rel=0.15)
    assert np.isnan(noise_deviation(np.array([1.0, 2.0])))


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_standard_error_is_that_of_repeated_smoothing(correlation):
    curves = 0.5 * noisy(np.random.default_rng(2), 4000, 12, correlation)
    smoothed = np.array([moving_mean(curve, 3) for curve in curves])
    weights = smoother(np.ones(12, dtype=bool), 3)
    errors = standard_error(weights, 0.5, correlation)
    np.testing.assert_allclose(errors, smoothed.std(axis=0), rtol=0.05)
    difference = standard_error(weights[7] - weights[2], 0.5, correlation)
    assert difference == pytest.approx((smoothed[:, 7] - smoothed[:, 2]).std(), rel=0.05)
    assert standard_error(np.eye(12)[3], 0.5, correlation) == pytest.approx(0.5)


@given(values)
def test_the_unimodal_fit_is_the_best_of_all_turns(numbers):
    fits = [
        np.concatenate(
            [
                optimize.isotonic_regression(part, increasing=rising).x
                for part, rising in ((numbers[:turn], False), (numbers[turn:], True))
                if len(part)
            ]
        )
        for turn in range(len(numbers) + 1)
    ]
    fit = unimodal_fit(numbers)
    least = min(((numbers - other) ** 2).sum() for other in fits)
    assert ((numbers - fit) ** 2).sum() == pytest.approx(least, abs=1e-9)
    signs = np.sign(np.round(np.diff(fit), 9))
    assert (np.diff(signs[signs != 0]) >= 0).all(), "it falls, then rises"


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_correlation_is_estimated_and_bounded(correlation):
    curves = noisy(np.random.default_rng(3), 200, 30, correlation)
    steep = curves + 30 * np.exp(-np.arange(30) / 3)
    for each, at_most in ((curves, 0.1), (steep, 0.3)):  # a fit to a steep fall leaves little
        estimates = [estimate_correlation(curve) for curve in each]
        assert np.median(estimates) == pytest.approx(correlation, abs=at_most)
    bounds = [estimate_correlation(curve, 0.75) for curve in curves]
    assert 0.65 <= np.mean(np.array(bounds) >= correlation) <= 1


@given(values)
def test_kendall_scores_equal_scipys_tau_of_every_end(numbers):
    scores = kendall_scores(numbers[None])[0]
    for i in range(len(numbers) - 1):
        size = len(numbers) - i
        tau = stats.kendalltau(np.arange(size), numbers[i:]).statistic
        assert scores[i] == pytest.approx(tau * size * (size - 1) / 2, abs=1e-9)
    assert scores[-1] == 0


@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_kendall_scores_equal_pymannkendalls(correlation):
    oracle = pytest.importorskip("pymannkendall")
    for curve in noisy(np.random.default_rng(4), 20, 25, correlation):
        ends = [oracle.original_test(curve[i:]).s for i in range(22)]
        np.testing.assert_allclose(kendall_scores(curve[None])[0, :22], ends)


def test_a_rise_of_the_shortest_end_has_the_exact_p_value():
    """With one end to look at, the scan is the plain Mann-Kendall test."""
    for order in ([0, 1, 2, 3], [0, 1, 3, 2], [1, 0, 3, 2], [3, 2, 1, 0]):
        exact = stats.kendalltau(np.arange(4), order, method="exact", alternative="greater").pvalue
        assert rise_p(np.array(order, dtype=float), 0.0) == pytest.approx(exact, abs=0.02)


def test_too_short_and_constant_curves_prove_no_rise():
    for values in ([], [1.0], [1.0, 2.0, 3.0]):
        assert rise_p(np.array(values), 0.0) == 1.0
        assert estimate_correlation(np.array(values)) == 0.0
    assert rise_p(np.ones(9), 0.0) > 0.5


def alarms(curves):
    p_values = [rise_p(curve, estimate_correlation(curve, 0.75)) for curve in curves]
    return np.mean(np.array(p_values) <= 0.05)


@pytest.mark.parametrize(
    ("correlation", "at_most"), [(0.0, 0.05), (0.3, 0.06), (0.6, 0.10), (0.8, 0.15)]
)
@pytest.mark.parametrize("size", [10, 30])
def test_the_rate_of_false_alarms_on_correlated_noise(size, correlation, at_most):
    flat = noisy(np.random.default_rng(5), 400, size, correlation)
    falling = flat + 6 * np.exp(-np.arange(size) / 5)
    assert max(alarms(flat), alarms(falling)) <= at_most


@pytest.mark.parametrize("tail", ["uniform", "t"])
def test_without_correlation_the_noise_need_not_be_normal(tail):
    rng = np.random.default_rng(6)
    flat = rng.uniform(size=(600, 30)) if tail == "uniform" else rng.standard_t(2, (600, 30))
    p_values = [rise_p(curve, 0.0) for curve in flat]
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
