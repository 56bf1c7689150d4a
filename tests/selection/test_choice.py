"""From predictions to what ships: planted winners, planted ties, several seeds, rivals."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.encoding.tokens import Encoded
from redheart.selection.choice import choose, compare, count_passes
from redheart.tasks.task import Task

TASK = Task("verdict", "multiclass", "label", ("a", "b", "c"))
SIZES = {"val_select": 300, "val_confirm": 200, "test": 300}


def truth(seed=0):
    rng = np.random.default_rng(seed)
    return {part: np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)] for part, n in SIZES.items()}


def predict(targets, accuracy, seed):
    """Predict the right class of about a share `accuracy` of the records."""
    rng = np.random.default_rng(seed)

    def part(target):
        right = rng.random(len(target)) < accuracy
        wrong = np.roll(target, 1, axis=1)
        return {"verdict": np.where(right[:, None], target, wrong).astype(np.float32)}

    return {name: part(target) for name, target in targets.items()}


def run(accuracies, baseline=0.5, seeds=(0,), passes=None):
    targets = truth()
    tables = {
        seed: {
            name: predict(targets, accuracy, 10 * seed + i)
            for i, (name, accuracy) in enumerate(accuracies.items())
        }
        for seed in seeds
    }
    truths = {part: {"verdict": target} for part, target in targets.items()}
    clusters = {part: np.arange(n) for part, n in SIZES.items()}
    passes = dict.fromkeys(accuracies, 1) | (passes or {})
    without_test = {
        seed: {name: {p: v for p, v in parts.items() if p != "test"} for name, parts in t.items()}
        for seed, t in tables.items()
    }
    choice = choose([TASK], without_test, truths, clusters, passes, resamples=200)
    yardstick = {"tfidf_linear": predict(targets, baseline, 99)}
    parts = {name: Encoded((), targets, 1, 1) for name, targets in truths.items()}
    compared = compare(
        [TASK], choice, tables, yardstick, parts, clusters["test"], passes, resamples=200
    )
    return {**compared, "choice": choice}


def test_a_clear_gain_ships():
    result = run({"best_single": 0.6, "greedy_soup": 0.6, "crossover": 0.95})
    assert result["shipped"]["candidate"] == "crossover"
    assert result["candidates"]["crossover"]["test"]["versus_best_single"]["low"] > 0
    assert result["baseline_sentence"].startswith("The model beats TF-IDF + linear")


def test_without_a_gain_the_greedy_soup_ships():
    result = run({"best_single": 0.6, "greedy_soup": 0.6, "crossover": 0.61})
    assert result["shipped"]["candidate"] == "greedy_soup"


def test_the_linear_baseline_never_ships_and_a_loss_to_it_is_said_first():
    result = run({"best_single": 0.5, "greedy_soup": 0.5}, baseline=0.95)
    assert result["shipped"]["candidate"] == "greedy_soup"
    assert result["baseline_sentence"].startswith("The model loses to TF-IDF + linear")


def test_several_seeds_are_averaged_and_the_best_one_ships():
    result = run({"best_single": 0.6, "greedy_soup": 0.6}, seeds=(3, 5, 8))
    soup = result["candidates"]["greedy_soup"]
    assert set(soup["per_seed"]) == {"3", "5", "8"}
    by_seed = {int(seed): scores["val_select"] for seed, scores in soup["per_seed"].items()}
    assert soup["val_select"] == pytest.approx(np.mean(list(by_seed.values())))
    assert result["shipped"]["seed"] == max(by_seed, key=by_seed.get)


def test_a_gain_on_copies_of_one_text_is_not_confirmed():
    """The challenger is right where the soup is wrong: on 20 records, be they one text or 20."""
    targets = truth()
    soup = predict(targets, 0.6, 0)
    better = {part: {"verdict": soup[part]["verdict"].copy()} for part in soup}
    for part, target in targets.items():
        wrong = (soup[part]["verdict"].argmax(1) != target.argmax(1)).nonzero()[0][:20]
        better[part]["verdict"][wrong] = target[wrong]
        clusters = np.arange(len(target))
        if part == "val_confirm":
            alone, copies = clusters, np.where(np.isin(clusters, wrong), wrong[0], clusters)
    tables = {0: {"greedy_soup": soup, "crossover": better}}
    truths = {part: {"verdict": target} for part, target in targets.items()}
    for clusters, shipped in ((alone, "crossover"), (copies, "greedy_soup")):
        passes = dict.fromkeys(tables[0], 1)
        choice = choose([TASK], tables, truths, {"val_confirm": clusters}, passes, 500)
        assert (choice["challenger"], choice["candidate"]) == ("crossover", shipped)


def test_what_takes_several_passes_is_a_rival_that_never_ships():
    accuracies = {"best_single": 0.6, "greedy_soup": 0.6, "variants_ensemble": 0.95}
    assert run(accuracies)["shipped"]["candidate"] == "variants_ensemble"
    result = run(accuracies, passes={"variants_ensemble": 3})
    assert result["shipped"]["candidate"] == "greedy_soup"
    assert result["candidates"]["variants_ensemble"]["test"]["versus_greedy_soup"]["p_holm"] < 0.01


def test_a_candidate_costs_what_its_dearest_seed_costs():
    sources = [{"a": {"forward_passes": n}, "b": {"forward_passes": 1}} for n in (2, 5, 1)]
    assert count_passes(sources) == {"a": 5, "b": 1}


def test_the_choice_declares_what_test_will_compare():
    choice = run({"best_single": 0.6, "greedy_soup": 0.6, "crossover": 0.95})["choice"]
    assert choice["compared_on_test"] == ["best_single", "greedy_soup", "crossover"]
    assert choice["with"] == ["best_single", "greedy_soup", "tfidf_linear"]
    assert set(choice["val_select"]) == {"best_single", "greedy_soup", "crossover"}
