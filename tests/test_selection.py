"""From predictions to what ships: planted winners, planted ties, several seeds."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.selection import compare
from redheart.tasks import Task

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


def run(accuracies, baseline=0.5, seeds=(0,)):
    targets = truth()
    tables = {
        seed: {
            name: predict(targets, accuracy, 10 * seed + i)
            for i, (name, accuracy) in enumerate(accuracies.items())
        }
        for seed in seeds
    }
    return compare(
        [TASK],
        tables,
        {"tfidf_linear": predict(targets, baseline, 99)},
        {part: {"verdict": target} for part, target in targets.items()},
        dict.fromkeys(accuracies, 1),
        resamples=200,
    )


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
    each = {int(seed): scores["val_select"] for seed, scores in soup["per_seed"].items()}
    assert soup["val_select"] == pytest.approx(np.mean(list(each.values())))
    assert result["shipped"]["seed"] == max(each, key=each.get)
