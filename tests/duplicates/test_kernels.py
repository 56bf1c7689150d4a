"""The inner loops, compiled and in numpy: what they count and bound, by loops over characters."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Indel
from related_texts import corpora, thresholds

from redheart.duplicates import search
from redheart.duplicates.index import BUCKETS, build_alphabet

quick = settings(max_examples=30)


@pytest.fixture(scope="module", params=["numba", "numpy"])
def kernels(request):
    return import_module(f"redheart.duplicates.kernels_{request.param}")


@pytest.fixture(scope="module")
def compiled():
    return import_module("redheart.duplicates.kernels_numba")


def sorted_texts(texts):
    return sorted(set(texts), key=len)


def index_of(texts, threshold, kernels):
    chosen = search.Kernels(kernels.project, kernels.candidates, kernels.narrow)
    return search._build_index(texts, threshold, chosen)


def restricted(texts):
    """Return each text part by part of the alphabet, as symbols, character by character."""
    bucket, alphabet = build_alphabet(texts)
    parts = range(len(alphabet.bounds) - 1)
    return [
        [
            [
                int(alphabet.symbol[bucket[ord(c)]])
                for c in text
                if alphabet.part[bucket[ord(c)]] == part
            ]
            for part in parts
        ]
        for text in texts
    ]


def bags(texts):
    """Return how many characters of each bucket each text has."""
    bucket, _ = build_alphabet(texts)
    counts = np.zeros((len(texts), BUCKETS), dtype=int)
    for number, text in enumerate(texts):
        for character in text:
            counts[number, bucket[ord(character)]] += 1
    return counts


@quick
@given(texts=corpora().map(sorted_texts))
def test_a_text_is_counted_and_restricted_as_by_a_loop(kernels, texts):
    assume(texts)
    index = index_of(texts, 0.8, kernels)
    assert (index.bags == bags(texts) % 256).all()
    for number, parts in enumerate(restricted(texts)):
        for part, symbols in enumerate(parts):
            start, stop = index.starts[number, part : part + 2]
            assert index.symbols[start:stop].tolist() == symbols


@quick
@given(texts=corpora().map(sorted_texts), threshold=thresholds, data=st.data())
def test_candidates_are_the_pairs_whose_bags_are_near_enough(kernels, texts, threshold, data):
    assume(texts)
    index, counts, count = index_of(texts, threshold, kernels), bags(texts), len(texts)
    row, column = (data.draw(st.integers(0, count)) for _ in range(2))
    row_stop, column_stop = (data.draw(st.integers(start, count)) for start in (row, column))
    expected = [
        (i, j, slack)
        for i in range(row, row_stop)
        for j in range(max(i + 1, column), min(int(index.reach[i]), column_stop))
        if (
            slack := int(index.allowed[len(texts[i]) + len(texts[j])])
            - int(abs(counts[i] - counts[j]).sum())
        )
        >= 0
    ]
    found = kernels.candidates(index, row, row_stop, column, column_stop)
    assert list(zip(*(of.tolist() for of in found), strict=True)) == expected


@quick
@given(texts=corpora().map(sorted_texts), threshold=thresholds)
def test_narrowing_puts_real_distances_in_the_place_of_bags(kernels, texts, threshold):
    """Part after part; and a pair that matches has room left after all of them."""
    assume(len(texts) > 1)
    index, counts, parts = index_of(texts, threshold, kernels), bags(texts), restricted(texts)
    pairs = kernels.candidates(index, 0, len(texts), 0, len(texts))
    expected = list(zip(*(of.tolist() for of in pairs), strict=True))
    bounds = index.alphabet.bounds
    for part in range(len(bounds) - 1):
        if not len(pairs[0]):
            break
        buckets = slice(bounds[part], bounds[part + 1])
        narrowed = []
        for i, j, slack in expected:
            distance = Indel.distance(parts[i][part], parts[j][part])
            bag = abs(counts[i, buckets] - counts[j, buckets]).sum()
            narrowed.append((i, j, slack - max(0, int(distance - bag))))
        expected = [pair for pair in narrowed if pair[2] >= 0]
        pairs = kernels.narrow(index, part, *pairs)
        assert list(zip(*(of.tolist() for of in pairs), strict=True)) == expected
    left = {(i, j) for i, j, _ in expected}
    for i in range(len(texts)):
        for j in range(i + 1, len(texts)):
            allowed = index.allowed[len(texts[i]) + len(texts[j])]
            if Indel.distance(texts[i], texts[j]) <= allowed:
                assert (i, j) in left


@given(st.integers(0, 2**64 - 1))
def test_bits_are_counted_as_python_counts_them(compiled, bits):
    assert compiled._bit_count(np.uint64(bits)) == bits.bit_count()


@given(st.lists(st.integers(0, 3), max_size=200), st.lists(st.integers(0, 3), max_size=200))
@settings(max_examples=30)
def test_the_common_length_is_that_of_the_longest_common_subsequence(compiled, a, b):
    """Over several words of 64 characters, by rapidfuzz: distance = both lengths - 2 * common."""
    words = max(1, -(-len(b) // 64))
    masks = np.zeros((4, words, 1), np.uint64)
    for place, symbol in enumerate(b):
        masks[symbol, place // 64, 0] |= np.uint64(1 << (place % 64))
    (common,) = compiled._common_lengths(np.array(a, np.uint8), masks)
    assert len(a) + len(b) - 2 * common == Indel.distance(a, b)
