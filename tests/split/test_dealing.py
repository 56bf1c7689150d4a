"""The four parts: complete, alike, stable, and without a near-duplicate across them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.data.records import read_jsonl
from redheart.errors import UserError
from redheart.split.dealing import (
    check_split,
    clusters_by_part,
    linked_groups,
    split_corpus,
    split_records,
)
from redheart.split.parts import PARTS, SplitOptions, stratum
from redheart.split.report import split_report

FRACTIONS = np.array(SplitOptions().fractions)
CORPUS = Path(__file__).parents[2] / "data" / "scruples.jsonl.gz"


def corpus(count: int, classes: int = 1, seed: int = 0, prefix: str = "r") -> list[dict[str, Any]]:
    """Return records with log-normal text lengths and classes of unequal sizes."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(4, 0.7, count), 5, 1000).astype(int)
    weights = 1 / np.arange(1, classes + 1)
    labels = generator.choice(classes, count, p=weights / weights.sum())
    return [
        {"id": f"{prefix}{i}", "text": "x" * int(lengths[i]), "label": f"c{labels[i]}"}
        for i in range(count)
    ]


def split(records, links=(), field: str | None = "label", **options: Any) -> dict[str, list[int]]:
    strata = [stratum(record, field) for record in records]
    return split_records(records, links, strata, SplitOptions(**options))


def part_by_id(records, parts) -> dict[str, str]:
    return {records[i]["id"]: part for part, members in parts.items() for i in members}


def report(records, parts, pairs=(), **options: Any) -> dict[str, Any]:
    strata = [stratum(record, "label") for record in records]
    return split_report(records, parts, strata, pairs, SplitOptions(**options))


@settings(max_examples=20, deadline=None)
@given(st.integers(60, 300), st.integers(1, 6), st.integers(0, 99), st.data())
def test_a_partition_that_keeps_links(count, classes, seed, data) -> None:
    records = corpus(count, classes, seed)
    index = st.integers(0, count - 1)
    links = data.draw(st.lists(st.tuples(index, index), max_size=count // 2))
    parts = split(records, links, seed=seed)
    assert sorted(i for members in parts.values() for i in members) == list(range(count))
    assert all(members == sorted(members) and members for members in parts.values())
    check_split(parts, links)


@settings(max_examples=15, deadline=None)
@given(st.integers(60, 400), st.integers(1, 5), st.integers(0, 99))
def test_totals_and_class_shares_are_within_one_record(count, classes, seed) -> None:
    records = corpus(count, classes, seed)
    parts = split(records)
    sizes = Counter(record["label"] for record in records)
    small = sum(size for size in sizes.values() if size < 4)
    for part, fraction in zip(PARTS, FRACTIONS, strict=True):
        assert abs(len(parts[part]) - fraction * count) <= 1 + small
        counts = Counter(records[i]["label"] for i in parts[part])
        for label, size in sizes.items():
            assert small or abs(counts[label] - len(parts[part]) * size / count) < 1


def test_totals_are_exact_where_they_can_be() -> None:
    parts = split(corpus(400, 5))
    assert [len(parts[part]) for part in PARTS] == [300, 40, 20, 40]


def test_same_seed_same_split_and_another_seed_another() -> None:
    records = corpus(300, 3)
    assert split(records, seed=1) == split(records, seed=1)
    assert split(records, seed=1) != split(records, seed=2)


@pytest.mark.parametrize("classes", [1, 5])
@pytest.mark.parametrize(
    "count", [500, *(pytest.param(more, marks=pytest.mark.slow) for more in (700, 1200))]
)
def test_a_record_at_the_end_moves_few_others(classes, count) -> None:
    records = corpus(count, classes)
    before = part_by_id(records, split(records))
    moved = []
    for trial in range(4):
        changed = records + corpus(1, classes, seed=trial + 1, prefix="new")
        after = part_by_id(changed, split(changed))
        moved.append(sum(after[name] != part for name, part in before.items()))
    assert np.mean(moved) < 0.04 * count


@pytest.mark.slow
def test_a_corpus_that_grows_leaves_most_records_where_they_were() -> None:
    """By 500 records in 20 steps: each step moves few, and what has moved often comes back."""
    records = corpus(1000, 4)
    parts = [part_by_id(records, split(records[:count])) for count in range(500, 1001, 25)]
    moved = [sum(b[name] != part for name, part in a.items()) for a, b in pairwise(parts)]
    assert np.mean(moved) < 0.05 * 750
    first, last = parts[0], parts[-1]
    assert sum(last[name] != part for name, part in first.items()) < 0.2 * 500


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "seed"), [(1, 0), (1, 1), (3, 0), (5, 0)])
def test_lengths_are_matched(classes, seed) -> None:
    records = corpus(2000, classes, seed)
    parts = split(records, seed=seed)
    evidence = report(records, parts, seed=seed)
    for part in PARTS:
        entry = evidence["parts"][part]
        assert entry["ks_distance"] <= 0.05
        assert entry["length"]["mean"] == pytest.approx(evidence["length"]["mean"], rel=0.08)
        assert abs(entry["largest_class_deviation"]["difference"]) < 0.01


@pytest.mark.slow
def test_the_extremes_of_length_are_not_always_in_the_same_part() -> None:
    records = [{"id": str(i), "text": "x" * (i + 1)} for i in range(200)]
    longest = {
        part_by_id(records, split(records, seed=seed, field=None))["199"] for seed in range(150)
    }
    assert longest == set(PARTS)


def test_small_classes_fill_train_test_val_select() -> None:
    records = corpus(100)
    for label, count in (("one", 1), ("two", 2), ("three", 3)):
        records += [{"id": f"{label}{i}", "text": "t", "label": label} for i in range(count)]
    parts = split(records)
    evidence = report(records, parts)["small_classes"]
    assert [(entry["class"], entry["count"]) for entry in evidence] == [
        ("one", 1), ("three", 3), ("two", 2),
    ]  # fmt: skip
    assert [list(entry["parts"].values()) for entry in evidence] == [
        [1, 0, 0, 0], [1, 1, 0, 1], [1, 0, 0, 1],
    ]  # fmt: skip


def test_unlabelled_records_are_a_class_of_their_own() -> None:
    records = corpus(200)
    for record in records[:40]:
        record["label"] = None
    parts = split(records)
    evidence = report(records, parts)
    assert evidence["classes"]["(unlabelled)"]["count"] == 40
    assert [evidence["parts"][p]["classes"]["(unlabelled)"]["count"] for p in PARTS] == [
        30,
        4,
        2,
        4,
    ]


def test_a_group_larger_than_the_smallest_part_goes_to_train() -> None:
    records = corpus(200, 2)
    chain = [(i, i + 1) for i in range(50, 60)]  # 11 records; val_confirm is to hold 10
    parts = split(records, chain)
    assert set(range(50, 61)) <= set(parts["train"])
    assert [len(parts[part]) for part in PARTS] == [150, 20, 10, 20]
    pairs = [(i, j, 0.9) for i, j in chain] + [(1, 2, 0.85)]
    groups = report(records, split(records, [*chain, (1, 2)]), pairs)["linked_groups"]
    assert groups == {
        "count": 2,
        "records": 13,
        "largest": 11,
        "forced_to_train": [sorted(f"r{i}" for i in range(50, 61))],
    }


@pytest.mark.parametrize("size", [2, 3, 5])
def test_quotas_hold_when_every_record_is_linked(size) -> None:
    records = corpus(600, 3)
    order = np.random.default_rng(0).permutation(600)
    links = [(int(a), int(b)) for row in order.reshape(-1, size) for a, b in pairwise(row)]
    parts = split(records, links)
    for part, fraction in zip(PARTS, FRACTIONS, strict=True):
        assert abs(len(parts[part]) - fraction * 600) <= 2 * size


def test_groups_reach_every_part() -> None:
    records = corpus(1000)
    links = [(2 * i, 2 * i + 1) for i in range(100)]
    placed = part_by_id(records, split(records, links))
    counts = Counter(placed[f"r{2 * i}"] for i in range(100))
    assert set(counts) == set(PARTS)
    assert 60 < counts["train"] < 90


def test_linked_groups_are_connected_components() -> None:
    assert linked_groups(7, [(5, 1), (2, 1), (3, 3), (6, 4)]) == [[1, 2, 5], [4, 6]]
    assert linked_groups(3, []) == []


def test_too_few_records_are_refused_in_words() -> None:
    assert all(split(corpus(10)).values())
    with pytest.raises(
        UserError, match=r"7 records in 1 classes cannot fill 4 parts \(val_confirm"
    ):
        split(corpus(7))
    with pytest.raises(UserError, match="50 records in 50 classes"):
        split(corpus(50), field="id")
    with pytest.raises(UserError, match="0 records"):
        split([])


def test_a_pair_across_parts_is_refused() -> None:
    parts = split(corpus(40))
    i, j = parts["train"][0], parts["test"][0]
    with pytest.raises(UserError, match="near-duplicates but stand in train and test"):
        check_split(parts, [(i, j)])


def test_clusters_go_by_their_first_record_and_others_are_alone() -> None:
    parts = {"train": [0, 2, 5], "val_select": [1, 4], "val_confirm": [3], "test": [6]}
    links = [(0, 5), (4, 1), (2, 5)]
    assert clusters_by_part(parts, links) == {
        "train": [0, 0, 0], "val_select": [1, 1], "val_confirm": [3], "test": [6],
    }  # fmt: skip
    assert clusters_by_part({"train": [1, 0]}, []) == {"train": [1, 0]}


def test_other_shares_make_other_parts() -> None:
    thirds = {"train": 1 / 3, "val_select": 1 / 3, "val_confirm": 1 / 6, "test": 1 / 6}
    assert [len(m) for m in split(corpus(60), **thirds).values()] == [20, 20, 10, 10]


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.exists(), reason="needs the corpus")
def test_the_real_corpus() -> None:
    records = [record for record in read_jsonl(CORPUS) if record["text"].strip()]
    evidence = report(records, split(records))
    for part in PARTS:
        assert evidence["parts"][part]["ks_distance"] <= 0.02
        assert abs(evidence["parts"][part]["largest_class_deviation"]["difference"]) < 0.001


def test_one_text_in_two_spellings_stays_in_one_part() -> None:
    letters = np.random.default_rng(0).choice(list("가나다라마바사아자차카타파하"), (40, 30))
    texts = ["".join(row) for row in letters]
    spelled = [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in texts]
    records = [{"id": str(i), "text": text} for i, text in enumerate(spelled)]
    done = split_corpus(records, None, (), {}, SplitOptions())
    assert done.links == [(i, i + 40) for i in range(40)]


def test_a_corpus_of_one_template_says_what_keeps_it_in_one_part() -> None:
    records = corpus(50)
    links = [(i, i + 1) for i in range(47)]
    with pytest.raises(
        UserError, match=r"48 of 50 records are linked by texts at least 0.8 .* raise split.audit"
    ):
        split(records, links)
