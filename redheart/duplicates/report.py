"""The report of near-duplicate removal: the removed records and their clusters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rapidfuzz import fuzz, process

from redheart.spelling import nfc

Record = dict[str, Any]
# The records of a connected group of near-duplicates, in the order of the corpus.
Cluster = list[Record]
# The labels of a cluster's labelled records by id.
Labels = dict[str, str]

PREVIEW_CHARACTERS = 80
LARGEST_CLUSTERS = 10
# The report holds two texts of each large cluster, each cut to this many characters.
TEXT_CHARACTERS = 4_000


def removed_pair(removed: Record, keeper: Record, similarity: float) -> dict[str, Any]:
    """Describe a removed record beside the one that stays in its place."""
    return {
        "removed": removed["id"],
        "kept": keeper["id"],
        "similarity": similarity,
        "removed_preview": _preview(removed["text"]),
        "kept_preview": _preview(keeper["text"]),
    }


def _preview(text: str) -> str:
    return " ".join(text.split())[:PREVIEW_CHARACTERS]


def similarity_histogram(similarities: list[float]) -> dict[str, list[float]]:
    """Count similarities in bins of half a percent, from the lowest one to 1."""
    lowest = min(199, math.floor(200 * min(similarities, default=1.0)))
    edges = np.arange(lowest, 201) / 200
    return {"edges": edges.tolist(), "counts": np.histogram(similarities, edges)[0].tolist()}


def cluster_report(
    records: Sequence[Record], cluster_of: np.ndarray, label_of: Callable[[Record], str | None]
) -> dict[str, Any]:
    """Describe the connected groups of near-duplicates, and how far their labels agree.

    Parameters
    ----------
    cluster_of
        Shape (n,): records with the same number are one cluster; a single record is no cluster.

    Returns
    -------
    Counts; `agreement` of the labels; the clusters whose labels are `conflicting`; and the
    `largest_clusters`, each with two of its texts, of `text_characters` characters at most.
    """
    members: dict[int, Cluster] = defaultdict(list)
    for record, cluster in zip(records, cluster_of.tolist(), strict=True):
        members[cluster].append(record)
    clusters = [group for group in members.values() if len(group) > 1]
    labels = [
        {record["id"]: label for record in group if (label := label_of(record)) is not None}
        for group in clusters
    ]
    both = list(zip(clusters, labels, strict=True))
    # Among clusters of one size, those with more distinct texts come first: copies say less.
    by_size = sorted(
        both, key=lambda pair: (-len(pair[0]), -len({nfc(r["text"]) for r in pair[0]}))
    )
    return {
        "count": len(clusters),
        "largest": max(map(len, clusters), default=0),
        "labelled": sum(len(by_id) > 1 for by_id in labels),
        "agreement": label_agreement([list(by_id.values()) for by_id in labels]),
        "conflicting": [
            _members(group, by_id) for group, by_id in both if len(set(by_id.values())) > 1
        ],
        "text_characters": TEXT_CHARACTERS,
        "largest_clusters": [
            {**_members(group, by_id), **_two_texts(group)}
            for group, by_id in by_size[:LARGEST_CLUSTERS]
        ],
    }


def label_agreement(clusters: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Measure how far records that are nearly the same have the same label.

    A pair of records of one cluster weighs 1 / (n - 1), where n is the number of the cluster's
    labelled records. So each record counts once, and a cluster of a thousand copies does not drown
    the others. `expected` is the share of agreeing pairs among records drawn at random.
    Krippendorff's alpha for nominal data is (observed - expected) / (1 - expected): 1 is full
    agreement, 0 is chance (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
    part C).

    Parameters
    ----------
    clusters
        The labels of each cluster's labelled records. Clusters with fewer than two are ignored.

    Returns
    -------
    Over the clusters with two labels and more: the numbers of `clusters`, of `records` and of
    `unanimous` clusters; `majority_share`, the share of a cluster's records with its most
    frequent label, as `mean` over clusters and in bins of a tenth; and `observed`, `expected` and
    `alpha` of the pairs. These are None without any such cluster, alpha also with only one label.
    """
    counts = [Counter(labels) for labels in clusters if len(labels) > 1]
    shares = [max(count.values()) / count.total() for count in counts]
    observed, expected = _pair_agreement(counts)
    edges = np.arange(11) / 10
    return {
        "clusters": len(counts),
        "records": sum(count.total() for count in counts),
        "unanimous": sum(len(count) == 1 for count in counts),
        "majority_share": {
            "mean": float(np.mean(shares)) if shares else None,
            "edges": edges.tolist(),
            "counts": np.histogram(shares, edges)[0].tolist(),
        },
        "observed": observed,
        "expected": expected,
        "alpha": (
            None
            if observed is None or expected is None or expected == 1
            else (observed - expected) / (1 - expected)
        ),
    }


def _pair_agreement(counts: Sequence[Counter[str]]) -> tuple[float | None, float | None]:
    """Return the share of agreeing pairs within clusters, and the share expected by chance."""
    all_labels = Counter(label for count in counts for label in count.elements())
    n = all_labels.total()
    if not n:
        return None, None
    agreeing = [_ordered_pairs(count) / (count.total() - 1) for count in counts]
    return math.fsum(agreeing) / n, _ordered_pairs(all_labels) / (n * (n - 1))


def _ordered_pairs(count: Counter[str]) -> int:
    return sum(k * (k - 1) for k in count.values())


def _members(cluster: Cluster, labels: Labels) -> dict[str, Any]:
    return {"ids": [record["id"] for record in cluster], "labels": labels}


def _two_texts(cluster: Cluster) -> dict[str, Any]:
    """Return a cluster's first text, the text least similar to it, and their similarity.

    To compare the first text with all others takes as many comparisons as there are texts. To find
    the least similar two of all texts would take the square of that number.
    """
    by_text = {nfc(record["text"]): record for record in reversed(cluster)}
    first, texts = cluster[0], sorted(by_text)
    ratios = process.cdist([nfc(first["text"])], texts, scorer=fuzz.ratio, dtype=np.float64)[0]
    lowest = int(np.argmin(ratios))
    least_similar = by_text[texts[lowest]] if len(texts) > 1 else cluster[1]
    return {
        "similarity": float(ratios[lowest]) / 100,
        "distinct_texts": len(texts),
        "texts": [
            {
                "id": record["id"],
                "characters": len(record["text"]),
                "text": record["text"][:TEXT_CHARACTERS],
            }
            for record in (first, least_similar)
        ],
    }
