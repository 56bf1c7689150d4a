"""Every pair of near-duplicate texts, exactly, without comparing every pair.

Two texts match when ``rapidfuzz.fuzz.ratio(a, b) >= 100 * threshold``, that is, when one turns
into the other by at most ``D = (1 - threshold) * (len(a) + len(b))`` insertions and deletions
(their Indel distance d). What cannot match is discarded by ever better lower bounds of d:

1. Length: every edit changes it by one, so ``d >= |len(a) - len(b)|``. Sorted by length, a text
   has to be compared with a window of the texts that follow it.
2. Bag of characters: every edit touches one character, so ``d >= L1(bag(a), bag(b))``, also
   where several characters share a bucket.
3. Restriction: keep of both texts the characters of one part of the alphabet only. An edit
   touches one part, so the distances of the restricted texts add up to at most d, and each is
   at least the L1 of its own buckets. So the L1 of one part after the other is replaced by the
   real distance, from the rarest characters on: they make short texts, which cost little (the
   square of the length), of many letters, which tell much.

rapidfuzz has the last word on what survives, so the answer is the brute force's by definition.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz, process
from rapidfuzz.distance import Indel

from redheart.errors import UserError

# These decide the speed alone; the answer is the same for any of their values.

# Characters are counted in so many buckets (at most 256).
BUCKETS = 64
# A part of the alphabet has at least this share of all characters and this many buckets ...
PART_SHARE = 1 / 12
PART_BUCKETS = 3
# ... of which every 16th counts as the same symbol, so that no part has many.
SYMBOLS = 16
# The frequencies of the characters come from about so many texts, cut to so many characters.
SAMPLED_TEXTS = 1000
SAMPLED_CHARACTERS = 4096
# Texts are encoded in batches of so many characters, 4 bytes each.
ENCODING_CHARACTERS = 1 << 22
# Pairs are tried in blocks of so many texts by so many, which bounds the memory.
BLOCK_ROWS = 512
BLOCK_COLUMNS = 2048

# The least threshold of a search: below it, texts without anything in common match.
LOWEST_THRESHOLD = 0.5

# More than any rounding error of (1 - threshold) * length, less than an edit.
ROUNDING = 1e-6
# More than the rounding error of a float32 near 100.
CUTOFF_MARGIN = 1e-3

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
    """Of which the restricted texts keep one part each."""
    reach: np.ndarray
    """int64 [n]: the texts from this one on are too long to match."""
    lengths: np.ndarray
    """int32 [n]: characters of each text."""
    allowed: np.ndarray
    """int32 [2 * longest + 1]: D, the largest distance of a match, by the sum of the lengths."""
    bags: np.ndarray
    """uint8 [n, BUCKETS]: characters of each text by bucket, modulo 256."""
    symbols: np.ndarray
    """uint8 [characters]: of every text, its restriction to part 0, to part 1, ..."""
    starts: np.ndarray
    """int64 [n, parts + 1]: where these restrictions begin and end in `symbols`."""


@dataclass(frozen=True)
class Kernels:
    """The inner loops, in numpy or compiled; all implementations give the same values."""

    project: Callable[[np.ndarray, int, int, Index], None]
    """(buckets, first, stop, index): fill in bags, symbols and starts of the texts first...stop."""
    candidates: Callable[[Index, int, int, int, int], Pairs]
    """(index, row, row_stop, column, column_stop): pairs (i, j, slack) that the bags allow."""
    narrow: Callable[[Index, int, np.ndarray, np.ndarray, np.ndarray], Pairs]
    """(index, part, i, j, slack): the pairs that the part's real distance allows as well."""


def near_duplicate_pairs(
    texts: Sequence[str],
    threshold: float = 0.92,
    workers: int | None = None,
    compiled: bool = True,
) -> Pairs:
    """Find all pairs of texts whose similarity reaches a threshold.

    The answer equals that of comparing all pairs; there is no false match and none is missed.

    Parameters
    ----------
    texts
        Texts, none of them empty.
    threshold
        Least similarity of a pair, 0.5 to 1. Below about 0.75 the filters let most pairs of
        similar length pass, and the time is that of rapidfuzz.
    workers
        Threads; by default one for each CPU of this process.
    compiled
        Use the kernels compiled by numba if it is installed; otherwise those in numpy.

    Returns
    -------
    i, j : int64 arrays
        Positions in `texts`, i < j, sorted by (i, j).
    similarity : float64 array
        ``rapidfuzz.fuzz.ratio`` of each pair, divided by 100.

    Raises
    ------
    UserError
        The threshold is out of range, or a text is empty or cannot be encoded.
    """
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise UserError(f"similarity threshold {threshold}: expected {LOWEST_THRESHOLD} to 1")
    copies: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        copies.setdefault(text, []).append(position)
    if "" in copies:
        raise UserError("a text is empty: reject it before looking for duplicates")
    distinct = sorted(copies, key=len)
    kernels = _compiled_kernels() if compiled else NUMPY
    matches = _distinct_matches(distinct, threshold, workers or _cpus(), kernels)
    return _with_copies([copies[text] for text in distinct], *matches)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _compiled_kernels() -> Kernels:
    # Imported here: numba takes a third of a second, which only a search should cost.
    try:
        from redheart import near_duplicates_numba
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        return NUMPY
    return Kernels(
        near_duplicates_numba.project,
        near_duplicates_numba.candidates,
        near_duplicates_numba.narrow,
    )


# The search


def _distinct_matches(texts: list[str], threshold: float, workers: int, kernels: Kernels) -> Pairs:
    """Return the matches among distinct texts that are sorted by length."""
    if len(texts) < 2:
        return NO_PAIRS
    index = _build_index(texts, threshold, kernels)
    survivors = _survivors(index, workers, kernels)
    matches = [_verified(texts, i, j, threshold, workers) for i, j in survivors if len(i)]
    return _joined([NO_PAIRS, *matches])


def _joined(pairs: list[Pairs]) -> Pairs:
    i, j, value = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return i, j, value


def _survivors(
    index: Index, workers: int, kernels: Kernels
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs that no filter discards, one block of pairs after the other."""

    def filtered(block: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        i, j, slack = kernels.candidates(index, *block)
        for part in range(len(index.alphabet.bounds) - 1):
            if not len(i):
                break
            i, j, slack = kernels.narrow(index, part, i, j, slack)
        return i, j

    executor = ThreadPoolExecutor(workers)
    try:
        yield from executor.map(filtered, _blocks(index.reach))
    finally:
        executor.shutdown(cancel_futures=True)


def _blocks(reach: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Yield (row, row_stop, column, column_stop): together they hold every pair in reach."""
    for row in range(0, len(reach), BLOCK_ROWS):
        row_stop = min(row + BLOCK_ROWS, len(reach))
        end = int(reach[row_stop - 1])
        for column in range(row, end, BLOCK_COLUMNS):
            yield row, row_stop, column, min(column + BLOCK_COLUMNS, end)


def _verified(
    texts: list[str], i: np.ndarray, j: np.ndarray, threshold: float, workers: int
) -> Pairs:
    # The cutoff lets rapidfuzz stop early. It is lowered because cpdist rounds it to a float32,
    # which may be above a pair that ties with the threshold.
    ratio = process.cpdist(
        [texts[k] for k in i.tolist()],
        [texts[k] for k in j.tolist()],
        scorer=fuzz.ratio,
        score_cutoff=100 * threshold - CUTOFF_MARGIN,
        dtype=np.float64,
        workers=workers,
    )
    match = ratio >= 100 * threshold
    return i[match], j[match], ratio[match] / 100


def _with_copies(
    copies: list[list[int]], i: np.ndarray, j: np.ndarray, similarity: np.ndarray
) -> Pairs:
    """Turn pairs of distinct texts into pairs of positions: all copies match what one matches."""
    across_i, across_j, pair = _copies_of_pairs(copies, i, j)
    within_i, within_j = _pairs_of_copies(copies)
    one = np.concatenate([across_i, within_i])
    other = np.concatenate([across_j, within_j])
    similarity = np.concatenate([similarity[pair], np.ones(len(within_i))])
    i, j = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((j, i))
    return i[order], j[order], similarity[order]


def _copies_of_pairs(copies: list[list[int]], i: np.ndarray, j: np.ndarray) -> Pairs:
    """Return each copy of i[k] with each copy of j[k], and k."""
    position = np.array([position for members in copies for position in members], dtype=np.int64)
    count = np.array([len(members) for members in copies], dtype=np.int64)
    first = np.cumsum(count) - count
    pair = np.repeat(np.arange(len(i)), count[i] * count[j])
    i, j = i[pair], j[pair]
    nth = np.arange(len(pair)) - np.searchsorted(pair, pair)
    return position[first[i] + nth // count[j]], position[first[j] + nth % count[j]], pair


def _pairs_of_copies(copies: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair of copies of the same text."""
    found = [NO_PAIRS[:2]]
    for members in map(np.array, copies):
        if len(members) > 1:
            one, other = np.triu_indices(len(members), 1)
            found.append((members[one], members[other]))
    i, j = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return i, j


# The index


def _build_index(texts: list[str], threshold: float, kernels: Kernels) -> Index:
    lengths = np.array([len(text) for text in texts], dtype=np.int32)
    length_sums = np.arange(2 * int(lengths[-1]) + 1)
    bucket, alphabet = _alphabet(texts)
    index = Index(
        alphabet=alphabet,
        reach=np.searchsorted(lengths, lengths * (2 - threshold) / threshold + ROUNDING, "right"),
        lengths=lengths,
        allowed=((1 - threshold) * length_sums + ROUNDING).astype(np.int32),
        bags=np.empty((len(texts), BUCKETS), np.uint8),
        symbols=np.empty(lengths.sum(dtype=np.int64), np.uint8),
        starts=np.empty((len(texts), len(alphabet.bounds)), np.int64),
    )
    index.starts[:, 0] = np.cumsum(lengths, dtype=np.int64) - lengths
    for first, stop, code_points in _code_points(texts):
        kernels.project(bucket[code_points], first, stop, index)
    return index


def _code_points(texts: list[str]) -> Iterator[tuple[int, int, np.ndarray]]:
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


def _alphabet(texts: list[str]) -> tuple[np.ndarray, Alphabet]:
    """Return the bucket of every code point (uint8) and what becomes of the buckets.

    The most frequent characters get a bucket each, the most frequent one the last; the others
    follow back and forth, so that the buckets stay balanced where characters are thousands.
    """
    sample = texts[:: 1 + len(texts) // SAMPLED_TEXTS]
    counts = np.bincount(_encoded("".join(text[:SAMPLED_CHARACTERS] for text in sample)))
    # What the sample lacks is spread evenly.
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


# The kernels in numpy


def _project(buckets: np.ndarray, first: int, stop: int, index: Index) -> None:
    alphabet = index.alphabet
    origin = index.starts[first, 0]
    for text in range(first, stop):
        start = index.starts[text, 0]
        own = buckets[start - origin : start - origin + index.lengths[text]]
        count = np.bincount(own, minlength=BUCKETS)
        index.bags[text] = count.astype(np.uint8)  # modulo 256
        index.starts[text, 1:] = start + np.cumsum(count)[alphabet.bounds[1:] - 1]
        by_part = own[np.argsort(alphabet.part[own], kind="stable")]
        index.symbols[start : start + len(own)] = alphabet.symbol[by_part]


def _bag_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the L1 distance of bags along the last axis; never more than the true one.

    Counts are known modulo 256, so the difference of two is at least the way round the circle.
    """
    difference = a - b
    return np.minimum(difference, -difference).sum(axis=-1, dtype=np.int32)


def _candidates(index: Index, row: int, row_stop: int, column: int, column_stop: int) -> Pairs:
    found = [NO_PAIRS]
    for text in range(row, row_stop):
        start, stop = max(text + 1, column), min(index.reach[text], column_stop)
        if start < stop:
            allowed = index.allowed[index.lengths[text] + index.lengths[start:stop]]
            slack = allowed - _bag_distance(index.bags[start:stop], index.bags[text])
            possible = np.flatnonzero(slack >= 0)
            found.append((np.full(len(possible), text), start + possible, slack[possible]))
    return _joined(found)


def _narrow(index: Index, part: int, i: np.ndarray, j: np.ndarray, slack: np.ndarray) -> Pairs:
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
    known = _bag_distance(index.bags[i, buckets], index.bags[j, buckets])
    slack = slack - np.maximum(distance - known, 0)
    left = slack >= 0
    return i[left], j[left], slack[left]


NUMPY = Kernels(_project, _candidates, _narrow)
