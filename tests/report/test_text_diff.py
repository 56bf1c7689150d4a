"""The diff of two texts: it is true of both, and it can be read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.report.text_diff import CONTEXT, SHORTEST_GAP, Piece, as_words, text_diff

texts = st.text(st.sampled_from("ab 한글\n<é"), max_size=30)


@given(first=texts, second=texts)
def test_the_pieces_make_both_texts(first, second):
    pieces = text_diff(first, second)
    assert "".join(t for kind, t in pieces if kind in ("equal", "delete")) == first
    assert "".join(t for kind, t in pieces if kind in ("equal", "insert")) == second
    assert all(text for _, text in pieces)
    assert all(a.kind != b.kind for a, b in pairwise(pieces))


@given(
    st.text("ab", min_size=200, max_size=300),
    st.lists(st.integers(0, 299), max_size=3),
    st.sampled_from(["X", "한글", ""]),
)
def test_a_gap_hides_only_what_is_equal_and_says_how_much(first, places, new):
    second = first
    for place in places:
        second = second[:place] + new + second[place + 1 :]
    pieces = text_diff(first, second)
    shown = {kind: sum(len(t) for k, t in pieces if k == kind) for kind in ("equal", "delete")}
    hidden = [int(text.split()[0]) for kind, text in pieces if kind == "gap"]
    assert shown["equal"] + shown["delete"] + sum(hidden) == len(first)
    assert all(count >= SHORTEST_GAP for count in hidden)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("colour", "color", "colo[-u-]r"),
        ("was long", "took long", "[-was-]{+took+} long"),
        ("학교에서 만났다", "도서관에서 만났다", "[-학교-]{+도서관+}에서 만났다"),
        ("telling lies", "speaking truth", "[-telling lies-]{+speaking truth+}"),
        ("", "all new", "{+all new+}"),
        ("gone", "", "[-gone-]"),
        ("", "", ""),
    ],
)
def test_a_rewritten_word_is_one_change(first, second, words):
    assert as_words(text_diff(first, second)) == words


def test_long_unchanged_runs_are_left_out_around_changes():
    run = "".join(chr(ord("a") + k % 26) for k in range(1500))
    assert text_diff(f"{run}X{run}Y{run}", f"{run}{run}Z{run}") == [
        Piece("gap", "1,460 characters"),
        Piece("equal", run[-CONTEXT:]),
        Piece("delete", "X"),
        Piece("equal", run[:CONTEXT]),
        Piece("gap", "1,420 characters"),
        Piece("equal", run[-CONTEXT:]),
        Piece("delete", "Y"),
        Piece("insert", "Z"),
        Piece("equal", run[:CONTEXT]),
        Piece("gap", "1,460 characters"),
    ]


def test_of_identical_texts_the_beginning_is_shown():
    assert text_diff("same" * 100, "same" * 100) == [
        Piece("equal", "same" * 10),
        Piece("gap", "360 characters"),
    ]
