"""The parts' targets and lengths: as alike as other splitters make them, and certified."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import IterativeStratification
from scipy import stats
from sklearn.model_selection import train_test_split
from split_corpus import MOOD, RATING, TAGS, corpus, label_deviations, split

from redheart.split.balance import balance, indicators, ks_distance
from redheart.split.parts import SplitOptions
from redheart.tasks.task import Task, target_matrix

FRACTIONS = np.array(SplitOptions().fractions)
# Other seeds than 0 to 19, on which the weights of the imbalance were set.
SEEDS = range(1000, 1020)


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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of scipy's p-value
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=40),
    st.lists(st.integers(0, 20), min_size=1, max_size=40),
)
def test_ks_distance_equals_scipys(sample, whole) -> None:
    expected = stats.ks_2samp(sample, whole, method="asymp").statistic
    assert ks_distance(sample, whole) == pytest.approx(expected)
