"""The scale of regressions: against numpy, for every unit and origin, with tails and gaps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.tasks import scale
from redheart.tasks.task import Task

YEAR = Task("year", "regression", "year")
PAIR = Task("pair", "regression", "pair", ("a", "b"))


def records(values):
    return [{"id": str(i), "year": value} for i, value in enumerate(values)]


def test_a_normal_sample_has_its_plain_mean_and_deviation():
    values = np.random.default_rng(0).normal(3, 2, (500, 2))
    fitted = scale.fit_scale(values)
    np.testing.assert_allclose(fitted.mean, values.mean(axis=0))
    np.testing.assert_allclose(fitted.deviation, values.std(axis=0))


@given(
    st.integers(-6, 6),
    st.floats(-1e6, 1e6),
    st.lists(st.integers(-50, 50), min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1),
)
def test_no_unit_and_no_origin_changes_what_is_learned(exponent, offset, values):
    plain = np.array(values, dtype=float)[:, None]
    deviation = plain.std()
    moved = (plain + offset * deviation) * 10.0**exponent
    learned = scale.fit_scale(plain).standardized(plain)
    np.testing.assert_allclose(scale.fit_scale(moved).standardized(moved), learned, atol=1e-6)


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20))
def test_a_value_comes_back_from_what_is_learned(values):
    rows = np.array(values)[:, None]
    fitted = scale.fit_scale(rows)
    np.testing.assert_allclose(
        fitted.restored(fitted.standardized(rows)), rows, rtol=1e-9, atol=1e-9 * np.abs(rows).max()
    )


def test_one_mistyped_number_hardly_moves_the_scale():
    values = np.random.default_rng(0).normal(2000, 8, 1000)
    plain = scale.fit_scale(values[:, None])
    values[17] = 19_900_000
    fitted = scale.fit_scale(values[:, None])
    assert fitted.mean == pytest.approx(plain.mean, abs=0.1)
    assert fitted.deviation == pytest.approx(plain.deviation, rel=0.02)


def test_values_of_which_half_are_the_same_keep_their_plain_deviation():
    values = np.array([0.0] * 80 + [5.0] * 20)[:, None]
    assert scale.fit_scale(values).deviation == pytest.approx(values.std())


def test_counts_of_which_most_are_zero_are_no_multiples_of_a_tiny_deviation():
    counts = np.concatenate([np.zeros(60), np.linspace(1, 9, 20), np.geomspace(1e3, 1e6, 20)])
    fitted = scale.fit_scale(counts[:, None])
    assert fitted.deviation == pytest.approx(counts.std())
    assert fitted.mean == pytest.approx(counts.mean())


@pytest.mark.parametrize("column", [[], [np.nan, np.nan], [7.5, 7.5, np.nan]])
def test_what_never_varies_keeps_its_unit(column):
    values = np.array(column, dtype=float).reshape(-1, 1)
    known = values[~np.isnan(values)]
    fitted = scale.fit_scale(values)
    assert fitted.deviation == 1
    assert fitted.mean == (known[0] if len(known) else 0)


def test_each_output_has_its_own_scale_and_unknown_values_none():
    members = [{"pair": [1, None]}, {"pair": [3, 1e6]}, {"pair": [None, 3e6]}, {}]
    (fitted,) = scale.fit_scales([PAIR], members).values()
    np.testing.assert_allclose(fitted.mean, [2, 2e6])
    np.testing.assert_allclose(fitted.deviation, [1, 1e6])
    learned = scale.standardized_targets([PAIR], members, {"pair": fitted})["pair"]
    assert learned.dtype == np.float32
    np.testing.assert_allclose(learned, [[-1, np.nan], [1, -1], [np.nan, 1], [np.nan, np.nan]])


def test_only_regressions_have_a_scale_and_json_keeps_every_bit():
    votes = Task("votes", "distribution", "votes", ("a", "b"))
    members = [{**r, "votes": [0.25, 0.75]} for r in records([1990.1, 2015.7, 2003.3])]
    scales = scale.fit_scales([votes, YEAR], members)
    assert list(scales) == ["year"]
    read = scale.from_json(json.loads(json.dumps(scale.to_json(scales))))
    assert np.array_equal(read["year"].as_array(), scales["year"].as_array())
    targets = scale.standardized_targets([votes, YEAR], members, scales)
    assert targets["votes"].tolist() == [[0.25, 0.75]] * 3
