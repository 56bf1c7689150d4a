"""Every pair of near-duplicate texts, exactly, without comparing every pair.

Two texts match when ``rapidfuzz.fuzz.ratio(a, b) >= 100 * threshold``, that is, when one turns
into the other by at most ``D = (1 - threshold) * (len(a) + len(b))`` insertions and deletions
(their Indel distance d). Ever better lower bounds of d discard the pairs that cannot match:

1. Length: every edit changes it by one, so ``d >= |len(a) - len(b)|``. Sorted by length, a text
   has to be compared with a window of the texts that follow it.
2. Bag of characters: every edit touches one character, so ``d >= L1(bag(a), bag(b))``, also
   where several characters share a bucket.
3. Restriction: keep only the characters of one part of the alphabet in both texts. An edit
   touches one part, so the distances of the restricted texts add up to at most d. The distance
   in a part is at least the L1 of the part's buckets. So the real distance replaces the L1 in one
   part after the other, from the rarest characters on. Rare characters make short texts, which
   cost little (the square of the length), of many different letters, which tell much.

rapidfuzz judges every pair that survives, so the answer equals the brute force's by definition.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

import numpy as np
from rapidfuzz import fuzz, process

from redheart.duplicates.index import (
    BUCKETS,
    NO_PAIRS,
    ROUNDING,
    Index,
    Pairs,
    build_alphabet,
    code_point_batches,
    joined,
    reach,
)
from redheart.errors import UserError

# Pairs are searched in blocks of this many texts by this many, which bounds the memory.
BLOCK_ROWS = 512
BLOCK_COLUMNS = 2048
# This many blocks a worker are submitted before the matches of the oldest block are fetched.
BLOCKS_AHEAD = 4
# A block's candidates are narrowed, and then judged by rapidfuzz, in lots of this many. After each
# lot a thread checks whether it must stop.
NARROWED_PAIRS = 1 << 16
VERIFIED_PAIRS = 1 << 10

# The least threshold of a search: below it, texts without anything in common match.
LOWEST_THRESHOLD = 0.5

# More than the rounding error of a float32 near 100.
CUTOFF_MARGIN = 1e-3

T = TypeVar("T")
Block = tuple[int, int, int, int]


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

    The answer equals that of comparing all pairs: no match is false, and no match is missed.

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
    copies: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        copies.setdefault(text, []).append(position)
    distinct = sorted(copies, key=len)
    matches = matches_by_length(distinct, threshold, len(distinct), workers, compiled)
    return _with_copies([copies[text] for text in distinct], *matches)


def matches_by_length(
    texts: list[str],
    threshold: float,
    rows: int,
    workers: int | None = None,
    compiled: bool = True,
) -> Pairs:
    """Find the matches of each of the first `rows` texts with the texts behind it.

    The texts are distinct and sorted by length. The other parameters are those of
    `near_duplicate_pairs`.

    Returns
    -------
    As `near_duplicate_pairs`, but in no particular order.

    Raises
    ------
    UserError
        As `near_duplicate_pairs`.
    """
    check_threshold(threshold)
    if texts and not texts[0]:
        raise UserError("a text is empty: reject it before looking for duplicates")
    if len(texts) < 2:
        return NO_PAIRS
    kernels = _kernels(compiled)
    index = _build_index(texts, threshold, kernels)
    return joined([NO_PAIRS, *_matches(texts, index, rows, threshold, workers or _cpus(), kernels)])


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no search takes, by a UserError."""
    if not LOWEST_THRESHOLD <= threshold <= 1:
        raise UserError(f"similarity threshold {threshold}: expected {LOWEST_THRESHOLD} to 1")


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _kernels(compiled: bool) -> Kernels:
    # Imported here: numba takes a third of a second, which only a search should cost.
    from redheart.duplicates import kernels_numpy

    module: ModuleType = kernels_numpy
    if compiled:
        try:
            from redheart.duplicates import kernels_numba

            module = kernels_numba
        except ModuleNotFoundError as error:
            if error.name != "numba":
                raise
    return Kernels(module.project, module.candidates, module.narrow)


def _matches(
    texts: list[str], index: Index, rows: int, threshold: float, workers: int, kernels: Kernels
) -> Iterator[Pairs]:
    """Yield the matches of one block of pairs after the other."""
    stopped = threading.Event()

    def search(block: Block) -> Pairs:
        candidates = kernels.candidates(index, *block)
        return joined([NO_PAIRS, *map(judge, _lots(candidates, NARROWED_PAIRS))])

    def judge(lot: tuple[np.ndarray, ...]) -> Pairs:
        i, j, slack = lot
        for part in range(len(index.alphabet.bounds) - 1):
            if stopped.is_set() or not len(i):
                return NO_PAIRS
            i, j, slack = kernels.narrow(index, part, i, j, slack)
        return _verified(texts, i, j, threshold, stopped)

    yield from _in_order(search, _blocks(index.reach[:rows]), workers, stopped)


def _in_order(
    function: Callable[[Block], T],
    blocks: Iterable[Block],
    workers: int,
    stopped: threading.Event,
) -> Iterator[T]:
    """Yield function(block) of each block; at most BLOCKS_AHEAD blocks a worker are in flight.

    `ThreadPoolExecutor.map` would submit all blocks at once and hold all results in memory.
    `stopped` is set at the end, also at an end by an error or Ctrl-C.
    """
    executor = ThreadPoolExecutor(workers)
    running: deque[Future[T]] = deque()
    try:
        for block in blocks:
            running.append(executor.submit(function, block))
            if len(running) == BLOCKS_AHEAD * workers:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        stopped.set()
        executor.shutdown(cancel_futures=True)


def _blocks(reach: np.ndarray) -> Iterator[Block]:
    """Yield (row, row_stop, column, column_stop); the blocks together hold every pair in reach."""
    for row in range(0, len(reach), BLOCK_ROWS):
        row_stop = min(row + BLOCK_ROWS, len(reach))
        end = int(reach[row_stop - 1])
        for column in range(row, end, BLOCK_COLUMNS):
            yield row, row_stop, column, min(column + BLOCK_COLUMNS, end)


def _lots(columns: tuple[np.ndarray, ...], size: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the columns in lots of at most `size` rows."""
    for start in range(0, len(columns[0]), size):
        yield tuple(column[start : start + size] for column in columns)


def _verified(
    texts: list[str], i: np.ndarray, j: np.ndarray, threshold: float, stopped: threading.Event
) -> Pairs:
    lots = [NO_PAIRS]
    for first, second in _lots((i, j), VERIFIED_PAIRS):
        if stopped.is_set():
            break
        # The cutoff lets rapidfuzz stop early. It is lowered because cpdist rounds it to a
        # float32, which may be above a pair that ties with the threshold.
        ratio = process.cpdist(
            [texts[k] for k in first.tolist()],
            [texts[k] for k in second.tolist()],
            scorer=fuzz.ratio,
            score_cutoff=100 * threshold - CUTOFF_MARGIN,
            dtype=np.float64,
        )
        match = ratio >= 100 * threshold
        lots.append((first[match], second[match], ratio[match] / 100))
    return joined(lots)


def _with_copies(
    copies: list[list[int]], i: np.ndarray, j: np.ndarray, similarity: np.ndarray
) -> Pairs:
    """Turn pairs of distinct texts into pairs of positions: copies of a text match alike."""
    across_i, across_j, pair = _copies_of_pairs(copies, i, j)
    within_i, within_j = _pairs_of_copies(copies)
    first = np.concatenate([across_i, within_i])
    second = np.concatenate([across_j, within_j])
    similarity = np.concatenate([similarity[pair], np.ones(len(within_i))])
    i, j = np.minimum(first, second), np.maximum(first, second)
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
    pairs = [NO_PAIRS[:2]]
    for members in map(np.array, copies):
        if len(members) > 1:
            first, second = np.triu_indices(len(members), 1)
            pairs.append((members[first], members[second]))
    i, j = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return i, j


def _build_index(texts: list[str], threshold: float, kernels: Kernels) -> Index:
    lengths = np.fromiter(map(len, texts), np.int32)
    length_sums = np.arange(2 * int(lengths[-1]) + 1)
    bucket, alphabet = build_alphabet(texts)
    index = Index(
        alphabet=alphabet,
        reach=reach(lengths, threshold),
        lengths=lengths,
        allowed=((1 - threshold) * length_sums + ROUNDING).astype(np.int32),
        bags=np.empty((len(texts), BUCKETS), np.uint8),
        symbols=np.empty(lengths.sum(dtype=np.int64), np.uint8),
        starts=np.empty((len(texts), len(alphabet.bounds)), np.int64),
    )
    index.starts[:, 0] = np.cumsum(lengths, dtype=np.int64) - lengths
    for first, stop, code_points in code_point_batches(texts):
        kernels.project(bucket[code_points], first, stop, index)
    return index
