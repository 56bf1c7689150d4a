"""The inner loops of the search for near-duplicates in numpy; see `search.Kernels`."""

from __future__ import annotations

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

from redheart.duplicates.index import BUCKETS, NO_PAIRS, Index, Pairs, joined


def project(buckets: np.ndarray, first: int, stop: int, index: Index) -> None:
    """Count and reorder the characters of some texts."""
    alphabet = index.alphabet
    origin = index.starts[first, 0]
    for text in range(first, stop):
        start = index.starts[text, 0]
        text_buckets = buckets[start - origin : start - origin + index.lengths[text]]
        count = np.bincount(text_buckets, minlength=BUCKETS)
        index.bags[text] = count.astype(np.uint8)  # modulo 256
        index.starts[text, 1:] = start + np.cumsum(count)[alphabet.bounds[1:] - 1]
        by_part = text_buckets[np.argsort(alphabet.part[text_buckets], kind="stable")]
        index.symbols[start : start + len(text_buckets)] = alphabet.symbol[by_part]


def _bag_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the L1 distance of bags along the last axis; never more than the true distance.

    Counts are stored modulo 256. So the true difference of two counts is at least the shorter way
    round the circle.
    """
    difference = a - b
    return np.minimum(difference, -difference).sum(axis=-1, dtype=np.int32)


def candidates(index: Index, row: int, row_stop: int, column: int, column_stop: int) -> Pairs:
    """Return the pairs of a block whose bags allow a match."""
    lots = [NO_PAIRS]
    for text in range(row, row_stop):
        start, stop = max(text + 1, column), min(index.reach[text], column_stop)
        if start < stop:
            allowed = index.allowed[index.lengths[text] + index.lengths[start:stop]]
            slack = allowed - _bag_distance(index.bags[start:stop], index.bags[text])
            possible = np.flatnonzero(slack >= 0)
            lots.append((np.full(len(possible), text), start + possible, slack[possible]))
    return joined(lots)


def narrow(index: Index, part: int, i: np.ndarray, j: np.ndarray, slack: np.ndarray) -> Pairs:
    """Return the pairs that still allow a match."""

    def restricted(text: int) -> bytes:
        start, stop = index.starts[text, part : part + 2]
        return index.symbols[start:stop].tobytes()

    texts = {text: restricted(text) for text in np.union1d(i, j).tolist()}
    distance = process.cpdist(
        [texts[k] for k in i.tolist()],
        [texts[k] for k in j.tolist()],
        scorer=Indel.distance,
        dtype=np.int32,
    )
    buckets = slice(*index.alphabet.bounds[part : part + 2])
    bag_distance = _bag_distance(index.bags[i, buckets], index.bags[j, buckets])
    slack = slack - np.maximum(distance - bag_distance, 0)
    left = slack >= 0
    return i[left], j[left], slack[left]
