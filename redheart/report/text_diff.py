"""What differs between two texts, character by character, for people to read."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

# Characters that stay visible on each side of a change.
CONTEXT = 40
# A hidden run shorter than this would take as much room as the words that stand in its place.
SHORTEST_GAP = 30

# From where to where in the first text, and in the second.
Change = tuple[int, int, int, int]


class Piece(NamedTuple):
    """A stretch of the two texts."""

    kind: Literal["equal", "gap", "delete", "insert"]
    """gap: an equal run that is left out; delete and insert: only in the first, in the second."""
    text: str
    """Its characters; of a gap, how many there are, in words."""


def text_diff(first: str, second: str) -> list[Piece]:
    """Return how one text becomes the other, in order; long unchanged runs are left out.

    The edit script is a shortest one of insertions and deletions. Letters that two rewritten words
    share by chance make it unreadable, so an unchanged run that is no longer than the changes on
    both its sides becomes part of them (Fraser, diff-match-patch, semantic cleanup).

    Returns
    -------
    Within a change the deletion comes first. Without the gaps, the pieces give back either text:
    the first is made of those equal and deleted, the second of those equal and inserted.
    """
    pieces: list[Piece] = []
    end = 0
    for a, b, c, d in _changes(first, second):
        pieces += _unchanged(first[end:a], before=bool(pieces), after=True)
        pieces += [Piece("delete", first[a:b])] if b > a else []
        pieces += [Piece("insert", second[c:d])] if d > c else []
        end = b
    return pieces + _unchanged(first[end:], before=bool(pieces), after=False)


def as_words(pieces: list[Piece]) -> str:
    """Return a diff as plain text, marked like those of `git diff --word-diff`."""
    marks = {"equal": "{}", "gap": " [{}] ", "delete": "[-{}-]", "insert": "{{+{}+}}"}
    return "".join(marks[kind].format(text) for kind, text in pieces)


def _changes(first: str, second: str) -> list[Change]:
    changes: list[Change] = []
    for code in Indel.opcodes(first, second):
        if code.tag == "equal":
            continue
        change = (code.src_start, code.src_end, code.dest_start, code.dest_end)
        while changes and change[0] - changes[-1][1] <= min(_size(change), _size(changes[-1])):
            last = changes.pop()
            change = (last[0], change[1], last[2], change[3])
        changes.append(change)
    return changes


def _size(change: Change) -> int:
    return max(change[1] - change[0], change[3] - change[2])


def _unchanged(text: str, before: bool, after: bool) -> list[Piece]:
    """Return an equal run, without what is far from the change before and the one after it."""
    head, tail = CONTEXT * (before or not after), CONTEXT * after
    hidden = len(text) - head - tail
    if hidden < SHORTEST_GAP:
        return [Piece("equal", text)] if text else []
    pieces = [
        Piece("equal", text[:head]),
        Piece("gap", f"{hidden:,} characters"),
        Piece("equal", text[len(text) - tail :]),
    ]
    return [piece for piece in pieces if piece.text]
