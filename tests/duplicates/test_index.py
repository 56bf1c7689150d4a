"""Texts as the filters see them: which are too long for each other, batches, the alphabet."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from related_texts import ALPHABETS

from redheart.duplicates import index
from redheart.errors import UserError

texts_of_any_script = st.lists(
    st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, min_size=1, max_size=60)),
    min_size=1,
    max_size=30,
)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(50, 100))
def test_the_reach_ends_where_lengths_alone_exclude_a_match(lengths, percent):
    """Texts of lengths a <= b match at best where they differ by b - a: 2a / (a + b)."""
    lengths = sorted(lengths)
    reach = index.reach(np.array(lengths), percent / 100)
    for i, a in enumerate(lengths):
        possible = [j for j, b in enumerate(lengths) if Fraction(2 * a, a + b) * 100 >= percent]
        assert reach[i] == max(possible) + 1 > i


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=9)), st.integers(1, 20))
def test_batches_hold_all_code_points_in_order(texts, characters):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "ENCODING_CHARACTERS", characters)
        batches = list(index.code_point_batches(texts))
    bounds = [0, *(stop for _, stop, _ in batches)]
    assert [(first, stop) for first, stop, _ in batches] == list(pairwise(bounds))
    assert bounds[-1] == len(texts)
    for first, stop, points in batches:
        assert points.tolist() == [ord(c) for text in texts[first:stop] for c in text]
        # A batch is done with the text that fills it.
        assert sum(map(len, texts[first : stop - 1])) < characters


def test_half_a_character_is_named():
    with pytest.raises(UserError, match=r"a text holds the lone surrogate U\+DC80"):
        list(index.code_point_batches(["a", "b\udc80"]))


@given(texts_of_any_script)
def test_the_alphabet_is_divided_and_its_frequent_characters_stand_alone(texts):
    bucket, alphabet = index.build_alphabet(texts)
    bounds = alphabet.bounds.tolist()
    assert bounds[0] == 0 and bounds[-1] == index.BUCKETS == len(alphabet.part)
    assert bounds == sorted(set(bounds))
    for part, (first, stop) in enumerate(pairwise(bounds)):
        assert (alphabet.part[first:stop] == part).all()
        expected = np.arange(stop - first) % index.SYMBOLS
        assert alphabet.symbol[first:stop].tolist() == expected.tolist()
        assert stop - first >= index.PART_BUCKETS or stop == index.BUCKETS
    letters = sorted({c for text in texts for c in text})
    together = "".join(texts)
    if len(letters) <= index.BUCKETS:
        assert len({int(bucket[ord(c)]) for c in letters}) == len(letters)
    most = max(letters, key=lambda c: (together.count(c), -ord(c)))
    assert bucket[ord(most)] == index.BUCKETS - 1


def test_pairs_are_joined_in_their_order():
    one = tuple(np.array([k]) for k in (1, 2, 3))
    lots = [index.NO_PAIRS, one, index.NO_PAIRS, tuple(of * 10 for of in one)]
    assert [of.tolist() for of in index.joined(lots)] == [[1, 10], [2, 20], [3, 30]]
