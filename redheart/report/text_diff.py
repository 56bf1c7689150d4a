"""The difference of two texts, character by character, for people to read."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rapidfuzz.distance import Indel

# Characters that stay visible on each side of a change.
CONTEXT = 40
# A run shorter than this is shown: the words that replace a hidden run would be as long.
SHORTEST_GAP = 30

# Start and end in the first text, then start and end in the second.
Change = tuple[int, int, int, int]


class Piece(NamedTuple):
    """A stretch of the two texts."""

    kind: Literal["equal", "gap", "delete", "insert"]
    """gap: an equal run, left out; delete: only in the first text; insert: only in the second."""
    text: str
    """Its characters; for a gap, their number in words."""


def text_diff(first: str, second: str) -> list[Piece]:
    """Return the pieces that turn one text into the other; long unchanged runs are left out.

    The edit script is a shortest script of insertions and deletions. Two rewritten words share some
    letters by chance, which makes such a script unreadable. So an unchanged run becomes part of the
    changes on both its sides if it is no longer than either of them (Fraser, diff-match-patch,
    semantic cleanup).

    Returns
    -------
    The pieces in order; within a change the deletion comes first. If there is no gap, the equal and
    deleted pieces make the first text, and the equal and inserted pieces make the second.
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
    """Return a diff as plain text, marked as in `git diff --word-diff`."""
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
    """Return an equal run, without the text far from the change before and the change after it."""
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
