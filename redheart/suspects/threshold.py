"""Which labels are called wrong: as many as keep the share of false alarms at a stated rate.

Wrong labels are a mixture's part: if a share `e` of the labels was exchanged, the labels whose
suspicion is at least `t` are `n F(t)` in number, and `n e F1(t)` of them are wrong, where `F1` is
the share of planted exchanges that look as suspicious (`suspicion`). So of the labels from `t` on
the share `1 - e F1(t) / F(t)` is right.

`e` is at most `F(t) / F1(t)`, wherever it is taken (Scott 2015, AISTATS, "A rate of convergence for
mixture proportion estimation"). It is taken on held-out records, of which no model has learned the
label, as the lower of two. It counts as 0, and nothing is named, where one of the two counts is
within its standard error: so hardly a label of a clean corpus is named. It also counts as 0 above a
third, since a model that has learned nothing takes planted labels and others for the same.

Labels of train were learned, and look less suspicious than held-out ones: by how much is unknown
for a wrong label. It is at least the difference of the medians, and at least so much that nowhere
more labels are expected to be wrong than there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

METHOD = (
    "Labels of held-out records were exchanged on purpose, which needs no training; the share of "
    "wrong labels and the false discoveries follow from how many labels look as suspicious."
)
# At which shares of the planted labels the share of wrong labels is taken.
PLANTED_SHARES = (0.25, 0.5)
# A count of held-out labels that is no larger than so many of its standard errors may be chance.
STANDARD_ERRORS = 1.0
# Where more labels than that look as planted ones do, the model knows too little to name any.
MOST_WRONG = 1 / 3
# Held-out labels, at least, of which a share of wrong ones is taken.
FEWEST_HELD_OUT = 20
# The first rank from which no more labels may be expected to be wrong than there are: before it,
# a single label decides.
FIRST_RANK = 3
# How finely the shift of train's suspicions is searched, as a part of their range.
SHIFT_STEPS = 400


@dataclass(frozen=True)
class Verdict:
    """Which labels of a population are named."""

    named: np.ndarray
    """Whether each is: bool [n]."""
    expected_false: float
    """How many of them are expected to be right after all."""
    wrong_share: float
    """Share of the labels that is wrong, by a careful estimate."""


def wrong_share(held_out: np.ndarray, planted: np.ndarray) -> float:
    """Return the share of held-out labels that is wrong, at most, or 0 where no label can be named.

    Parameters
    ----------
    held_out
        Suspicions of the held-out labels: [n], NaN where there is none.
    planted
        Quantiles of the suspicions of planted ones, rising.
    """
    known = held_out[~np.isnan(held_out)]
    if len(known) < FEWEST_HELD_OUT or not len(planted):
        return 0.0
    shares = []
    for share in PLANTED_SHARES:
        count = int((known >= np.quantile(planted, 1 - share)).sum())
        if count <= STANDARD_ERRORS * np.sqrt(count + 0.5):
            return 0.0
        shares.append(count / len(known) / share)
    return min(shares) if min(shares) <= MOST_WRONG else 0.0


def judge(
    suspicion: np.ndarray, planted: np.ndarray, share: float, typical: float, rate: float
) -> Verdict:
    """Name the labels of a population.

    Parameters
    ----------
    suspicion
        [n], NaN where there is no label.
    planted
        Quantiles of the suspicions of planted labels, on held-out records.
    share
        Share of the labels that is wrong, from `wrong_share`.
    typical
        Median suspicion of the held-out labels.
    rate
        Share of the named labels, at most, that is expected to be right.
    """
    known = np.flatnonzero(~np.isnan(suspicion))
    named = np.zeros(len(suspicion), dtype=bool)
    if share <= 0 or not len(known):
        return Verdict(named, 0.0, share)
    order = known[np.argsort(-suspicion[known], kind="stable")]
    ranked, ranks = suspicion[order], np.arange(1, len(known) + 1)
    usual = max(0.0, typical - float(np.median(ranked)))
    shift = _shift(ranked, planted, share, usual)
    wrong = share * len(known) * _at_least(planted - shift, ranked)
    false = np.clip(1 - wrong / ranks, 0.0, 1.0)
    within = np.flatnonzero(false <= rate)
    count = int(within[-1]) + 1 if len(within) else 0
    named[order[:count]] = True
    expected = float(false[count - 1] * count) if count else 0.0
    return Verdict(named, expected, share)


def _at_least(planted: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the share of planted suspicions that are as high as each value."""
    shares: np.ndarray = 1 - np.searchsorted(planted, values, side="left") / len(planted)
    return shares


def _shift(ranked: np.ndarray, planted: np.ndarray, share: float, usual: float) -> float:
    """Return how much less suspicious learned labels look than planted ones, `usual` or more."""
    ranks = np.arange(1, len(ranked) + 1)
    furthest = max(usual, float(planted[-1] - ranked[-1]))
    for shift in np.linspace(usual, furthest, SHIFT_STEPS):
        wrong = share * len(ranked) * _at_least(planted - shift, ranked)
        if (wrong <= ranks)[FIRST_RANK - 1 :].all():
            return float(shift)
    return furthest
