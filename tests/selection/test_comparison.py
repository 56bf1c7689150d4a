"""The decision what ships, its words, and the table of all candidates."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from noisy_predictions import TASKS, UNKNOWN, drawn_targets, noisy

from redheart.selection.bootstrap import Interval, bootstrap_scores, interval, p_value
from redheart.selection.comparison import (
    Decision,
    baseline_sentence,
    candidate_results,
    decide_shipped,
    find_challenger,
    noise_sentence,
)
from redheart.tasks.metrics import macro, task_metrics

PARTS = ("val_select", "val_confirm", "test")

ABOVE = Interval(0.03, 0.01, 0.05)
AROUND = Interval(0.003, -0.010, 0.015)
BELOW = Interval(-0.03, -0.05, -0.01)


def test_the_challenger_ships_when_val_confirm_supports_it() -> None:
    scores = {"last": 0.49, "greedy_soup": 0.505, "crossover": 0.512}
    assert decide_shipped(scores, ABOVE) == Decision(
        "crossover",
        "The crossover ships: it scored 0.512 on val_select against 0.505 of the greedy soup, "
        "and its difference on val_confirm, +0.030 [+0.010, +0.050], is above 0.",
    )


@pytest.mark.parametrize(
    ("interval", "finding"),
    [
        (AROUND, "but its difference on val_confirm, +0.003 [-0.010, +0.015], may be zero"),
        (BELOW, "but its difference on val_confirm, -0.030 [-0.050, -0.010], is below 0"),
        (UNKNOWN, "but val_confirm has no label to confirm it on"),
        (Interval(0.01, 0.0, 0.02), "but its difference on val_confirm, +0.010 [+0.000, +0.020], may be zero"),
    ],
)  # fmt: skip
def test_without_confirmation_the_default_ships(interval: Interval, finding: str) -> None:
    decision = decide_shipped({"greedy_soup": 0.505, "crossover": 0.512}, interval)
    assert decision == Decision(
        "greedy_soup",
        "No gain: the greedy soup ships; the crossover scored 0.512 on val_select "
        f"against 0.505, {finding}.",
    )


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (
            {"last": 0.4, "ema": 0.45, "greedy_soup": 0.5},
            "no candidate scored higher on val_select (0.500; the EMA weights scored 0.450)",
        ),
        (
            {"crossover": 0.5, "greedy_soup": 0.5},
            "no candidate scored higher on val_select (0.500; the crossover scored 0.500)",
        ),
        (
            {"crossover": math.nan, "greedy_soup": math.nan},
            "val_select has no label to compare the candidates on",
        ),
        ({"greedy_soup": 0.5}, "there is no other candidate"),
    ],
)
def test_the_default_ships_unchallenged(scores: dict[str, float], reason: str) -> None:
    assert decide_shipped(scores, None) == Decision(
        "greedy_soup", f"The greedy soup ships: {reason}."
    )


def test_of_equal_challengers_the_first_is_tried() -> None:
    scores = {"last": 0.6, "ema": 0.6, "greedy_soup": 0.5}
    assert find_challenger(scores) == "last"
    assert find_challenger({**scores, "greedy_soup": 0.6}) == "greedy_soup"
    assert decide_shipped(scores, ABOVE).candidate == "last"


def test_another_default_and_unknown_names() -> None:
    decision = decide_shipped({"a": 1.0, "b": 0.5}, ABOVE, default="b")
    assert decision.candidate == "a"
    assert decision.reason.startswith("A ships: it scored 1.000 on val_select against 0.500 of b,")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        (BELOW, "The model loses to TF-IDF + linear"),
        (AROUND, "The model is not distinguishable from TF-IDF + linear"),
        (ABOVE, "The model beats TF-IDF + linear"),
    ],
)
def test_the_baseline_is_named_first(interval: Interval, verdict: str) -> None:
    assert baseline_sentence("ema", 0.5, 0.497, interval) == (
        f"{verdict}: on test, 0.500 (the EMA weights) against 0.497, a difference of {interval}."
    )


def test_a_baseline_without_test_labels() -> None:
    sentence = baseline_sentence("ema", math.nan, math.nan, UNKNOWN)
    assert sentence == "The model cannot be compared with TF-IDF + linear: test has no label."


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(1, "nothing of what another training would"), (3, "means over 3 training seeds")],
)
def test_what_the_intervals_do_not_cover_is_said(seeds: int, said: str) -> None:
    assert said in noise_sentence(seeds)


@pytest.fixture
def corpus() -> dict[str, dict[str, np.ndarray]]:
    return {part: drawn_targets(30, seed) for seed, part in enumerate(PARTS)}


def model(corpus: dict, share: float, seed: int) -> dict[str, dict[str, np.ndarray]]:
    return {part: noisy(targets, share, seed) for part, targets in corpus.items()}


def resampled(predictions: dict, corpus: dict, resamples: int) -> dict[str, np.ndarray]:
    """Return every candidate's scores on test and its resamples, each record a cluster."""
    runs = {n: [parts["test"] for parts in seeds.values()] for n, seeds in predictions.items()}
    return bootstrap_scores(TASKS, runs, corpus["test"], np.arange(30), resamples)


def table(predictions: dict, corpus: dict, passes: dict, resamples: int) -> dict:
    scores = resampled(predictions, corpus, resamples)
    return candidate_results(TASKS, predictions, corpus, scores, passes, {})


def test_candidate_results_of_one_seed(corpus: dict) -> None:
    predictions = {
        name: {0: model(corpus, share, seed)}
        for name, share, seed in (
            ("last", 0.8, 1),
            ("best_single", 0.7, 2),
            ("greedy_soup", 0.6, 3),
            ("same", 0.8, 1),
        )
    }
    passes = {"last": 1, "best_single": 5, "greedy_soup": 1, "same": 1}
    results = table(predictions, corpus, passes, 50)
    assert list(results) == list(predictions)
    assert list(results["last"]) == ["val_select", "val_confirm", "test", "forward_passes"]
    last = predictions["last"][0]
    for part in ("val_select", "val_confirm"):
        assert results["last"][part] == macro(TASKS, last[part], corpus[part])
    test = results["last"]["test"]
    assert test["macro"] == macro(TASKS, last["test"], corpus["test"])
    assert test["tasks"] == {
        t.name: task_metrics(t, last["test"][t.name], corpus["test"][t.name]) for t in TASKS
    }
    scores = resampled(predictions, corpus, 50)
    for reference in ("best_single", "greedy_soup"):
        versus = test[f"versus_{reference}"]
        difference = scores["last"] - scores[reference]
        expected = interval(difference)
        assert [versus[key] for key in ("difference", "low", "high")] == [
            expected.difference,
            expected.low,
            expected.high,
        ]
        # Two comparisons: `same` is `last` once more, and the reference is not compared.
        p = {
            n: p_value(scores[n] - scores[reference])
            for n in ("last", "best_single", "greedy_soup")
        }
        rivals = sorted(p[n] for n in p if n != reference)
        assert versus["p"] == p["last"]
        smallest = p["last"] == rivals[0]
        assert versus["p_holm"] == min(
            1, 2 * p["last"] if smallest else max(2 * rivals[0], p["last"])
        )
        assert results["same"]["test"][f"versus_{reference}"] == versus
        assert results[reference]["test"][f"versus_{reference}"] == {
            "difference": 0, "low": 0, "high": 0, "p": 1, "p_holm": 1
        }  # fmt: skip
    assert results["best_single"]["forward_passes"] == 5


def test_candidate_results_of_several_seeds(corpus: dict) -> None:
    predictions = {
        "best_single": {seed: model(corpus, 0.7, seed) for seed in (1, 0)},
        "greedy_soup": {seed: model(corpus, 0.6, 5 + seed) for seed in (1, 0)},
        "tfidf_linear": {0: model(corpus, 0.5, 9)},
    }
    passes = {"best_single": 1, "greedy_soup": 1, "tfidf_linear": 0}
    results = table(predictions, corpus, passes, 20)
    assert "per_seed" not in results["tfidf_linear"]
    several = results["best_single"]
    assert list(several["per_seed"]) == ["0", "1"]
    for score in (
        lambda result: result["val_select"],
        lambda result: result["test"]["macro"],
        lambda result: result["test"]["tasks"]["verdict"]["accuracy"],
    ):
        assert score(several) == pytest.approx(
            np.mean([score(result) for result in several["per_seed"].values()])
        )
    again = table(predictions, corpus, passes, 20)
    assert json.dumps(results) == json.dumps(again)


def test_undefined_scores_become_null(corpus: dict) -> None:
    names = ("best_single", "greedy_soup")
    predictions = {
        name: {seed: model(corpus, 0.5, seed) for seed in (i, i + 1)}
        for i, name in enumerate(names)
    }
    for part in ("val_confirm", "test"):
        corpus[part] = {name: np.full_like(t, np.nan) for name, t in corpus[part].items()}
    result = table(predictions, corpus, dict.fromkeys(names, 1), 5)["best_single"]
    assert result["val_confirm"] is None
    assert result["test"]["macro"] is None
    assert result["test"]["tasks"]["emotion"] == {"js_similarity": None, "top_1_agreement": None}
    assert set(result["test"]["versus_greedy_soup"].values()) == {None}
    json.dumps(result, allow_nan=False)
