"""The statistics of a noisy curve of a few checkpoints: its moving mean, its noise, its turn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Values are compared to this many decimals: otherwise rounding errors would break ties.
DECIMALS = 12

# Simulated flat curves behind every p-value: its error at 5 % is 0.3 points.
SIMULATIONS = 5000
# Simulated flat curves, for each correlation, behind the correction of an estimated correlation.
CORRELATED = 300
CORRELATIONS = np.linspace(0, 0.9, 10)
# The shortest end of a curve that is tested for a rise, in checkpoints.
SHORTEST_RISE = 4


def smoother(finite: NDArray[np.bool_], window: int) -> Floats:
    """Return the weights of the centred moving mean, cut off at both ends, shape (n, n).

    Parameters
    ----------
    finite
        Shape (n,): which values are finite; the others have weight 0, and no mean of their own.
    window
        Width in values; odd.
    """
    place = np.arange(len(finite))
    near = np.abs(place[:, None] - place) <= window // 2
    weights = (near & finite & finite[:, None]).astype(np.float64)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)


def moving_mean(values: Floats, window: int) -> Floats:
    """Return the centred moving mean over `window` (odd) values, cut off at both ends.

    NaN is left out of its neighbours' means and stays NaN itself.
    """
    finite = np.isfinite(values)
    means = smoother(finite, window) @ np.where(finite, values, 0.0)
    return np.where(finite, np.round(means, DECIMALS), np.nan)


def noise_deviation(values: Floats, correlation: float = 0.0) -> float:
    """Estimate the standard deviation of the noise on a smooth curve; NaN below three values.

    The estimate comes from second differences, in which a smooth trend cancels (Gasser, Sroka &
    Jennen-Steinmetz 1986, equation 2 for even spacing). It is their median, which a single kink
    does not move. Noise of variance s^2 and correlation r^lag gives second differences the
    variance 2 (1 - r) (3 - r) s^2.
    """
    second = np.diff(values[np.isfinite(values)], n=2)
    if not len(second):
        return float("nan")
    normal_quartile = 0.6744897501960817
    spread = np.sqrt(2 * (1 - correlation) * (3 - correlation))
    return float(np.median(np.abs(second)) / normal_quartile / spread)


def standard_error(weights: Floats, noise: float, correlation: float) -> Floats:
    """Return the standard errors of weighted sums of noisy values.

    noise * sqrt(w' R w), with R[i, j] = correlation^|i - j|: the variance of a linear smoother
    (Hastie & Tibshirani 1990, chapter 3) under noise that is correlated along the curve.

    Parameters
    ----------
    weights
        Shape (..., n): the weights of one sum in each row.
    """
    place = np.arange(weights.shape[-1])
    matrix = correlation ** np.abs(place[:, None] - place).astype(np.float64)
    return noise * np.sqrt(np.einsum("...i,ij,...j->...", weights, matrix, weights).clip(0))


def estimate_correlation(values: Floats, quantile: float = 0.5) -> float:
    """Estimate the correlation of the noise from one value to the next, 0 to 0.9.

    The lag-1 autocorrelation of the residuals of the unimodal fit is far too low an estimate, since
    the fit follows slow noise. So it is compared with the same autocorrelation of simulated flat
    curves of every correlation.

    Parameters
    ----------
    values
        Shape (n,), finite.
    quantile
        0.5: the correlation at which half of the simulated curves have a lower autocorrelation
        (median-unbiased); 0.75: an upper bound that holds in three of four curves.
    """
    if len(values) < SHORTEST_RISE:
        return 0.0
    simulated = np.quantile(_simulated_autocorrelations(len(values)), 1 - quantile, axis=1)
    autocorrelation = _autocorrelation(values - unimodal_fit(values))
    return float(np.interp(autocorrelation, np.maximum.accumulate(simulated), CORRELATIONS))


def unimodal_fit(values: Floats) -> Floats:
    """Return the falling, then rising curve nearest to the values (Frisen 1986, least squares)."""
    falling, _ = _falling_fit(values)
    rising, _ = _falling_fit(values[::-1])
    turn = int(np.argmin(falling + rising[::-1]))
    left, right = _falling_fit(values[:turn])[1], _falling_fit(values[turn:][::-1])[1]
    return np.concatenate([left, right[::-1]])


def kendall_scores(curves: Floats) -> Floats:
    """Return Kendall's S (rising minus falling pairs) of every end of every curve.

    Parameters
    ----------
    curves
        Shape (m, n).

    Returns
    -------
    Shape (m, n): column i for the values i, i + 1, ...; ties count as neither.
    """
    places = range(curves.shape[1])
    pairs = [np.sign(curves[:, i + 1 :] - curves[:, [i]]).sum(axis=1) for i in places]
    return np.cumsum(pairs[::-1], axis=0)[::-1].T


def rise_p(values: Floats, correlation: float) -> float:
    """Return the p-value of a rise that begins somewhere on a curve that else falls or is flat.

    The statistic is the largest Kendall's S (Mann 1945, Kendall 1975) over all ends of the curve,
    each divided by its standard deviation, so that the place of the turn need not be known. Its
    distribution is simulated on flat curves with normal noise of that correlation. A falling curve
    has a smaller statistic, so there the test raises fewer alarms than stated if the correlation is
    right. Without correlation the distribution is the same for all continuous noise.

    Parameters
    ----------
    values
        Shape (n,), finite; fewer than `SHORTEST_RISE` have p = 1.
    correlation
        Correlation of the noise from one value to the next, 0 to 0.9; rounded to the nearest 0.05.
    """
    if len(values) < SHORTEST_RISE:
        return 1.0
    deviations, simulated = _simulated_rises(len(values), round(20 * correlation))
    largest = _largest_rise(values[None], deviations)[0] - 1e-9
    return float((1 + (simulated >= largest).sum()) / (1 + SIMULATIONS))


def _largest_rise(curves: Floats, deviations: Floats) -> Floats:
    return (kendall_scores(curves)[:, : len(deviations)] / deviations).max(axis=1)


@lru_cache(maxsize=128)
def _simulated_rises(size: int, twentieths: int) -> tuple[Floats, Floats]:
    """Return, on flat curves, the deviation of S for every end, and the largest S / deviation."""
    curves = _flat_curves(SIMULATIONS, size, twentieths / 20)
    deviations = kendall_scores(curves)[:, : size - SHORTEST_RISE + 1].std(axis=0)
    return deviations, _largest_rise(curves, deviations)


@lru_cache(maxsize=128)
def _simulated_autocorrelations(size: int) -> Floats:
    """Return the residuals' autocorrelation on flat curves, a row per true correlation."""
    return np.array(
        [
            [_autocorrelation(c - unimodal_fit(c)) for c in _flat_curves(CORRELATED, size, true)]
            for true in CORRELATIONS
        ]
    )


def _flat_curves(count: int, size: int, correlation: float) -> Floats:
    """Return `count` curves of noise alone, autoregressive of order one, with a fixed seed."""
    curves = np.random.default_rng(0).standard_normal((count, size))
    for i in range(1, size):
        fresh = np.sqrt(1 - correlation**2) * curves[:, i]
        curves[:, i] = correlation * curves[:, i - 1] + fresh
    return curves


def _autocorrelation(residuals: Floats) -> float:
    power = float(residuals @ residuals)
    return float(residuals[1:] @ residuals[:-1]) / power if power else 0.0


def _falling_fit(values: Floats) -> tuple[Floats, Floats]:
    """Fit a falling curve by least squares: pool adjacent violators (Ayer et al. 1955).

    Returns
    -------
    The squared error of the fit to the first 0, 1, ..., n values, and the fit to all of them.
    """
    blocks: list[tuple[float, int, float]] = []  # mean, values, squared error
    total, errors = 0.0, [0.0]
    for value in values.tolist():
        mean, size, error = value, 1, 0.0
        while blocks and blocks[-1][0] <= mean:
            last_mean, count, last_error = blocks.pop()
            total -= last_error
            error += last_error + (last_mean - mean) ** 2 * count * size / (count + size)
            mean = (last_mean * count + mean * size) / (count + size)
            size += count
        blocks.append((mean, size, error))
        total += error
        errors.append(total)
    return np.array(errors), np.repeat([b[0] for b in blocks], [b[1] for b in blocks])
