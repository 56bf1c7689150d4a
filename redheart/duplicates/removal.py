"""Removal of near-duplicate records, with a report that names every one and says why.

Texts are compared as the tokenizer and the lexicon read them, in NFC: one that is spelled in NFD is
a copy of the same text in NFC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from rapidfuzz import fuzz

from redheart.duplicates.index import Pairs
from redheart.duplicates.report import cluster_report, removed_pair, similarity_histogram
from redheart.duplicates.search import near_duplicate_pairs
from redheart.errors import UserError
from redheart.limits import AtLeast, AtMost
from redheart.spelling import nfc

__all__ = ["DedupOptions", "connected_components", "deduplicate", "near_duplicate_pairs"]

Record = dict[str, Any]

# Fewer records cannot be shared out: one for each of the four parts.
LEAST_KEPT = 4

METHOD = "exact: all pairs by rapidfuzz.fuzz.ratio / 100 >= threshold"

# For every distinct text: the text that is kept in its place (the text itself if it stays), and
# the similarity of the two.
Keepers = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DedupOptions:
    """What counts as a near-duplicate and which one stays."""

    threshold: Annotated[float, AtLeast(0.5), AtMost(1)] = 0.92
    """Similarity (rapidfuzz ratio / 100) from which two texts are near-duplicates."""
    policy: Literal["keep_first", "cluster"] = "keep_first"
    """`keep_first`: a record goes if it resembles an earlier kept one, so a chain may keep several;
    `cluster`: one record of each connected group stays, the first."""
    shards: Annotated[int, AtLeast(1), AtMost(1_000)] = 1
    """Jobs among which the search is divided, for a cluster; the answer is the same."""


def deduplicate(
    records: Sequence[Record],
    options: DedupOptions,
    label_of: Callable[[Record], str | None],
    workers: int | None = None,
    pairs: Pairs | None = None,
) -> tuple[list[Record], dict[str, Any]]:
    """Remove near-duplicates.

    Parameters
    ----------
    records
        Records with `id` and `text`, the texts not empty.
    label_of
        A record's label, None where it has none; clusters that disagree on it are reported.
    workers
        Threads of the search; by default one for each CPU.
    pairs
        The pairs from all shards of the search (`shards.join_pairs`); None: search here.

    Returns
    -------
    kept_records : list of records, in the order of `records`.
    report : dict
        Counts. `removed_pairs` holds every removed record with the kept record that it duplicates.
        With keep_first that is the first kept record that it resembles. With cluster it is the
        first record of its cluster; if only other records link the two, their similarity may be
        below the threshold. `clusters` describes the connected groups of near-duplicates, whatever
        the policy.

    Raises
    ------
    UserError
        A text is empty or cannot be encoded.
    """
    texts, text_of, first = _distinct([nfc(record["text"]) for record in records])
    if pairs is None:
        pairs = near_duplicate_pairs(texts, options.threshold, workers)
    else:
        pairs = text_of[pairs[0]], text_of[pairs[1]], pairs[2]
    keeper, similarity = _KEEPERS[options.policy](texts, pairs)
    kept_for = first[keeper[text_of]]
    kept_records = [record for i, record in enumerate(records) if kept_for[i] == i]
    removed = [
        removed_pair(record, records[kept_for[i]], float(similarity[text_of[i]]))
        for i, record in enumerate(records)
        if kept_for[i] != i
    ]
    cluster_of = connected_components(len(texts), *pairs[:2])[text_of]
    return kept_records, {
        "read": len(records),
        "kept": len(kept_records),
        "removed": len(removed),
        "removal_rate": len(removed) / len(records) if records else 0.0,
        "threshold": options.threshold,
        "policy": options.policy,
        "method": METHOD,
        "removed_pairs": removed,
        "similarity_histogram": similarity_histogram([pair["similarity"] for pair in removed]),
        "clusters": cluster_report(records, cluster_of, label_of),
    }


def refuse_few(report: Mapping[str, Any]) -> None:
    """Raise a UserError if the removal that a report describes left too few records for parts."""
    if report["removed"] and report["kept"] < LEAST_KEPT:
        raise UserError(
            f"deduplication: {report['removed']:,} of {report['read']:,} records are "
            f"near-duplicates of others (dedup.threshold {report['threshold']:g}), so that "
            f"{report['kept']} stay, too few for "
            f"{LEAST_KEPT} parts; where texts that share a template are texts of their own, raise "
            "dedup.threshold, and split.audit_threshold as much; or add records"
        )


def connected_components(
    count: int, i: np.ndarray | Sequence[int], j: np.ndarray | Sequence[int]
) -> np.ndarray:
    """Return the connected component of each of `count` items that pairs (i, j) link.

    Returns
    -------
    int64 array of shape (count,): the smallest member of the item's component.
    """
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for a, b in zip(np.asarray(i).tolist(), np.asarray(j).tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(item) for item in range(count)], dtype=np.int64)


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the distinct texts by first occurrence, each text's number, each first position.

    A decision about a distinct text holds for all its copies. So a thousand copies cost no more
    than one text and never become half a million pairs.
    """
    number: dict[str, int] = {}
    text_of = np.array([number.setdefault(text, len(number)) for text in texts], dtype=np.int64)
    return list(number), text_of, np.unique(text_of, return_index=True)[1]


def _keep_first(texts: list[str], pairs: Pairs) -> Keepers:
    """Replay the greedy double loop: a text goes if it resembles an earlier text that stayed."""
    keeper = list(range(len(texts)))
    similarity = np.ones(len(texts))
    # The pairs are sorted by their first text. When a text's pairs come, all the earlier pairs,
    # which could remove it, are done.
    for i, j, value in zip(*(column.tolist() for column in pairs), strict=True):
        if keeper[i] == i and keeper[j] == j:
            keeper[j] = i
            similarity[j] = value
    return np.array(keeper, dtype=np.int64), similarity


def _keep_one_per_cluster(texts: list[str], pairs: Pairs) -> Keepers:
    keeper = connected_components(len(texts), *pairs[:2])
    ratios = [fuzz.ratio(texts[k], text) for k, text in zip(keeper.tolist(), texts, strict=True)]
    return keeper, np.array(ratios) / 100


_KEEPERS: dict[str, Callable[[list[str], Pairs], Keepers]] = {
    "keep_first": _keep_first,
    "cluster": _keep_one_per_cluster,
}
