"""The measurement of planted label errors: what is exchanged, and the rows of the tables."""

from __future__ import annotations

import mislabelled
import mislabelled_runs as runs
import numpy as np
import pytest


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_as_many_labels_are_exchanged_as_stated(share):
    labels = np.arange(200) % 4
    nearest = np.array([1, 0, 3, 2])
    for kind in ("uniform", "neighbours"):
        given = runs.exchanged(labels, 4, kind, share, nearest, seed=0)
        changed = given != labels
        assert changed.sum() == round(share * 200) and set(given) <= {0, 1, 2, 3}
        if kind == "neighbours":
            assert (given[changed] == nearest[labels[changed]]).all()


def test_the_neighbour_of_a_class_has_the_most_similar_texts():
    texts = ["red apple", "red pear", "blue car", "blue train"]
    assert runs.neighbours(texts, np.arange(4), 4).tolist() == [1, 0, 3, 2]


def test_a_perceptron_learns_the_given_labels_and_its_runs_are_judged(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    given = np.where(rng.random(300) < 0.1, 1 - truth, truth)
    texts = [
        f"{'good' if label else 'bad'} word{i % 7} thing{i % 5}" for i, label in enumerate(truth)
    ]
    said = runs.perceptron(texts, given, 192, 2, seed=0)
    assert said.shape == (24, 300, 2)
    assert (said[-1].argmax(axis=1) == truth).mean() > 0.85
    path = tmp_path / "perceptron-two-uniform-0.10-0.npz"
    np.savez(path, texts=np.array(texts), truth=truth, given=given, train=192, fused=said)
    run = mislabelled.Run(str(path))
    assert run.name == "perceptron-two-uniform-0.10"
    wrong = given[:192] != truth[:192]
    most = np.argsort(-run.mapped()["train"].suspicion)[: wrong.sum()]
    assert wrong[most].mean() > 0.8
    assert mislabelled.named_row(run)[1] == f"{(given != truth).mean():.3f}"
