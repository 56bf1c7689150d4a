"""The search for near-duplicates in shards, so that several machines share it.

The texts are ordered by (length, position). Each pair belongs to the text that comes first, and
each shard gets a band of the order. With the threshold t, a match of a text of the band is at most
(2 - t) / t times as long. So a shard holds the texts of its band, a stretch of the texts behind it,
and no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from redheart.duplicates.index import NO_PAIRS, Pairs, joined, reach
from redheart.duplicates.search import check_threshold, matches_by_length
from redheart.errors import UserError
from redheart.spelling import nfc
from redheart.storage import files


@dataclass(frozen=True)
class RecordTexts:
    """The texts of a file of records, in NFC, read anew, one at a time, whenever iterated."""

    path: str | Path
    """JSON Lines that an earlier step wrote."""

    def __iter__(self) -> Iterator[str]:
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield nfc(json.loads(line)["text"])
                except ValueError:
                    raise UserError(
                        f"{self.path}: line {number}: broken JSON; delete the file to rebuild it"
                    ) from None


def pairs_of_shard(
    texts: Iterable[str], threshold: float, shard: int, shards: int, workers: int | None = None
) -> Pairs:
    """Find the matches between distinct texts that belong to one shard.

    Parameters
    ----------
    texts
        Texts, none of them empty. They are iterated twice, and only those in reach are kept.
    threshold
        Least similarity of a pair, 0.5 to 1.
    shard, shards
        The shard's number, counted from 0, and the number of shards. Together the shards hold each
        pair once.
    workers
        Threads; by default one for each CPU of this process.

    Returns
    -------
    i, j, similarity
        As `near_duplicate_pairs`, but in no particular order, and only between the first copies of
        texts.

    Raises
    ------
    UserError
        The threshold is out of range, or a text is empty or cannot be encoded.
    """
    check_threshold(threshold)
    lengths = np.fromiter(map(len, texts), np.int32)
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    ends = reach(ordered, threshold)
    first, stop = _band(ends, shard, shards)
    if first == stop:
        return NO_PAIRS
    in_band, in_reach = np.zeros((2, len(lengths)), dtype=bool)
    in_band[order[first:stop]] = True
    # The stretch begins at the first text that is as long as the band's first text: a text of the
    # band may be a copy of an earlier one.
    in_reach[order[np.searchsorted(ordered, ordered[first]) : ends[stop - 1]]] = True

    position: dict[str, int] = {}
    for place, text in enumerate(texts):
        if in_reach[place]:
            position.setdefault(text, place)
    distinct = sorted(position, key=len)
    positions = np.array([position[text] for text in distinct], dtype=np.int64)
    rows = np.flatnonzero(in_band[positions])
    if not len(rows):
        return NO_PAIRS
    positions = positions[rows[0] :]
    i, j, similarity = matches_by_length(distinct[rows[0] :], threshold, len(rows), workers)
    i, j = positions[i], positions[j]
    return np.minimum(i, j), np.maximum(i, j), similarity


def _band(ends: np.ndarray, shard: int, shards: int) -> tuple[int, int]:
    """Return where the shard's band begins and stops; all bands have as many pairs in reach.

    Parameters
    ----------
    ends
        For each text in the order, where its reach ends.
    """
    # A text is paired with itself as well, so that a text without partners counts too.
    pairs = ends - np.arange(len(ends))
    pairs_before = np.cumsum(pairs) - pairs
    shares = [int(pairs.sum()) * k // shards for k in (shard, shard + 1)]
    first, stop = np.searchsorted(pairs_before, shares).tolist()
    return first, stop


def save_pairs(path: str | Path, pairs: Pairs) -> None:
    """Write the pairs of a shard as .npz."""
    i, j, similarity = pairs
    with files.atomic(path) as stream:
        np.savez(stream, i=i, j=j, similarity=similarity)


def join_pairs(paths: Sequence[str | Path]) -> Pairs:
    """Read the pairs of all shards, sorted by (i, j)."""
    lots = [NO_PAIRS]
    for path in paths:
        with np.load(path, allow_pickle=False) as archive:
            lots.append((archive["i"], archive["j"], archive["similarity"]))
    i, j, similarity = joined(lots)
    order = np.lexsort((j, i))
    return i[order], j[order], similarity[order]
