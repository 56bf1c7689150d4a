"""The paired bootstrap, the decision what ships, and its words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from redheart.comparison import (
    Decision,
    Interval,
    baseline_sentence,
    bootstrap_macros,
    candidate_results,
    decide_shipped,
    paired_bootstrap,
    paired_differences,
    resample_weights,
)
from redheart.metrics import macro, task_metrics
from redheart.tasks import Task

EMOTION = Task("emotion", "distribution", "emotions", ("joy", "anger", "fear"))
VERDICT = Task("verdict", "multiclass", "label", ("a", "b", "c"))
TASKS = (EMOTION, VERDICT)
PARTS = ("val_select", "val_confirm", "test")

ABOVE = Interval(0.03, 0.01, 0.05)
AROUND = Interval(0.003, -0.010, 0.015)
BELOW = Interval(-0.03, -0.05, -0.01)
UNKNOWN = Interval(math.nan, math.nan, math.nan)


def drawn_targets(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"emotion": rng.dirichlet([1] * 3, n), "verdict": np.eye(3)[rng.integers(0, 3, n)]}


def noisy(targets: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """Mix a share of noise into the truth."""
    rng = np.random.default_rng(seed)
    return {
        name: (1 - share) * target + share * rng.dirichlet([1] * 3, len(target))
        for name, target in targets.items()
    }


def test_resamples_draw_n_records_and_depend_on_the_seed_alone() -> None:
    weights = resample_weights(30, 200, seed=1)
    assert weights.shape == (200, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert weights.mean(axis=0) == pytest.approx(1, abs=0.35)
    assert np.array_equal(weights, resample_weights(30, 200, seed=1))
    assert not np.array_equal(weights, resample_weights(30, 200, seed=2))
    assert resample_weights(0, 5).shape == (5, 0)


def test_bootstrap_macros_are_the_macros_of_the_repeated_records() -> None:
    targets = drawn_targets(40, 0)
    runs = [noisy(targets, 0.8, seed) for seed in (1, 2)]
    weights = resample_weights(40, 4)
    for row, result in zip(weights, bootstrap_macros(TASKS, runs, targets, weights), strict=True):
        repeated = {name: np.repeat(target, row, axis=0) for name, target in targets.items()}
        expected = [
            macro(TASKS, {k: np.repeat(v, row, axis=0) for k, v in run.items()}, repeated)
            for run in runs
        ]
        assert result == pytest.approx(np.mean(expected), abs=1e-12)


def test_identical_predictions_differ_by_exactly_zero() -> None:
    targets = drawn_targets(50, 0)
    same = noisy(targets, 0.7, 1)
    assert paired_bootstrap(TASKS, same, same, targets, 100) == Interval(0, 0, 0)


def test_a_clear_winner_is_told_from_chance() -> None:
    targets = drawn_targets(100, 0)
    good, bad = noisy(targets, 0.3, 1), noisy(targets, 0.9, 2)
    interval = paired_bootstrap(TASKS, good, bad, targets, 200)
    assert 0 < interval.low < interval.difference < interval.high
    gain = macro(TASKS, good, targets) - macro(TASKS, bad, targets)
    assert interval.difference == pytest.approx(gain)
    mirrored = paired_bootstrap(TASKS, bad, good, targets, 200)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))


def test_two_equally_good_ones_are_not() -> None:
    targets = drawn_targets(100, 0)
    interval = paired_bootstrap(TASKS, noisy(targets, 0.7, 1), noisy(targets, 0.7, 2), targets, 200)
    assert interval.low < 0 < interval.high


def test_several_seeds_average_their_scores() -> None:
    targets = drawn_targets(60, 0)
    runs = [noisy(targets, 0.6, seed) for seed in (1, 2, 3)]
    other = noisy(targets, 0.9, 4)
    interval = paired_bootstrap(TASKS, runs, [other], targets, 100)
    mean = np.mean([macro(TASKS, run, targets) for run in runs])
    assert interval.difference == pytest.approx(mean - macro(TASKS, other, targets))
    assert paired_bootstrap(TASKS, runs, other, targets, 100) == interval


def test_differences_of_many_equal_those_of_pairs() -> None:
    targets = drawn_targets(60, 0)
    candidates = {name: [noisy(targets, 0.7, i)] for i, name in enumerate("abc")}
    together = paired_differences(TASKS, candidates, targets, "b", 100, seed=3)
    assert together["b"] == Interval(0, 0, 0)
    for name in "ac":
        pair = paired_bootstrap(TASKS, candidates[name], candidates["b"], targets, 100, seed=3)
        assert together[name] == pair


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="reference 'x' is none of"):
        paired_differences(TASKS, {"a": []}, drawn_targets(2, 0), "x")


def test_a_part_without_labels_has_no_interval() -> None:
    targets = drawn_targets(5, 0)
    unlabelled = {name: np.full_like(target, np.nan) for name, target in targets.items()}
    interval = paired_bootstrap(TASKS, targets, targets, unlabelled, 10)
    assert all(math.isnan(bound) for bound in (interval.difference, interval.low, interval.high))


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    everyone = drawn_targets(20_000, 0)
    first, second = noisy(everyone, 0.5, 1), noisy(everyone, 0.6, 2)
    truth = macro(TASKS, first, everyone) - macro(TASKS, second, everyone)
    held = 0
    for start in range(0, 20_000, 200):
        rows = slice(start, start + 200)
        sample = ({name: array[rows] for name, array in one.items()} for one in (first, second))
        targets = {name: target[rows] for name, target in everyone.items()}
        interval = paired_bootstrap(TASKS, *sample, targets, 300, seed=start)
        held += interval.low <= truth <= interval.high
    assert 88 <= held <= 99  # of 100


def test_the_challenger_ships_when_val_confirm_supports_it() -> None:
    scores = {"last": 0.49, "greedy_soup": 0.505, "crossover": 0.512, "tfidf_linear": 0.9}
    assert decide_shipped(scores, {"crossover": ABOVE}) == Decision(
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
    decision = decide_shipped({"greedy_soup": 0.505, "crossover": 0.512}, {"crossover": interval})
    assert decision == Decision(
        "greedy_soup",
        "No gain: the greedy soup ships; the crossover scored 0.512 on val_select "
        f"against 0.505, {finding}.",
    )


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (
            {"last": 0.4, "ema": 0.45, "greedy_soup": 0.5, "tfidf_linear": 0.6},
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
        ({"greedy_soup": 0.5, "tfidf_linear": 0.6}, "there is no other candidate"),
    ],
)
def test_the_default_ships_unchallenged(scores: dict[str, float], reason: str) -> None:
    assert decide_shipped(scores, {}) == Decision(
        "greedy_soup", f"The greedy soup ships: {reason}."
    )


def test_of_equal_challengers_the_first_is_tried() -> None:
    scores = {"last": 0.6, "ema": 0.6, "greedy_soup": 0.5}
    assert decide_shipped(scores, {"last": ABOVE}).candidate == "last"


def test_another_default_and_unknown_names() -> None:
    decision = decide_shipped({"a": 1.0, "b": 0.5}, {"a": ABOVE}, default="b", never=())
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


@pytest.fixture
def corpus() -> dict[str, dict[str, np.ndarray]]:
    return {part: drawn_targets(30, seed) for seed, part in enumerate(PARTS)}


def model(corpus: dict, share: float, seed: int) -> dict[str, dict[str, np.ndarray]]:
    return {part: noisy(targets, share, seed) for part, targets in corpus.items()}


def test_candidate_results_of_one_seed(corpus: dict) -> None:
    predictions = {
        "last": {0: model(corpus, 0.8, 1)},
        "best_single": {0: model(corpus, 0.7, 2)},
    }
    results = candidate_results(
        TASKS, predictions, corpus, {"last": 1, "best_single": 5}, resamples=50
    )
    assert list(results) == ["last", "best_single"]
    assert list(results["last"]) == ["val_select", "val_confirm", "test", "forward_passes"]
    last = predictions["last"][0]
    for part in ("val_select", "val_confirm"):
        assert results["last"][part] == macro(TASKS, last[part], corpus[part])
    test = results["last"]["test"]
    assert test["macro"] == macro(TASKS, last["test"], corpus["test"])
    assert test["tasks"] == {
        t.name: task_metrics(t, last["test"][t.name], corpus["test"][t.name]) for t in TASKS
    }
    versus = paired_bootstrap(
        TASKS, last["test"], predictions["best_single"][0]["test"], corpus["test"], 50
    )
    assert test["versus_best_single"] == {
        "difference": versus.difference, "low": versus.low, "high": versus.high
    }  # fmt: skip
    assert results["best_single"]["test"]["versus_best_single"] == {
        "difference": 0, "low": 0, "high": 0
    }  # fmt: skip
    assert results["best_single"]["forward_passes"] == 5


def test_candidate_results_of_several_seeds(corpus: dict) -> None:
    predictions = {
        "best_single": {seed: model(corpus, 0.7, seed) for seed in (1, 0)},
        "tfidf_linear": {0: model(corpus, 0.5, 9)},
    }
    passes = {"best_single": 1, "tfidf_linear": 0}
    results = candidate_results(TASKS, predictions, corpus, passes, resamples=20)
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
    again = candidate_results(TASKS, predictions, corpus, passes, resamples=20)
    assert json.dumps(results) == json.dumps(again)


def test_undefined_scores_become_null(corpus: dict) -> None:
    predictions = {"best_single": {seed: model(corpus, 0.5, seed) for seed in (0, 1)}}
    for part in ("val_confirm", "test"):
        corpus[part] = {name: np.full_like(t, np.nan) for name, t in corpus[part].items()}
    result = candidate_results(TASKS, predictions, corpus, {"best_single": 1}, resamples=5)
    result = result["best_single"]
    assert result["val_confirm"] is None
    assert result["test"]["macro"] is None
    assert result["test"]["tasks"]["emotion"] == {"js_similarity": None, "top_1_agreement": None}
    assert set(result["test"]["versus_best_single"].values()) == {None}
    json.dumps(result, allow_nan=False)
