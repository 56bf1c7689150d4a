"""The report of a split: its certificate, what it compares, and what it refuses to certify."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_corpus import RATING, TAGS, corpus, label_deviations, split

from redheart.errors import UserError
from redheart.split import report
from redheart.split.balance import ks_distance
from redheart.split.parts import PARTS, SplitOptions


def parts_of(part_of):
    return {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(PARTS)}


def certified(records, part_of, pairs=(), **options):
    strata = [record["label"] for record in records]
    return report.split_report(
        records, parts_of(part_of), strata, pairs, SplitOptions(**options), (TAGS, RATING)
    )


def test_the_certificate_lists_every_claim() -> None:
    records = corpus(600, 0)
    claims = certified(records, split(records))["certificate"]
    assert all(claim["holds"] and claim["measured"] <= claim["bound"] for claim in claims)
    assert [claim["part"] for claim in claims] == [None] * 4 + [p for p in PARTS for _ in range(2)]
    bounds = {c["part"]: c["bound"] for c in claims if c["claim"].startswith("Kolmogorov")}
    assert bounds == dict.fromkeys(PARTS, 0.05)
    few = corpus(300, 0)
    claims = certified(few, split(few))["certificate"]
    assert not any(claim["claim"].startswith("Kolmogorov") for claim in claims)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(60, 450), st.integers(1, 40), st.integers(0, 99), st.data())
def test_every_split_is_certified(count, classes, seed, data) -> None:
    records = corpus(count, seed, classes)
    index = st.integers(0, count - 1)
    linked = data.draw(st.lists(st.tuples(index, index), max_size=count // 2))
    pairs = [(min(pair), max(pair), 0.9) for pair in linked if pair[0] != pair[1]]
    part_of = split(records, seed, (), [pair[:2] for pair in pairs])
    assert all(claim["holds"] for claim in certified(records, part_of, pairs)["certificate"])


@pytest.mark.slow
def test_what_cannot_be_certified_is_refused_in_one_line() -> None:
    records = corpus(1000, 0)
    order = sorted(range(1000), key=lambda i: len(records[i]["text"]))
    part_of = split(records)
    by_length = part_of.copy()
    by_length[order] = np.repeat(range(4), np.bincount(part_of))
    for record in records:
        record["label"] = "all"
    with pytest.raises(
        UserError, match=r"certified: Kolmogorov.* in train: 0\.\d+, at most 0\.05 is"
    ):
        certified(records, by_length)
    for i, record in enumerate(records):
        record["label"] = "a" if part_of[i] == 3 else "b"
    with pytest.raises(
        UserError, match=r"largest deviation of a class's share in train: .*; raise"
    ):
        certified(records, part_of)
    records[0]["label"] = "alone"
    part_of[0] = 1
    with pytest.raises(
        UserError, match="classes of 1 to 3 records outside their parts: 1, at most 0"
    ):
        certified(records, part_of)


def test_the_report_compares_targets_part_by_part() -> None:
    records = corpus(400, 0)
    for record in records[:40]:
        record["rating"] = None
    part_of = split(records)
    found = certified(records, part_of)
    assert found["tasks"]["rating"]["labelled"] == 360
    tags = np.array([record["tags"] for record in records])
    ratings = np.array([record["rating"] for record in records], dtype=float)
    for number, part in enumerate(PARTS):
        of = part_of == number
        tasks = found["parts"][part]["tasks"]
        shares = [entry["share"] for entry in tasks["tags"]["outputs"].values()]
        assert shares == pytest.approx(tags[of].mean(axis=0))
        worst = label_deviations(part_of, tags)[number].max()
        assert abs(tasks["tags"]["largest_deviation"]["difference"]) == pytest.approx(worst)
        known = ratings[of & ~np.isnan(ratings)]
        assert tasks["rating"]["labelled"] == len(known)
        entry = tasks["rating"]["outputs"]["rating"]
        assert (entry["mean"], entry["std"]) == pytest.approx((known.mean(), known.std()), rel=1e-5)
        assert entry["ks_distance"] == pytest.approx(
            ks_distance(known, ratings[~np.isnan(ratings)]), abs=1e-6
        )


def test_a_task_without_labels_in_a_part_is_shown_as_unknown() -> None:
    records = corpus(100, 0)
    for record in records[1:]:
        record["rating"] = None
    found = certified(records, split(records))
    known = [found["parts"][part]["tasks"]["rating"]["labelled"] for part in PARTS]
    assert sorted(known) == [0, 0, 0, 1]
    empty = found["parts"][PARTS[known.index(0)]]["tasks"]["rating"]
    assert empty == {"labelled": 0, "outputs": {"rating": None}, "largest_deviation": None}


# --- what leaks -------------------------------------------------------------------------------


def test_a_pair_across_parts_is_refused_from_the_threshold_on_and_listed_below_it() -> None:
    records = corpus(40, 0, classes=1)
    part_of = split(records)
    i, j = int(np.flatnonzero(part_of == 0)[0]), int(np.flatnonzero(part_of == 3)[0])
    with pytest.raises(
        UserError, match=r"pairs of records at least 0\.8 similar across parts: 1, at"
    ):
        certified(records, part_of, [(i, j, 0.80)])
    pair = {"ids": [f"r{i}", f"r{j}"], "parts": ["train", "test"], "similarity": 0.79}
    assert certified(records, part_of, [(i, j, 0.79)])["leakage"] == {
        "audit_threshold": 0.8,
        "searched_from": 0.75,
        "highest_similarity_across_parts": 0.79,
        "closest_pairs_across_parts": [pair],
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_closest_pairs_across_parts_are_those_of_all_pairs(seed) -> None:
    records = corpus(40, seed, classes=1)
    part_of = split(records, seed)
    drawn = np.random.default_rng(seed).uniform(0.7, 0.8, (40, 40)).round(2)
    pairs = [
        (i, j, float(drawn[i, j]))
        for i in range(40)
        for j in range(i + 1, 40)
        if 0.75 <= drawn[i, j] < 0.8
    ]
    across = [
        {
            "ids": [records[i]["id"], records[j]["id"]],
            "parts": [PARTS[part_of[i]], PARTS[part_of[j]]],
            "similarity": similarity,
        }
        for i, j, similarity in pairs
        if part_of[i] != part_of[j]
    ]
    across.sort(key=lambda pair: (-pair["similarity"], pair["ids"]))
    leakage = certified(records, part_of, pairs)["leakage"]
    assert len(across) > 20
    assert leakage["closest_pairs_across_parts"] == across[:20]
    assert leakage["highest_similarity_across_parts"] == across[0]["similarity"]


def test_the_report_is_json_and_says_that_nothing_leaks() -> None:
    records = corpus(100, 0)
    part_of = split(records, links=[(0, 1)])
    found = certified(records, part_of, [(0, 1, 0.93)])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["leakage"]["highest_similarity_across_parts"] is None
    assert found["leakage"]["closest_pairs_across_parts"] == []
    assert sum(found["parts"][part]["count"] for part in PARTS) == found["count"] == 100
    assert found["linked_groups"] == {
        "count": 1, "records": 2, "largest": 2, "forced_to_train": [],
    }  # fmt: skip


# --- what the certificate refuses -------------------------------------------------------------


def refused(records, parts, pairs=()) -> str:
    """Return the claim that does not hold."""
    strata = [record["label"] for record in records]
    with pytest.raises(UserError, match=r"^split: cannot be certified: ") as caught:
        report.split_report(records, parts, strata, pairs, SplitOptions())
    return str(caught.value).removeprefix("split: cannot be certified: ")


def test_a_record_in_no_part_or_in_two_is_refused() -> None:
    records = corpus(60, 0, classes=1)
    parts = parts_of(split(records))
    missing = {**parts, "train": parts["train"][1:]}
    assert refused(records, missing).startswith("records not in exactly one part: 1, at most 0")
    twice = {**parts, "test": sorted([*parts["test"], *parts["train"][:2]])}
    assert refused(records, twice).startswith("records not in exactly one part: 2, at most 0")


def test_a_group_that_only_train_can_hold_is_refused_elsewhere() -> None:
    records = corpus(60, 0, classes=1)
    links = [(i, i + 1) for i in range(4)]  # 5 records; val_confirm is to hold 3
    part_of = split(records, links=links)
    assert (part_of[:5] == 0).all()
    pairs = [(i, j, 0.9) for i, j in links]
    certified(records, part_of, pairs)
    exchanged = part_of.copy()
    exchanged[np.flatnonzero(part_of == 3)[:5]], exchanged[:5] = 0, 3
    message = refused(records, parts_of(exchanged), pairs)
    assert message.startswith("linked groups larger than the smallest part that are not in train")
    assert message.endswith("build the split again")


def test_where_records_were_placed_by_hand_only_leaks_and_losses_are_refused() -> None:
    records = corpus(600, 0, classes=1)
    part_of = split(records)
    order = np.argsort([len(record["text"]) for record in records], kind="stable")
    by_length = np.empty(600, dtype=int)
    by_length[order] = np.sort(part_of)
    strata, options = [record["label"] for record in records], SplitOptions()
    listed = {i: int(part) for i, part in enumerate(by_length)}
    parts = parts_of(by_length)
    claims = report.split_report(records, parts, strata, (), options, (), listed)["certificate"]
    assert {claim["part"] for claim in claims if not claim["holds"]} == set(PARTS)
    i, j = parts["train"][0], parts["test"][0]
    with pytest.raises(UserError, match="similar across parts: 1, at most 0"):
        report.split_report(records, parts, strata, [(i, j, 0.9)], options, (), listed)
