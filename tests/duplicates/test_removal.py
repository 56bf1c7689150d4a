"""Which near-duplicates stay, by each policy, and what the report accounts for."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz
from related_texts import CHAIN, as_records, brute_force, corpora, label_of, thresholds

from redheart.duplicates.removal import (
    DedupOptions,
    connected_components,
    deduplicate,
    refuse_few,
)
from redheart.errors import UserError

quick = settings(deadline=None, max_examples=30)


@quick
@given(st.data())
def test_components_are_the_smallest_reachable_member(data):
    count = data.draw(st.integers(0, 12))
    node = st.integers(0, max(0, count - 1))
    links = data.draw(st.lists(st.tuples(node, node), max_size=12)) if count else []
    reachable = np.eye(count, dtype=bool)
    for i, j in links:
        reachable[i, j] = reachable[j, i] = True
    for _ in range(count):
        reachable = reachable @ reachable
    labels = connected_components(count, [i for i, _ in links], [j for _, j in links])
    assert labels.dtype == np.int64
    assert labels.tolist() == [int(np.argmax(row)) for row in reachable]


@pytest.mark.parametrize("policy", ["keep_first", "cluster"])
@pytest.mark.parametrize("threshold", [0.92, 1.0])
def test_one_text_in_two_spellings_is_a_copy(policy, threshold):
    texts = [
        unicodedata.normalize(form, "친구가 café에서 선물을 보냈다") for form in ("NFC", "NFD")
    ]
    records = as_records([*texts, "ＡＢＣ ﬁne", "ABC fine"])
    kept, report = deduplicate(records, DedupOptions(threshold, policy), label_of)
    # The tokenizer reads compatibility forms, such as full-width letters, as other letters.
    assert kept == [records[0], *records[2:]]
    assert report["removed_pairs"][0]["similarity"] == 1.0
    assert report["clusters"]["largest_clusters"][0]["distinct_texts"] == 1


def spelled(texts):
    """The texts as they are compared: a drawn text may be in any spelling."""
    return [unicodedata.normalize("NFC", text) for text in texts]


def test_a_corpus_of_one_template_says_what_took_its_records():
    letters = as_records([f"dear all, this is letter number {i:03} of many" for i in range(300)])
    refuse_few(deduplicate(letters, DedupOptions(1.0), label_of)[1])
    refuse_few(deduplicate(letters[:3], DedupOptions(1.0), label_of)[1])
    with pytest.raises(UserError, match=r"299 of 300 .* \(dedup.threshold 0.9\), so that 1 stay"):
        refuse_few(deduplicate(letters, DedupOptions(0.9), label_of)[1])


def ids(records):
    return [record["id"] for record in records]


@quick
@given(texts=corpora(), threshold=thresholds)
def test_keep_first_is_the_double_loop(texts, threshold):
    records = as_records(spelled(texts))
    kept, removed = [], []
    for record in records:
        for earlier in kept:
            ratio = fuzz.ratio(earlier["text"], record["text"])
            if ratio >= 100 * threshold:
                removed.append((record["id"], earlier["id"], ratio / 100))
                break
        else:
            kept.append(record)
    ours, report = deduplicate(records, DedupOptions(threshold), label_of)
    assert ours == kept
    pairs = [(p["removed"], p["kept"], p["similarity"]) for p in report["removed_pairs"]]
    assert pairs == removed


@quick
@given(texts=corpora(), threshold=thresholds)
def test_cluster_keeps_the_first_of_each_component(texts, threshold):
    texts = spelled(texts)
    first = list(range(len(texts)))
    links = [(i, j) for i, j, _ in brute_force(texts, threshold)]
    for _ in texts:
        for i, j in links:
            first[i] = first[j] = min(first[i], first[j])
    kept, report = deduplicate(as_records(texts), DedupOptions(threshold, "cluster"), label_of)
    assert ids(kept) == [f"r{k}" for k in sorted(set(first))]
    assert [(p["removed"], p["kept"]) for p in report["removed_pairs"]] == [
        (f"r{k}", f"r{first[k]}") for k in range(len(texts)) if first[k] != k
    ]
    for pair in report["removed_pairs"]:
        a, b = (texts[int(pair[end][1:])] for end in ("removed", "kept"))
        assert pair["similarity"] == fuzz.ratio(a, b) / 100


def test_the_policies_differ_on_a_chain():
    records = as_records(CHAIN)
    kept, report = deduplicate(records, DedupOptions(0.95), label_of)
    assert ids(kept) == ["r0", "r2", "r4"]
    assert [(p["removed"], p["kept"]) for p in report["removed_pairs"]] == [
        ("r1", "r0"),
        ("r3", "r2"),
    ]
    kept, report = deduplicate(records, DedupOptions(0.95, "cluster"), label_of)
    assert ids(kept) == ["r0"]
    assert [p["similarity"] for p in report["removed_pairs"]] == [0.96, 0.92, 0.88, 0.84]


def test_the_report_accounts_for_everything():
    texts = ["unlike the others", *CHAIN[:2], CHAIN[0], "alone\n\n again  " + "x" * 90]
    records = as_records(texts, ["OTHER", "AUTHOR", None, "OTHER", "OTHER"])
    kept, report = deduplicate(records, DedupOptions(), label_of)
    assert ids(kept) == ["r0", "r1", "r4"]
    assert report == {
        "read": 5,
        "kept": 3,
        "removed": 2,
        "removal_rate": 0.4,
        "threshold": 0.92,
        "policy": "keep_first",
        "method": "exact: all pairs by rapidfuzz.fuzz.ratio / 100 >= threshold",
        "removed_pairs": [
            {
                "removed": "r2",
                "kept": "r1",
                "similarity": 0.96,
                "removed_preview": CHAIN[1],
                "kept_preview": CHAIN[0],
            },
            {
                "removed": "r3",
                "kept": "r1",
                "similarity": 1.0,
                "removed_preview": CHAIN[0],
                "kept_preview": CHAIN[0],
            },
        ],
        "similarity_histogram": {
            "edges": [0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0],
            "counts": [1, 0, 0, 0, 0, 0, 0, 1],
        },
        "clusters": {
            "count": 1,
            "largest": 3,
            "labelled": 1,
            "agreement": {
                "clusters": 1,
                "records": 2,
                "unanimous": 0,
                "majority_share": {
                    "mean": 0.5,
                    "edges": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
                    "counts": [0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
                },
                "observed": 0.0,
                "expected": 0.0,
                "alpha": 0.0,
            },
            "conflicting": [
                {"ids": ["r1", "r2", "r3"], "labels": {"r1": "AUTHOR", "r3": "OTHER"}},
            ],
            "text_characters": 4000,
            "largest_clusters": [
                {
                    "ids": ["r1", "r2", "r3"],
                    "labels": {"r1": "AUTHOR", "r3": "OTHER"},
                    "similarity": 0.96,
                    "distinct_texts": 2,
                    "texts": [
                        {"id": "r1", "characters": 25, "text": CHAIN[0]},
                        {"id": "r2", "characters": 25, "text": CHAIN[1]},
                    ],
                }
            ],
        },
    }
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize("policy", ["keep_first", "cluster"])
def test_thousands_of_copies_cost_no_more_than_one(policy):
    records = as_records(["the very same text"] * 20_000 + ["another one"])
    kept, report = deduplicate(records, DedupOptions(0.92, policy), label_of)
    assert ids(kept) == ["r0", "r20000"]
    assert report["removed"] == 19_999
    clusters = report["clusters"]
    assert (clusters["count"], clusters["largest"], clusters["labelled"]) == (1, 20_000, 0)
    largest = clusters["largest_clusters"][0]
    assert (largest["similarity"], largest["distinct_texts"]) == (1.0, 1)
    assert [text["id"] for text in largest["texts"]] == ["r0", "r1"]
    assert clusters["agreement"]["alpha"] is clusters["agreement"]["majority_share"]["mean"] is None


def test_no_records_make_an_empty_report():
    kept, report = deduplicate([], DedupOptions(), label_of)
    assert kept == [] and report["removal_rate"] == 0.0 and report["removed_pairs"] == []


def test_records_are_left_as_they_are():
    records = as_records([*CHAIN, CHAIN[0]])
    before = json.dumps(records)
    kept, _ = deduplicate(records, DedupOptions(), label_of)
    assert json.dumps(records) == before
    assert all(any(record is original for original in records) for record in kept)
