"""The parts' targets and lengths: as alike as other splitters make them, and certified."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import IterativeStratification
from sklearn.model_selection import train_test_split
from split_corpus import MOOD, RATING, TAGS, corpus

from redheart.errors import UserError
from redheart.split import report
from redheart.split.balance import balance, indicators, ks_distance
from redheart.split.dealing import split_records
from redheart.split.parts import PARTS, SplitOptions
from redheart.tasks.task import Task, target_matrix

FRACTIONS = np.array(SplitOptions().fractions)
# Other seeds than 0 to 19, on which the weights of the imbalance were set.
SEEDS = range(1000, 1020)


def split(records, seed: int = 0, tasks=(TAGS, RATING), links=()) -> np.ndarray:
    """Return each record's part as a number."""
    strata = [record["label"] for record in records]
    parts = split_records(records, links, strata, SplitOptions(seed=seed), tasks)
    part_of = np.empty(len(records), dtype=int)
    for number, part in enumerate(PARTS):
        part_of[parts[part]] = number
    return part_of


def facts(records, tasks):
    """Return lengths and targets as the balance takes them."""
    lengths = [len(record["text"]) for record in records]
    return lengths, [(task, target_matrix(task, records)) for task in tasks]


def iterative(tags: np.ndarray, seed: int) -> np.ndarray:
    return IterativeStratification(tags > 0, FRACTIONS, np.random.RandomState(seed))


def stratified(values: np.ndarray, seed: int) -> np.ndarray:
    """Split by scikit-learn: by the tenths of a number, by the likeliest class of a distribution."""
    bins = np.searchsorted(np.quantile(values, np.arange(1, 10) / 10), values)
    bins = bins if values.ndim == 1 else values.argmax(axis=1)
    part_of, rest = np.zeros(len(values), dtype=int), np.arange(len(values))
    for part in (1, 2, 3):
        size = round(FRACTIONS[part] * len(values))
        rest, taken = train_test_split(rest, test_size=size, stratify=bins[rest], random_state=seed)
        part_of[taken] = part
    return part_of


def label_deviations(part_of: np.ndarray, tags: np.ndarray) -> np.ndarray:
    return np.abs([tags[part_of == part].mean(axis=0) - tags.mean(axis=0) for part in range(4)])


def distances(part_of: np.ndarray, values: np.ndarray) -> list[float]:
    columns = values.T if values.ndim > 1 else [values]
    return [ks_distance(of[part_of == part], of) for of in columns for part in range(4)]


@cache
def deviations_of(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviations of our splits by that task, and the other splitter's, seed by seed."""
    ours, theirs = [], []
    for seed in SEEDS:
        records = corpus(1000, seed)
        values = np.array([record[task.field] for record in records])
        found = split(records, seed, (task,))
        if task is TAGS:
            ours.append(label_deviations(found, values))
            theirs.append(label_deviations(iterative(values, seed), values))
        else:
            ours.append(distances(found, values))
            theirs.append(distances(stratified(values, seed), values))
    return np.array(ours), np.array(theirs)


@pytest.mark.slow
@pytest.mark.parametrize("task", [TAGS, RATING, MOOD], ids=lambda task: task.kind)
def test_targets_are_as_alike_as_other_splitters_make_them(task) -> None:
    ours, theirs = deviations_of(task)
    assert ours.mean() <= theirs.mean()
    assert (ours**2).mean() <= (theirs**2).mean()
    assert ours.max() <= theirs.max()


@pytest.mark.parametrize("classes", [1, 3, 12])
@pytest.mark.parametrize("seed", range(6))
def test_lengths_are_within_the_claim_from_500_records_on(classes, seed) -> None:
    records = corpus(500 + seed, seed, classes)
    lengths = np.array([len(record["text"]) for record in records])
    assert max(distances(split(records, seed), lengths)) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("count", "most"), [(500, 0.05), (980, 0.03), (2000, 0.03)])
def test_one_record_more_moves_few_others_with_targets_too(count, most) -> None:
    records = corpus(count, 0)
    before = split(records, tasks=(TAGS, RATING, MOOD))
    moved = [
        (split(records + corpus(1, trial, prefix="new"), tasks=(TAGS, RATING, MOOD))[:-1] != before)
        for trial in range(1, 5)
    ]
    assert np.mean(moved) < most


def test_balancing_keeps_counts_and_only_improves() -> None:
    records = corpus(300, 0)
    matrix, weights = indicators(*facts(records, (TAGS, RATING)))
    generator = np.random.default_rng(0)
    part = generator.choice(4, 300, p=FRACTIONS)
    classes = generator.integers(3, size=300)
    free = generator.permutation(300)[:200]

    def imbalance(part):
        sizes = np.bincount(part)
        counts = np.stack([matrix[part == p].sum(axis=0) for p in range(4)])
        off = counts - sizes[:, None] * matrix.mean(axis=0)
        return (off**2 * weights / sizes[:, None]).sum()

    after = balance(part, classes, free, matrix, weights)
    assert imbalance(after) < 0.5 * imbalance(part)
    for value in range(3):
        of = classes == value
        assert (np.bincount(after[of]) == np.bincount(part[of])).all()
    assert set(np.flatnonzero(after != part)) <= set(free)


def test_indicators_are_told_once_and_never_constant() -> None:
    records = [
        {
            "id": str(i),
            "text": "x" * (1 + i % 4),
            "tags": [i % 2, 0],
            "rating": i if i < 6 else None,
        }
        for i in range(12)
    ]
    two = Task("tags", "multilabel", "tags", ("a", "b"))
    matrix, weights = indicators(*facts(records, (two, RATING)))
    assert len(weights) == matrix.shape[1] == len(np.unique(matrix, axis=1).T)
    assert matrix.any(axis=0).all() and not matrix.all(axis=0).any()
    columns = {tuple(column) for column in matrix.T.astype(int).tolist()}
    assert tuple(i % 2 for i in range(12)) in columns  # the label
    assert tuple(int(i < 6) for i in range(12)) in columns  # whether the rating is known
    assert tuple(int(3 <= i < 6) for i in range(12)) in columns  # whether it reaches its middle


def certified(records, part_of, pairs=(), **options):
    parts = {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(PARTS)}
    strata = [record["label"] for record in records]
    return report.split_report(
        records, parts, strata, pairs, SplitOptions(**options), (TAGS, RATING)
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
