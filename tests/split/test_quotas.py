"""Quotas: each class in each part within one record, and all totals."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.split.parts import PARTS, SplitOptions
from redheart.split.quotas import class_quotas, deal


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(4, 300), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), min_size=4, max_size=4),
)
def test_quotas_hold_in_each_class_and_in_all(sizes, weights) -> None:
    fractions = np.array(weights) / sum(weights)
    quotas = class_quotas({f"c{i}": size for i, size in enumerate(sizes)}, fractions)
    totals = sum(quotas.values())
    assert np.abs(totals - fractions * sum(sizes)).max() < 1
    for i, size in enumerate(sizes):
        assert quotas[f"c{i}"].sum() == size
        assert np.abs(quotas[f"c{i}"] - totals * size / sum(sizes)).max() < 1


classes = st.dictionaries(st.none() | st.text(max_size=3), st.integers(1, 40), min_size=1)


@given(classes, st.randoms(use_true_random=False))
def test_classes_of_1_to_3_fill_their_parts_and_the_others_make_up_for_it(sizes, random) -> None:
    fractions = np.array(SplitOptions().fractions)
    quotas = class_quotas(sizes, fractions)
    alone = {1: [1, 0, 0, 0], 2: [1, 0, 0, 1], 3: [1, 1, 0, 1]}
    small = {value: alone[size] for value, size in sizes.items() if size in alone}
    assert {value: quotas[value].tolist() for value in small} == small
    assert {value: quota.sum() for value, quota in quotas.items()} == sizes
    shared = [quotas[value] for value in sizes if value not in small]
    left = fractions * sum(sizes.values()) - sum(map(np.array, small.values()))
    if shared and (left >= 0).all():
        assert np.abs(sum(shared) - left).max() < 1
    items = list(sizes.items())
    random.shuffle(items)
    again = class_quotas(dict(items), fractions)
    assert {value: quota.tolist() for value, quota in again.items()} == {
        value: quota.tolist() for value, quota in quotas.items()
    }


def test_no_class_has_no_quota() -> None:
    assert class_quotas({}, SplitOptions().fractions) == {}


@given(
    st.integers(0, 5),
    st.lists(st.floats(-3, 5), min_size=4, max_size=4),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_no_other_deal_leaves_less_to_the_part_that_lags_most(count, lag, room) -> None:
    count = min(count, sum(room))
    dealt = deal(count, np.array(lag), np.array(room))
    assert dealt.sum() == count and (dealt <= room).all()

    def lags(deal):
        return sorted((lag[part] - given for part, given in enumerate(deal)), reverse=True)

    every = [d for d in product(*(range(most + 1) for most in room)) if sum(d) == count]
    assert max(lags(dealt)) <= min(max(lags(deal)) for deal in every) + 1e-8


def test_where_parts_lag_alike_train_is_the_last_to_get_one() -> None:
    room = np.ones(4, dtype=int)
    rounds = [deal(count, np.zeros(4), room).tolist() for count in range(5)]
    names = [[part for part, n in zip(PARTS, dealt, strict=True) if n] for dealt in rounds]
    assert [set(b) - set(a) for a, b in pairwise(names)] == [
        {"test"}, {"val_select"}, {"val_confirm"}, {"train"},
    ]  # fmt: skip
