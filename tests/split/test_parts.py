"""The four parts: their shares, what they are stratified by, and from where pairs are searched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.errors import UserError
from redheart.split.parts import FILL_ORDER, PARTS, SplitOptions, classes_of, is_oversized, stratum


def test_nothing_is_searched_below_what_a_search_allows() -> None:
    assert SplitOptions(audit_threshold=0.8).searched_from == 0.75
    assert SplitOptions(audit_threshold=0.52).searched_from == 0.5


def test_stratum() -> None:
    record = {"id": "a", "label": "x", "n": 3, "blank": " ", "m": {"k": "y"}, "list": [1], "f": 0.5}
    fields = ("label", "n", "blank", "m.k", "none", None)
    assert [stratum(record, field) for field in fields] == ["x", "3", None, "y", None, None]
    assert stratum({"id": "a", "\u00e9": "e\u0301"}, "e\u0301") == "\u00e9"
    for field in ("list", "m", "f"):
        with pytest.raises(UserError, match=f"cannot stratify by '{field}': record 'a'"):
            stratum(record, field)


def test_shares_are_checked() -> None:
    with pytest.raises(UserError, match=r"sum to 1; got train 0\.8, val_select 0\.1"):
        SplitOptions(train=0.8)
    with pytest.raises(UserError, match="above 0"):
        SplitOptions(val_confirm=0.0, train=0.8)
    assert SplitOptions().fractions == (0.75, 0.10, 0.05, 0.10)
    assert [PARTS[part] for part in FILL_ORDER] == ["train", "test", "val_select", "val_confirm"]


def test_classes_are_in_the_order_of_their_names_and_the_nameless_one_is_last() -> None:
    strata = ["b", None, "a", "b", "", None]
    found = classes_of(strata)
    assert list(found.items()) == [("", [4]), ("a", [2]), ("b", [0, 3]), (None, [1, 5])]


def test_a_group_may_be_as_large_as_the_smallest_part() -> None:
    options = SplitOptions()  # the smallest part holds 5 %
    assert not is_oversized(range(5), 100, options)
    assert is_oversized(range(6), 100, options)
    # 0.05 * 60 is a little more or less than 3 in binary.
    assert not is_oversized(range(3), 60, options)


@given(st.lists(st.floats(1e-3, 1), min_size=4, max_size=4))
def test_the_fractions_sum_to_1_and_keep_their_proportions(weights) -> None:
    shares = [round(weight / sum(weights), 7) for weight in weights]
    fractions = SplitOptions(**dict(zip(PARTS, shares, strict=True))).fractions
    assert sum(fractions) == pytest.approx(1, abs=1e-15)
    assert fractions == pytest.approx(shares, rel=1e-6)
