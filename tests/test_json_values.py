"""Unknown numbers: NaN here, null in a file, and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from redheart.json_values import number, numbers, or_lowest, or_null, or_nulls, with_nulls

NOT_FINITE = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("value", [*NOT_FINITE, *map(np.float64, NOT_FINITE)])
def test_what_is_not_finite_is_null_in_a_file(value):
    assert or_null(value) is None
    assert with_nulls({"a": [value, {"b": value}]}) == {"a": [None, {"b": None}]}


def test_a_finite_number_stays_as_it_is():
    assert or_nulls(np.array([0.1, math.nan, 2.0], dtype=np.float64)) == [0.1, None, 2.0]
    value = {"a": [1, 0.5, True, None, "NaN"], "b": {"c": -0.0}}
    assert json.dumps(with_nulls(value)) == json.dumps(value)


def test_null_is_unknown_in_a_computation():
    assert math.isnan(number(None)) and number(2) == 2.0
    array = numbers([1.0, None, math.inf, -2.0])
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, [1.0, math.nan, math.nan, -2.0])


def test_an_unknown_score_ranks_below_all_others():
    assert sorted([0.5, math.nan, -7.0], key=or_lowest)[1:] == [-7.0, 0.5]
