"""Thresholds and intervals, against brute force and fresh data."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.evaluation.decisions import (
    HALF,
    LEAST_POSITIVES,
    DecisionOptions,
    best_cuts,
    fit_decisions,
    fitted_thresholds,
    half_width,
    thresholds_of,
)
from redheart.tasks.scale import Scale
from redheart.tasks.task import Task

TAGS = Task("tags", "multilabel", "tags", ("urgent", "private"))
RATING = Task("rating", "regression", "rating", ("stars", "length"))
TOPIC = Task("topic", "multiclass", "topic", ("a", "b"))


def f1(scores, truth, counts, cut):
    chosen = [score >= cut for score in scores]
    hits = sum(c for c, p, t in zip(counts, chosen, truth, strict=True) if p and t)
    marked = sum(c * (p + t) for c, p, t in zip(counts, chosen, truth, strict=True))
    return Fraction(2 * hits, marked) if marked else Fraction(0)


def brute_force_cut(scores, truth, counts):
    values = sorted({*map(float, scores)}, reverse=True)
    cuts = [(a + b) / 2 for a, b in zip(values, [*values[1:], 0.0], strict=True)]
    best = max(f1(scores, truth, counts, cut) for cut in cuts)
    return min(
        (cut for cut in cuts if f1(scores, truth, counts, cut) == best),
        key=lambda cut: (abs(cut - 0.5), -cut),
    )


records = st.lists(
    st.tuples(st.integers(0, 8), st.booleans(), st.integers(0, 3)), min_size=1, max_size=14
)


@given(records)
def test_the_cut_is_the_one_that_brute_force_finds(rows):
    scores, truth, counts = (list(column) for column in zip(*rows, strict=True))
    scores = np.array(scores, dtype=np.float32) / 8
    (cut,) = best_cuts(scores, np.array(truth), np.array([counts]))
    if any(c and t for c, t in zip(counts, truth, strict=True)):
        assert cut == brute_force_cut(scores, truth, counts)
    else:
        assert math.isnan(cut)


def drawn(rng, count, positive_share, shift):
    """Probabilities that are too low by a shift of their log-odds, and their labels."""
    truth = rng.random(count) < positive_share
    logit = rng.normal(size=count) + 2.5 * truth - 2 - shift
    return (1 / (1 + np.exp(-logit))).astype(np.float32), truth.astype(np.float32)


def test_thresholds_raise_the_f1_of_fresh_records_of_timid_probabilities():
    rng = np.random.default_rng(0)
    (p, y), (fresh, true) = drawn(rng, 400, 0.15, 2.0), drawn(rng, 20_000, 0.15, 2.0)
    (threshold,) = fitted_thresholds(p[:, None], y[:, None])
    at_half, at_own, at_best = (
        f1(fresh, true == 1, np.ones(len(fresh), int), cut)
        for cut in (0.5, threshold, brute_force_on(fresh, true))
    )
    assert float(at_half) < 0.2 < 0.5 < float(at_own)
    assert float(at_best - at_own) < 0.02


def brute_force_on(scores, truth):
    return float(best_cuts(scores, truth == 1, np.ones((1, len(scores)), int))[0])


def test_the_mean_cut_of_resamples_does_better_on_fresh_records_than_the_cut_of_few():
    rng = np.random.default_rng(1)
    plain, smoothed = [], []
    for _ in range(60):
        (p, y), (fresh, true) = drawn(rng, 150, 0.1, 1.0), drawn(rng, 4000, 0.1, 1.0)
        for scores, cut in (
            (plain, brute_force_on(p, y)),
            (smoothed, fitted_thresholds(p[:, None], y[:, None])[0]),
        ):
            chosen = fresh >= cut
            scores.append(2 * (chosen * true).sum() / (chosen.sum() + true.sum()))
    assert np.mean(smoothed) > np.mean(plain) + 0.003


def test_a_label_with_few_positives_keeps_one_half_and_one_more_moves_it():
    p = np.full((40, 2), 0.01, dtype=np.float32)
    y = np.zeros((40, 2), dtype=np.float32)
    y[: LEAST_POSITIVES - 1, 0] = y[:LEAST_POSITIVES, 1] = 1
    p[:LEAST_POSITIVES] = 0.2
    few, enough = fitted_thresholds(p, y)
    assert few == HALF
    assert 0.01 < enough < 0.2


def test_an_unknown_target_is_as_if_the_record_were_absent_for_its_label():
    rng = np.random.default_rng(2)
    p, y = drawn(rng, 60, 0.3, 1.0)
    unknown = y.copy()
    unknown[::3] = np.nan
    wild = p.copy()
    wild[::3] = 0.99
    both = [fitted_thresholds(s[:, None], unknown[:, None]) for s in (p, wild)]
    assert both[0] == both[1] != fitted_thresholds(p[:, None], y[:, None])


def test_thresholds_are_the_same_bytes_twice_and_half_where_nothing_is_known():
    p, y = drawn(np.random.default_rng(3), 90, 0.3, 1.0)
    assert fitted_thresholds(p[:, None], y[:, None]) == fitted_thresholds(p[:, None], y[:, None])
    assert fitted_thresholds(p[:0, None], y[:0, None]) == HALF
    assert fitted_thresholds(p[:, None], np.full((90, 1), np.nan)) == HALF


@pytest.mark.parametrize(
    ("count", "coverage", "rank"), [(9, 0.9, 9), (19, 0.9, 18), (99, 0.9, 90), (10, 0.5, 6)]
)
def test_the_half_width_is_the_order_statistic_of_split_conformal_prediction(count, coverage, rank):
    errors = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert half_width(errors, coverage) == rank


def test_too_few_records_give_no_interval():
    assert math.isnan(half_width(np.arange(8.0), 0.9))
    assert math.isnan(half_width(np.array([]), 0.9))


def test_fresh_values_lie_within_the_interval_as_often_as_promised():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        errors = np.abs(rng.standard_t(3, size=31))
        held.append(errors[30] <= half_width(errors[:30], 0.9))
    # The exact probability is ceil(31 * 0.9) / 31 = 28 / 31.
    assert np.mean(held) == pytest.approx(28 / 31, abs=0.02)


def both_parts(name, values):
    return {
        part: {name: rows} for part, rows in zip(("val_select", "val_confirm"), values, strict=True)
    }


def fitted(task, predicted, true, scales=None, **options):
    return fit_decisions(
        [task],
        both_parts(task.name, predicted),
        both_parts(task.name, true),
        scales or {},
        DecisionOptions(**options),
    )[task.name]


def test_labels_are_decided_on_val_select_alone():
    rng = np.random.default_rng(0)
    p, y = (
        np.stack(column, 1) for column in zip(*(drawn(rng, 80, 0.4, 2) for _ in "ab"), strict=True)
    )
    other = 1 - p
    decided = [fitted(TAGS, (p, confirm), (y, y)) for confirm in (p, other)]
    assert decided[0] == decided[1]
    assert decided[0]["positives"] == {"urgent": y[:, 0].sum(), "private": y[:, 1].sum()}
    assert thresholds_of(TAGS, decided[0]).tolist() == fitted_thresholds(p, y).tolist()
    half = fitted(TAGS, (p, p), (y, y), thresholds="half")
    assert thresholds_of(TAGS, half).tolist() == [HALF, HALF] == thresholds_of(TAGS, {}).tolist()


def test_an_interval_takes_both_parts_each_output_its_known_values_and_the_unit_of_the_data():
    predicted = np.zeros((9, 2), dtype=np.float32)
    errors = np.stack([np.arange(1.0, 10), np.arange(11.0, 20)], axis=1)
    select, confirm = errors[:5].copy(), errors[5:].copy()
    confirm[0, 1] = np.nan
    scale = Scale(np.array([5.0, 5.0]), np.array([2.0, 10.0]))
    decided = fitted(
        RATING, (predicted[:5], predicted[5:]), (select, confirm), {"rating": scale}, coverage=0.85
    )
    # (9 + 1) 0.85 rounds up to the ninth of nine; (8 + 1) 0.85 to the eighth of eight.
    assert decided == {
        "kind": "regression",
        "coverage": 0.85,
        "records": 9,
        "half_width": {"stars": 18.0, "length": 190.0},
    }
    scarce = fitted(RATING, (predicted[:5], predicted[5:]), (select, confirm), coverage=0.9)
    assert scarce["half_width"] == {"stars": 9.0, "length": None}


def test_classes_need_no_decision_of_their_own():
    rows = np.eye(2)[[0, 1]]
    assert fitted(TOPIC, (rows, rows), (rows, rows)) == {"kind": "multiclass"}
