"""The linear baseline learns what words tell, and answers for tasks that it cannot learn."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from redheart.selection import baseline
from redheart.selection.baseline import LinearBaseline, fit_tfidf_linear
from redheart.tasks.metrics import main_metric
from redheart.tasks.task import Task

VERDICT = Task("verdict", "multiclass", "verdict", ("good", "bad", "unclear"))
TAGS = Task("tags", "multilabel", "tags", ("kind", "cruel"))
EMOTION = Task("emotion", "distribution", "emotion", ("joy", "anger", "fear"))
SCORES = Task("scores", "regression", "scores", ("gain", "loss"))
TASKS = (VERDICT, TAGS, EMOTION, SCORES)
SIZES = {"train": 60, "val_select": 20, "val_confirm": 10, "test": 30}
KINDS = np.array(["helped", "robbed", "met 만났다"])
FILLERS = np.array(["my", "neighbour", "again,", "man;", "a", "girl!", "어제", "그는", "친구를"])


def planted(n: int, seed: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """Draw texts in which one word among fillers decides every label."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    texts = [" ".join([*rng.choice(FILLERS, 8), KINDS[k], *rng.choice(FILLERS, 8)]) for k in kind]
    one_hot = np.eye(3, dtype=np.float32)[kind]
    return texts, {
        "verdict": one_hot,
        "tags": one_hot[:, :2],
        "emotion": 0.1 + 0.7 * one_hot,
        "scores": one_hot[:, :2] * np.float32([10, -1]),
    }


@pytest.fixture
def texts() -> dict[str, list[str]]:
    return {part: planted(n, seed)[0] for seed, (part, n) in enumerate(SIZES.items())}


@pytest.fixture
def targets() -> dict[str, dict[str, np.ndarray]]:
    return {part: planted(n, seed)[1] for seed, (part, n) in enumerate(SIZES.items())}


def same_predictions(first: LinearBaseline, second: LinearBaseline, atol: float) -> bool:
    return all(
        np.allclose(
            first.predictions[part][name], second.predictions[part][name], rtol=0, atol=atol
        )
        for part in first.predictions
        for name in first.predictions[part]
    )


def test_a_planted_rule_is_learnt(texts: dict, targets: dict) -> None:
    fitted = fit_tfidf_linear(TASKS, texts, targets)
    assert list(fitted.predictions) == list(SIZES)
    for task in TASKS:
        prediction = fitted.predictions["test"][task.name]
        assert prediction.dtype == np.float32
        assert main_metric(task, prediction, targets["test"][task.name]) > 0.9
    for name in ("verdict", "emotion"):
        assert fitted.predictions["test"][name].sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_the_regularisation_is_chosen_on_val_select(texts: dict, targets: dict) -> None:
    fitted = fit_tfidf_linear(TASKS, texts, targets)
    chosen = fitted.hyperparameters
    assert {name: list(options) for name, options in chosen.items()} == {
        "verdict": ["C"], "tags": ["C"], "emotion": ["C"], "scores": ["alpha"]
    }  # fmt: skip
    # The scores are noiseless: the weakest penalty wins. Where no penalty helps, the strongest wins.
    assert chosen["scores"] == {"alpha": baseline.RIDGE_PENALTIES[-1]}
    targets["val_select"]["scores"] *= -1
    opposed = fit_tfidf_linear([SCORES], texts, targets)
    assert opposed.hyperparameters["scores"] == {"alpha": baseline.RIDGE_PENALTIES[0]}


def test_only_train_and_val_select_are_used(texts: dict, targets: dict) -> None:
    fitted = fit_tfidf_linear(TASKS, texts, targets)
    fitted_on = {part: targets[part] for part in ("train", "val_select")}
    assert same_predictions(fitted, fit_tfidf_linear(TASKS, texts, fitted_on), 0)
    fewer = {part: texts[part] for part in ("train", "val_select", "test")}
    alone = fit_tfidf_linear(TASKS, fewer, fitted_on)
    assert list(alone.predictions) == list(fewer)
    assert same_predictions(alone, fitted, 0)


def test_records_without_a_label_do_not_count(texts: dict, targets: dict) -> None:
    unlabelled = {
        name: np.full_like(target[:9], np.nan) for name, target in targets["train"].items()
    }
    for name, target in targets["train"].items():
        target[-9:] = unlabelled[name]
    fitted = fit_tfidf_linear(TASKS, texts, targets)
    for task in TASKS:
        prediction = fitted.predictions["test"][task.name]
        assert main_metric(task, prediction, targets["test"][task.name]) > 0.8


def test_a_single_unknown_value_hides_no_other(texts: dict, targets: dict) -> None:
    targets["train"]["scores"][:, 1] = np.nan
    targets["train"]["tags"][::2, 1] = np.nan
    predictions = fit_tfidf_linear(TASKS, texts, targets).predictions["test"]
    assert np.corrcoef(predictions["scores"][:, 0], targets["test"]["scores"][:, 0])[0, 1] > 0.95
    assert (predictions["scores"][:, 1] == 0).all()
    assert main_metric(TAGS, predictions["tags"], targets["test"]["tags"]) > 0.9


@pytest.mark.parametrize("absent", [0, 2])
def test_a_class_that_train_lacks_gets_probability_zero(
    texts: dict, targets: dict, absent: int
) -> None:
    target = targets["train"]["verdict"]
    target[target[:, absent] == 1] = np.nan
    prediction = fit_tfidf_linear([VERDICT], texts, targets).predictions["test"]["verdict"]
    assert (prediction[:, absent] == 0).all()
    assert prediction.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_single_class_is_always_predicted(texts: dict, targets: dict) -> None:
    targets["train"]["verdict"][:] = [0, 1, 0]
    targets["train"]["tags"][:] = [0, 1]
    targets["train"]["scores"][:] = [7, 7]
    predictions = fit_tfidf_linear(TASKS, texts, targets).predictions["test"]
    assert (predictions["verdict"] == [0, 1, 0]).all()
    assert (predictions["tags"] == [0, 1]).all()
    assert (predictions["scores"] == 7).all()


def test_a_task_without_labels_is_not_guessed(texts: dict, targets: dict) -> None:
    for part in ("train", "val_select"):
        targets[part] = {name: np.full_like(t, np.nan) for name, t in targets[part].items()}
    predictions = fit_tfidf_linear(TASKS, texts, targets).predictions["test"]
    assert predictions["verdict"] == pytest.approx(1 / 3)
    assert predictions["emotion"] == pytest.approx(1 / 3)
    assert (predictions["tags"] == 0.5).all()
    assert (predictions["scores"] == 0).all()


def test_an_empty_part_and_texts_without_words(texts: dict, targets: dict) -> None:
    texts["val_confirm"] = texts["val_select"] = []
    targets["val_select"] = {name: target[:0] for name, target in targets["val_select"].items()}
    texts["test"] = ["", "?!", "완전히 새로운", *texts["test"][3:]]
    predictions = fit_tfidf_linear(TASKS, texts, targets).predictions
    for task in TASKS:
        assert predictions["val_confirm"][task.name].shape == (0, task.width)
        assert np.isfinite(predictions["test"][task.name]).all()


def test_rotation_changes_no_prediction(
    texts: dict, targets: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotated = fit_tfidf_linear(TASKS, texts, targets)
    monkeypatch.setattr(baseline, "MAX_ROTATED_ROWS", 0)
    sparse = fit_tfidf_linear(TASKS, texts, targets)
    assert sparse.hyperparameters == rotated.hyperparameters
    assert same_predictions(sparse, rotated, 2e-2)


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte() -> None:
    code = """
import hashlib, test_baseline as t
parts = {part: t.planted(5 * n, seed) for seed, (part, n) in enumerate(t.SIZES.items())}
fitted = t.fit_tfidf_linear(
    t.TASKS, {p: one[0] for p, one in parts.items()}, {p: one[1] for p, one in parts.items()}
)
tables = (table for part in fitted.predictions.values() for table in part.values())
print(hashlib.sha256(b"".join(table.tobytes() for table in tables)).hexdigest())
"""
    folder = os.path.dirname(__file__)
    hashes = set()
    for threads in ("1", "2"):
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join([folder, os.path.dirname(folder)]),
        }
        command = [sys.executable, "-c", code]
        hashes.add(subprocess.check_output(command, env=environment, text=True))
    assert len(hashes) == 1


def test_rare_classes_are_raised_as_the_network_s_are() -> None:
    rng = np.random.default_rng(0)
    task, texts, targets = Task("verdict", "multiclass", "v", ("common", "rare")), {}, {}
    for part, n in {"train": 600, "val_select": 600, "test": 600}.items():
        rare = rng.random(n) < 0.15
        hint = rng.random(n) < np.where(rare, 0.6, 0.15)
        texts[part] = [f"{rng.choice(FILLERS)} {'robbed' if h else 'met'} him" for h in hint]
        targets[part] = {"verdict": np.eye(2, dtype=np.float32)[rare.astype(int)]}
    plain, raised = (
        fit_tfidf_linear([task], texts, targets, balance).predictions["test"]["verdict"]
        for balance in (False, True)
    )
    plain_score, raised_score = (
        main_metric(task, p, targets["test"]["verdict"]) for p in (plain, raised)
    )
    assert raised_score > plain_score + 0.05
    assert raised.sum(axis=1) == pytest.approx(np.ones(600), abs=1e-5)
    odds = [p[:, 1] / p[:, 0] for p in (plain, raised)]
    assert odds[1] / odds[0] == pytest.approx((odds[1] / odds[0])[0] * np.ones(600), rel=1e-4)
