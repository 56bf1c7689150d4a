"""The report of near-duplicates: previews, the histogram, clusters, and how far their labels agree."""

from __future__ import annotations

from bisect import bisect
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from related_texts import CHAIN, as_records, label_of

from redheart.duplicates.removal import DedupOptions, deduplicate
from redheart.duplicates.report import (
    LARGEST_CLUSTERS,
    TEXT_CHARACTERS,
    cluster_report,
    label_agreement,
    similarity_histogram,
)

quick = settings(deadline=None, max_examples=30)


def test_previews_fold_white_space_and_end():
    long = "alone\n\n again  " + "x" * 90
    _, report = deduplicate(as_records([long, long]), DedupOptions(), label_of)
    assert report["removed_pairs"][0]["kept_preview"] == "alone again " + "x" * 68


def unit(*values):
    return [str(value) for value in values]


# Four observers, twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
# part C): alpha for nominal data is 0.743.
PUBLISHED = [
    *(unit(1, 1, 1), unit(2, 2, 3, 2), unit(3, 3, 3, 3), unit(3, 3, 3, 3), unit(2, 2, 2, 2)),
    *(unit(1, 2, 3, 4), unit(4, 4, 4, 4), unit(1, 1, 2, 1), unit(2, 2, 2, 2), unit(5, 5, 5)),
    *(unit(1, 1), unit(3)),
]


def test_alpha_is_the_published_one():
    agreement = label_agreement(PUBLISHED)
    assert round(agreement["alpha"], 3) == 0.743
    assert (agreement["clusters"], agreement["records"], agreement["unanimous"]) == (11, 40, 8)


labellings = st.lists(st.lists(st.sampled_from("XYZ"), max_size=5), max_size=5)


@quick
@given(labellings)
def test_agreement_is_that_of_all_pairs(clusters):
    agreement = label_agreement(clusters)
    informative = [labels for labels in clusters if len(labels) > 1]
    drawn = [label for labels in informative for label in labels]

    def agreeing_pairs(labels):
        return sum(
            labels[i] == labels[j] for i in range(len(labels)) for j in range(len(labels)) if i != j
        )

    n = len(drawn)
    if not informative:
        assert agreement["observed"] is agreement["expected"] is None
        return
    observed = sum(agreeing_pairs(labels) / (len(labels) - 1) for labels in informative) / n
    assert agreement["observed"] == pytest.approx(observed)
    assert agreement["expected"] == pytest.approx(agreeing_pairs(drawn) / (n * (n - 1)))
    assert (agreement["alpha"] is None) == (len(set(drawn)) == 1)
    shares = [max(map(labels.count, labels)) / len(labels) for labels in informative]
    assert agreement["majority_share"]["mean"] == pytest.approx(sum(shares) / len(shares))
    assert sum(agreement["majority_share"]["counts"]) == len(informative)


def test_a_cluster_of_many_copies_does_not_drown_the_others():
    agreement = label_agreement([["X"] * 1000, *[["X", "Y"]] * 500])
    assert agreement["observed"] == 0.5


def test_the_largest_clusters_come_first_with_the_least_similar_text():
    texts = [f"{k} {'abcdefghijkl'[k] * 40} {k}" for k in range(12) for _ in range(2)]
    records = as_records([*texts, *CHAIN, "z" * (TEXT_CHARACTERS + 5), "z" * TEXT_CHARACTERS])
    _, report = deduplicate(records, DedupOptions(0.95), label_of)
    clusters = report["clusters"]["largest_clusters"]
    assert len(clusters) == LARGEST_CLUSTERS < report["clusters"]["count"]
    chain, long = clusters[:2]
    assert [text["text"] for text in chain["texts"]] == [CHAIN[0], CHAIN[4]]
    assert (chain["similarity"], chain["distinct_texts"], len(chain["ids"])) == (0.84, 5, 5)
    assert [(len(text["text"]), text["characters"]) for text in long["texts"]] == [
        (TEXT_CHARACTERS, TEXT_CHARACTERS + 5),
        (TEXT_CHARACTERS, TEXT_CHARACTERS),
    ]


@given(st.lists(st.floats(0.5, 1)))
def test_every_similarity_is_counted_in_its_bin_of_half_a_percent(similarities):
    histogram = similarity_histogram(similarities)
    edges = histogram["edges"]
    assert edges == [number / 200 for number in range(round(200 * edges[0]), 201)]
    bins = [min(bisect(edges, similarity), len(edges) - 1) - 1 for similarity in similarities]
    counts = Counter(bins)
    assert histogram["counts"] == [counts[number] for number in range(len(edges) - 1)]
    if similarities:
        assert edges[0] <= min(similarities) and (histogram["counts"][0] or min(similarities) == 1)


members = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, "X", "Y"])), max_size=20)


@given(members)
def test_clusters_are_the_groups_of_two_records_and_more(members):
    records = as_records([f"text {i % 3}" for i in range(len(members))], [b for _, b in members])
    report = cluster_report(records, np.array([a for a, _ in members], dtype=int), label_of)
    groups = [
        [record for record, (number, _) in zip(records, members, strict=True) if number == cluster]
        for cluster in dict.fromkeys(number for number, _ in members)
    ]
    groups = [group for group in groups if len(group) > 1]
    labels = [{r["id"]: r["label"] for r in group if r["label"]} for group in groups]
    assert report["count"] == len(groups)
    assert report["largest"] == max(map(len, groups), default=0)
    assert report["labelled"] == sum(len(by_id) > 1 for by_id in labels)
    assert report["conflicting"] == [
        {"ids": [record["id"] for record in group], "labels": by_id}
        for group, by_id in zip(groups, labels, strict=True)
        if len(set(by_id.values())) == 2
    ]
    sizes = [len(entry["ids"]) for entry in report["largest_clusters"]]
    assert sizes == sorted(map(len, groups), reverse=True)
    for entry in report["largest_clusters"]:
        texts = {record["id"]: record["text"] for record in records}
        first, other = (text["id"] for text in entry["texts"])
        assert first == entry["ids"][0] and other in entry["ids"][1:]
        ratios = [fuzz.ratio(texts[first], texts[name]) / 100 for name in entry["ids"]]
        assert entry["similarity"] == min(ratios)
        assert fuzz.ratio(texts[first], texts[other]) / 100 == entry["similarity"]
        assert entry["distinct_texts"] == len({texts[name] for name in entry["ids"]})
