"""The demo corpus: it holds the flaws that it plants and no others, and the truth names them."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from rapidfuzz import fuzz, process

from redheart.data.corpus import (
    DISTINCT_BELOW,
    DUPLICATE_FROM,
    ENGLISH,
    FACTORS,
    KOREAN,
    NOISE,
    TASKS,
    CorpusOptions,
    generate,
    labels_of,
    verdict_of,
)
from redheart.errors import UserError
from redheart.tasks import metrics
from redheart.tasks.task import read_target, target_matrix

SMALL = CorpusOptions(records=200)


@pytest.fixture(scope="module")
def corpus():
    return generate(SMALL)


@pytest.fixture(scope="module")
def pure():
    return generate(CorpusOptions(records=200, label_noise=0, target_noise=0, missing=0))


def originals(records, truth):
    copies = {pair["id"] for pair in truth["duplicates"]}
    return [record for record in records if record["id"] not in copies]


def similarities(records):
    """The similarity (0 to 100) of every pair of records, by their two ids."""
    texts = [record["text"] for record in records]
    table = process.cdist(texts, texts, scorer=fuzz.ratio, dtype=np.float64)
    pairs = itertools.combinations(range(len(records)), 2)
    return {frozenset((records[i]["id"], records[j]["id"])): table[i, j] for i, j in pairs}


def assert_only_planted_pairs_are_near(records, truth):
    planted = {frozenset((pair["id"], pair["of"])): pair for pair in truth["duplicates"]}
    for ids, similarity in similarities(records).items():
        if ids in planted:
            assert similarity >= DUPLICATE_FROM
            assert similarity == pytest.approx(100 * planted[ids]["similarity"])
        else:
            assert similarity < DISTINCT_BELOW, ids


def has_hangul(record):
    return re.search("[가-힣]", record["text"]) is not None


def test_the_seed_decides_everything():
    options = CorpusOptions(records=40, seed=3)
    assert json.dumps(generate(options)) == json.dumps(generate(options))
    assert generate(options) != generate(CorpusOptions(records=40, seed=4))


def test_noise_changes_no_text():
    quiet, _ = generate(CorpusOptions(records=40, label_noise=0, target_noise=0, missing=0))
    noisy, _ = generate(CorpusOptions(records=40, label_noise=0.5, target_noise=2, missing=0.3))
    assert {record["text"] for record in quiet} == {record["text"] for record in noisy}


def test_number_of_records_and_copies(corpus):
    records, truth = corpus
    assert len(records) == 200
    assert len(truth["duplicates"]) == 12


def test_only_planted_pairs_are_near(corpus):
    assert_only_planted_pairs_are_near(*corpus)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_only_planted_pairs_are_near_at_full_size(seed):
    assert_only_planted_pairs_are_near(*generate(CorpusOptions(seed=seed)))


def test_a_copy_stands_behind_its_original(corpus):
    records, truth = corpus
    place = {record["id"]: i for i, record in enumerate(records)}
    assert all(place[pair["of"]] < place[pair["id"]] for pair in truth["duplicates"])


def test_some_copies_are_exact_and_some_contradict():
    records, truth = generate(CorpusOptions(records=200, duplicates=0.3))
    label = {record["id"]: record.get("label") for record in records}
    contradictions = [
        pair for pair in truth["duplicates"] if label[pair["id"]] != label[pair["of"]]
    ]
    exact = [pair for pair in truth["duplicates"] if pair["similarity"] == 1]
    assert 5 < len(contradictions) < 30
    assert 5 < len(exact) < 30


@pytest.mark.parametrize("share", [0, 0.1, 0.35])
def test_label_noise_is_exact(share):
    records, truth = generate(CorpusOptions(records=100, duplicates=0.1, label_noise=share))
    labelled = [record for record in originals(records, truth) if "label" in record]
    wrong = [
        record["id"]
        for record in labelled
        if record["label"] != verdict_of(truth["planted"]["factors"][record["id"]])
    ]
    assert wrong == truth["noisy"]["verdict"]
    assert len(wrong) == round(share * len(labelled))


def test_missing_labels_are_exact():
    records, _ = generate(CorpusOptions(records=100, duplicates=0, missing=0.07))
    for task in TASKS:
        missing = [read_target(task, record) is None for record in records]
        assert sum(missing) == 7, task.name


def test_noisy_tasks_overfit_early(corpus):
    _, truth = corpus
    overfitting, ceilings = truth["planted"]["overfitting"], truth["ceilings"]
    assert sorted(itertools.chain(*overfitting.values())) == sorted(ceilings)
    assert max(ceilings[task] for task in overfitting["early"]) < min(
        ceilings[task] for task in overfitting["late"]
    )


def test_verdicts_are_imbalanced(corpus):
    counts = Counter(record.get("label") for record in corpus[0])
    assert counts["OTHER"] > 0.35 * 200
    assert all(0.05 * 200 < counts[name] < 0.5 * counts["OTHER"] for name in ("NOBODY", "INFO"))


def test_factors_determine_all_labels(pure):
    records, truth = pure
    seen = defaultdict(list)
    for record in originals(records, truth):
        factors = truth["planted"]["factors"][record["id"]]
        labels = {task.field: record[task.field] for task in TASKS}
        assert labels == labels_of(factors)
        seen[tuple(factors.values())].append(labels)
    repeated = [labels for labels in seen.values() if len(labels) > 1]
    assert repeated
    assert all(labels == group[0] for group in repeated for labels in group)


def test_pure_labels_reach_a_ceiling_of_one(pure):
    assert pure[1]["ceilings"] == pytest.approx({task.name: 1.0 for task in TASKS}, abs=1e-5)


def test_ceilings_are_what_the_factors_reach(corpus):
    records, truth = corpus
    recorded = originals(records, truth)
    known = [labels_of(truth["planted"]["factors"][record["id"]]) for record in recorded]
    for task in TASKS:
        score = metrics.main_metric(task, target_matrix(task, known), target_matrix(task, recorded))
        assert truth["ceilings"][task.name] == pytest.approx(score)
    assert truth["ceilings"]["regret"] < truth["ceilings"]["bentham"] < 0.97
    assert 0.7 < truth["ceilings"]["verdict"] < 0.95


def test_every_combination_of_factors_has_labels_in_range():
    verdicts = set()
    for levels in itertools.product(*FACTORS.values()):
        labels = labels_of(dict(zip(FACTORS, levels, strict=True)))
        verdicts.add(labels["label"])
        assert sum(labels["emotions"]) == pytest.approx(1, abs=1e-5)
        numbers = [
            labels["regret_factor"],
            *labels["bentham_scores"].values(),
            *labels["surd_metrics"].values(),
        ]
        assert all(0 <= number <= 1 for number in numbers)
    assert verdicts == {"AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO"}


def test_levels_have_shares_values_and_words():
    for levels in FACTORS.values():
        assert sum(share for share, _ in levels.values()) == pytest.approx(1)
        values = [value for _, value in levels.values()]
        assert values == sorted(set(values)), "two levels of one value could not be told apart"
        assert levels.keys() <= ENGLISH.keys() & KOREAN.keys()


@pytest.mark.parametrize("grammar", [ENGLISH, KOREAN], ids=["english", "korean"])
def test_every_symbol_is_defined(grammar):
    assert ENGLISH.keys() == KOREAN.keys()
    used = set(re.findall(r"{(\w+)}", " ".join(grammar.values())))
    assert used - {"agent", "act"} <= grammar.keys()


def test_korean_names_fit_their_particles():
    # 가 and 와 follow a vowel: no final consonant, in Unicode's order every 28th syllable.
    names = KOREAN["name"].split(" | ")
    assert all((ord(name[-1]) - ord("가")) % 28 == 0 for name in names)


def test_records_are_in_the_users_format(corpus):
    records, _ = corpus
    assert len({record["id"] for record in records}) == len(records)
    assert [record["timestamp"] for record in records] == sorted(r["timestamp"] for r in records)
    for record in records:
        assert 50 <= len(record["text"]) <= 230
        assert record["action"] in record["title"]
        assert "{" not in record["text"]
        assert "planted" not in record
        for task in TASKS:
            target = read_target(task, record)
            assert target is None or np.isfinite(target).all()
    json.dumps(records, allow_nan=False)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_share_of_korean(share):
    records, _ = generate(CorpusOptions(records=60, duplicates=0, korean=share))
    assert sum(has_hangul(record) for record in records) == round(share * 60)


def test_noise_has_the_stated_size():
    records, truth = generate(CorpusOptions(records=200, duplicates=0, missing=0))
    residuals = [
        record["bentham_scores"]["intensity"]
        - labels_of(truth["planted"]["factors"][record["id"]])["bentham_scores"]["intensity"]
        for record in records
    ]
    # A little below, since values stay within 0 and 1.
    assert 0.8 * NOISE["bentham_scores"] < np.std(residuals) < 1.1 * NOISE["bentham_scores"]


def test_a_single_record():
    records, truth = generate(CorpusOptions(records=1))
    assert len(records) == 1
    assert truth["duplicates"] == []
    json.dumps(truth, allow_nan=False)


def test_a_full_corpus_says_so(monkeypatch):
    monkeypatch.setattr("redheart.data.corpus.DISTINCT_BELOW", 20.0)
    monkeypatch.setattr("redheart.data.corpus.ATTEMPTS", 5)
    with pytest.raises(UserError, match="ask for fewer"):
        generate(CorpusOptions(records=50))


@pytest.mark.slow
def test_a_linear_model_learns_the_verdict_but_not_its_noise():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    records, truth = generate(CorpusOptions())
    labelled = [record for record in originals(records, truth) if "label" in record]
    texts, labels = [r["text"] for r in labelled], [r["label"] for r in labelled]
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=2000)
    )
    score = f1_score(labels, cross_val_predict(model, texts, labels, cv=5), average="macro")
    chance = f1_score(labels, ["OTHER"] * len(labels), average="macro")
    assert chance + 0.3 < score < truth["ceilings"]["verdict"] - 0.05
