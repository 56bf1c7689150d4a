"""Texts as the filters of the search see them: lengths, bags of characters, restrictions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from redheart.errors import UserError

# Characters are counted in this many buckets (at most 256).
BUCKETS = 64
# A part of the alphabet has at least this share of all characters and this many buckets.
PART_SHARE = 1 / 12
PART_BUCKETS = 3
# Every 16th bucket of a part counts as the same symbol, so that no part has many symbols.
SYMBOLS = 16
# The frequencies of the characters come from about this many texts, cut to this many characters.
SAMPLED_TEXTS = 1000
SAMPLED_CHARACTERS = 4096
# Texts are encoded in batches of this many characters, 4 bytes each.
ENCODING_CHARACTERS = 1 << 22

# More than any rounding error of (1 - threshold) * length, less than an edit.
ROUNDING = 1e-6

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
NO_PAIRS: Pairs = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


class Alphabet(NamedTuple):
    """The characters in buckets, from rare to frequent, and the buckets in parts."""

    bounds: np.ndarray
    """int64 [parts + 1]: part p is the buckets bounds[p] to bounds[p + 1]."""
    part: np.ndarray
    """uint8 [BUCKETS]: the part of each bucket."""
    symbol: np.ndarray
    """uint8 [BUCKETS]: the symbol that stands for a bucket within its part, below SYMBOLS."""


class Index(NamedTuple):
    """Texts, sorted by length, as the filters see them."""

    alphabet: Alphabet
    """The alphabet; a restricted text keeps the characters of one of its parts."""
    reach: np.ndarray
    """int64 [n]: for each text, the first of the later texts that is too long to match."""
    lengths: np.ndarray
    """int32 [n]: characters of each text."""
    allowed: np.ndarray
    """int32 [2 * longest + 1]: D, the largest distance of a match, by the sum of the lengths."""
    bags: np.ndarray
    """uint8 [n, BUCKETS]: characters of each text by bucket, modulo 256."""
    symbols: np.ndarray
    """uint8 [characters]: text after text, its restriction to part 0, to part 1, ..."""
    starts: np.ndarray
    """int64 [n, parts + 1]: where these restrictions begin and end in `symbols`."""


def reach(lengths: np.ndarray, threshold: float) -> np.ndarray:
    """Return, for each of the sorted lengths, where the lengths begin that are too long for it."""
    return np.searchsorted(lengths, lengths * (2 - threshold) / threshold + ROUNDING, "right")


def joined(pairs: Sequence[Pairs]) -> Pairs:
    """Return several lots of pairs as one."""
    i, j, value = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return i, j, value


def code_point_batches(texts: list[str]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (first, stop, the code points of texts first...stop in a row), batch by batch."""
    first = characters = 0
    for stop, text in enumerate(texts, 1):
        characters += len(text)
        if characters >= ENCODING_CHARACTERS or stop == len(texts):
            yield first, stop, _encoded("".join(texts[first:stop]))
            first, characters = stop, 0


def _encoded(text: str) -> np.ndarray:
    try:
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)
    except UnicodeEncodeError as error:
        surrogate = f"U+{ord(text[error.start]):04X}"
        raise UserError(
            f"a text holds the lone surrogate {surrogate}: reject it before looking for duplicates"
        ) from None


def build_alphabet(texts: list[str]) -> tuple[np.ndarray, Alphabet]:
    """Return the bucket of every code point (uint8) and the alphabet that the buckets form.

    The most frequent characters get a bucket each; the most frequent of all gets the last bucket.
    The rarer characters fill the buckets back and forth, so that the buckets stay balanced in a
    script of thousands of characters.
    """
    sample = texts[:: 1 + len(texts) // SAMPLED_TEXTS]
    counts = np.bincount(_encoded("".join(text[:SAMPLED_CHARACTERS] for text in sample)))
    # Characters that the sample lacks are spread evenly.
    bucket = np.resize(np.arange(BUCKETS, dtype=np.uint8), sys.maxunicode + 1)
    used = np.flatnonzero(counts)
    used = used[np.argsort(-counts[used], kind="stable")]
    turn, place = np.divmod(np.arange(len(used)), BUCKETS)
    bucket[used] = np.where(turn % 2 == 0, BUCKETS - 1 - place, place)

    shares = np.bincount(bucket[used], weights=counts[used] / counts.sum(), minlength=BUCKETS)
    bounds = [0]
    for stop in range(1, BUCKETS + 1):
        share, size = shares[bounds[-1] : stop].sum(), stop - bounds[-1]
        if stop == BUCKETS or (share >= PART_SHARE and size >= PART_BUCKETS):
            bounds.append(stop)
    part = np.repeat(np.arange(len(bounds) - 1, dtype=np.uint8), np.diff(bounds))
    symbol = (np.arange(BUCKETS) - np.array(bounds)[part]) % SYMBOLS
    return bucket, Alphabet(np.array(bounds), part, symbol.astype(np.uint8))
