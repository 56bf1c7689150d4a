"""The inner loops of the search for near-duplicates, compiled; see `search.Kernels`."""

from __future__ import annotations

import numpy as np
from numba import njit

from redheart.duplicates.index import Alphabet, Index, Pairs

# Pairs that share a text are compared this many at a time, side by side in SIMD registers.
LANES = 64
# Bits of a machine word.
WORD = 64

MatchMasks = tuple[np.ndarray, np.ndarray, np.ndarray, int]

compiled = njit(cache=True, nogil=True)


@compiled
def project(buckets: np.ndarray, first: int, stop: int, index: Index) -> None:
    """Count and reorder the characters of some texts."""
    alphabet = index.alphabet
    place = np.empty(alphabet.bounds.size - 1, np.int64)
    origin = index.starts[first, 0]
    for text in range(first, stop):
        begin = index.starts[text, 0]
        text_buckets = buckets[begin - origin : begin - origin + index.lengths[text]]
        _count(text_buckets, alphabet, index.bags[text], index.starts[text])
        place[:] = index.starts[text, :-1]
        for bucket in text_buckets:
            part = alphabet.part[bucket]
            index.symbols[place[part]] = alphabet.symbol[bucket]
            place[part] += 1


@compiled
def _count(buckets: np.ndarray, alphabet: Alphabet, bag: np.ndarray, starts: np.ndarray) -> None:
    bag[:] = 0
    starts[1:] = 0
    for bucket in buckets:
        bag[bucket] += 1
        starts[alphabet.part[bucket] + 1] += 1
    for part in range(1, starts.size):
        starts[part] += starts[part - 1]


@compiled
def candidates(index: Index, row: int, row_stop: int, column: int, column_stop: int) -> Pairs:
    """Return the pairs of a block whose bags allow a match."""
    size = (row_stop - row) * (column_stop - column)
    i, j, slack = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    count = 0
    for a in range(row, row_stop):
        bag = index.bags[a]
        for b in range(max(a + 1, column), min(index.reach[a], column_stop)):
            allowed = index.allowed[index.lengths[a] + index.lengths[b]]
            i[count], j[count] = a, b
            slack[count] = allowed - _bag_distance(bag, index.bags[b])
            count += slack[count] >= 0
    return i[:count], j[:count], slack[:count]


@compiled
def _bag_distance(a: np.ndarray, b: np.ndarray) -> np.int32:
    # Every intermediate is cast to int32: with wider ones LLVM finds no fast byte instructions.
    total = np.int32(0)
    for bucket in range(a.size):
        total = np.int32(total + np.int32(abs(np.int32(np.int8(a[bucket] - b[bucket])))))
    return total


@compiled
def narrow(index: Index, part: int, i: np.ndarray, j: np.ndarray, slack: np.ndarray) -> Pairs:
    """Return the pairs that still allow a match; the arrays i, j and slack are overwritten."""
    first, last = index.alphabet.bounds[part], index.alphabet.bounds[part + 1]
    column = j.min()
    masks = _match_masks(index, part, column, j.max() + 1)
    count = start = 0
    while start < i.size:
        stop = _group_stop(i, start)
        a = i[start]
        text = index.symbols[index.starts[a, part] : index.starts[a, part + 1]]
        common = _common_lengths(text, _interleaved(masks, j[start:stop] - column))
        for pair in range(start, stop):
            b = j[pair]
            size = text.size + index.starts[b, part + 1] - index.starts[b, part]
            distance = size - 2 * common[pair - start]
            bag_distance = _bag_distance(index.bags[a, first:last], index.bags[b, first:last])
            i[count], j[count] = a, b
            slack[count] = slack[pair] - max(0, distance - bag_distance)
            count += slack[count] >= 0
        start = stop
    return i[:count], j[:count], slack[:count]


@compiled
def _group_stop(i: np.ndarray, start: int) -> int:
    """Return where the run of pairs with the same first text ends, at most LANES further."""
    stop = start + 1
    while stop < min(start + LANES, i.size) and i[stop] == i[start]:
        stop += 1
    return stop


@compiled
def _match_masks(index: Index, part: int, column: int, column_stop: int) -> MatchMasks:
    """Return the places of every symbol in each restricted text, as bits.

    Returns
    -------
    masks : uint64 array; text after text its array [symbols, words].
    begin : int64 array; where the masks of each text begin.
    words : int64 array; words of each text.
    symbols : number of symbols of the part.
    """
    bounds, starts = index.alphabet.bounds, index.starts[column:column_stop]
    symbols = index.alphabet.symbol[bounds[part] : bounds[part + 1]].max() + 1
    words = (starts[:, part + 1] - starts[:, part] + WORD - 1) // WORD
    begin = np.zeros(words.size + 1, np.int64)
    begin[1:] = np.cumsum(words * symbols)
    masks = np.zeros(begin[-1], np.uint64)
    for text in range(words.size):
        for place in range(starts[text, part + 1] - starts[text, part]):
            symbol = index.symbols[starts[text, part] + place]
            word = begin[text] + symbol * words[text] + place // WORD
            masks[word] |= np.uint64(1) << np.uint64(place % WORD)
    return masks, begin, words, symbols


@compiled
def _interleaved(match_masks: MatchMasks, texts: np.ndarray) -> np.ndarray:
    """Return the masks of some texts side by side: uint64 [symbols, words, texts]."""
    masks, begin, words, symbols = match_masks
    begin, words = begin[texts], words[texts]
    lanes = np.zeros((symbols, words.max(), texts.size), np.uint64)
    for symbol in range(symbols):
        for word in range(lanes.shape[1]):
            for lane in range(texts.size):
                if word < words[lane]:
                    lanes[symbol, word, lane] = masks[begin[lane] + symbol * words[lane] + word]
    return lanes


@compiled
def _common_lengths(text: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the length of the longest common subsequence of a text and each lane's text.

    The bit-parallel algorithm of Hyyro (2004), "Bit-parallel LCS-length computation revisited",
    in all lanes at once. A zero bit in `unmatched` is a step of the subsequence.
    """
    _, words, lanes = masks.shape
    unmatched = np.full((words, lanes), ~np.uint64(0))
    carry = np.empty(lanes, np.uint64)
    for symbol in text:
        carry[:] = 0
        for word in range(words):
            _advance(unmatched[word], masks[symbol, word], carry)
    common = np.zeros(lanes, np.int64)
    for word in range(words):
        for lane in range(lanes):
            common[lane] += _bit_count(~unmatched[word, lane])
    return common


@compiled
def _advance(unmatched: np.ndarray, mask: np.ndarray, carry: np.ndarray) -> None:
    """Add a character of the text to one word of every lane."""
    for lane in range(carry.size):
        bits = unmatched[lane]
        matched = bits & mask[lane]
        total = bits + matched + carry[lane]
        carry[lane] = (matched | (bits & ~total)) >> np.uint64(WORD - 1)
        unmatched[lane] = total | (bits ^ matched)


@compiled
def _bit_count(bits: np.uint64) -> np.int64:
    bits -= (bits >> np.uint64(1)) & np.uint64(0x5555555555555555)
    low, high = bits, bits >> np.uint64(2)
    bits = (low & np.uint64(0x3333333333333333)) + (high & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))
