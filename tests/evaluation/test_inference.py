"""Clean forward passes: single texts are the oracle for batches, numpy is that for means."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from redheart.encoding.batch import make_batch
from redheart.encoding.tokens import evaluation_batches
from redheart.evaluation import inference
from redheart.model.network import build_network
from redheart.tasks import losses


@pytest.fixture(scope="module")
def network(recipe, part):
    return build_network(
        recipe.model,
        recipe.tasks,
        part.sizes,
        seed=0,
    )


@pytest.fixture(scope="module")
def outputs(network, part, recipe):
    return inference.contributions(network, part, recipe.train)


def test_batches_of_similar_length_come_back_in_the_order_of_the_part(network, part, outputs):
    assert not (np.diff(part.lengths) >= 0).all()
    network.eval()
    for row in (0, 7, 39):
        with torch.no_grad():
            alone = network(make_batch(part, [row]))
        for task, modules in alone.items():
            for module, value in modules.items():
                torch.testing.assert_close(
                    outputs[task][module][row], value[0], rtol=1e-4, atol=1e-5
                )


def test_the_size_of_the_batches_changes_nothing(network, part, recipe, outputs, monkeypatch):
    small = partial(evaluation_batches, tokens_per_batch=60)
    assert len(list(small(part.lengths))) > 10
    monkeypatch.setattr(inference, "evaluation_batches", small)
    changed = inference.contributions(network, part, recipe.train)
    for task, modules in outputs.items():
        for module, value in modules.items():
            torch.testing.assert_close(changed[task][module], value, rtol=1e-4, atol=1e-5)


def test_dropout_is_off_and_training_mode_comes_back(network, part, recipe, outputs):
    network.train()
    again = inference.contributions(network, part, recipe.train)
    assert network.training
    network.eval()
    inference.contributions(network, part.head(1), recipe.train)
    assert not network.training
    for task, modules in outputs.items():
        assert all(torch.equal(value, again[task][module]) for module, value in modules.items())


def test_predictions_are_the_activated_mean_of_the_contributions(tasks, outputs):
    predicted = inference.predictions(tasks, outputs)
    for task in tasks:
        mean = np.mean([value.double().numpy() for value in outputs[task.name].values()], axis=0)
        if task.kind in ("distribution", "multiclass"):
            mean = np.exp(mean) / np.exp(mean).sum(-1, keepdims=True)
        elif task.kind == "multilabel":
            mean = 1 / (1 + np.exp(-mean))
        np.testing.assert_allclose(predicted[task.name], mean, rtol=1e-5, atol=1e-6)
        assert predicted[task.name].dtype == np.float32


def test_scores_of_a_module_are_means_over_labelled_records(tasks, outputs, part):
    scores = inference.module_scores(tasks, outputs, part)
    assert scores.keys() == {module for modules in outputs.values() for module in modules}
    for task in tasks:
        target = part.targets[task.name]
        is_labelled = ~np.isnan(target).all(axis=1)
        assert 0 < is_labelled.sum() < len(part)
        for module, output in outputs[task.name].items():
            rows, labels = output[is_labelled], torch.from_numpy(target[is_labelled])
            assert scores[module][task.name] == pytest.approx(
                {
                    "loss": float(losses.record_losses(task, rows, labels).mean()),
                    "accuracy": float(losses.accuracies(task, rows, labels).mean()),
                },
                rel=1e-5,
            )


def test_the_mean_loss_weighs_tasks_and_counts_modules_equally(tasks, outputs, part):
    scores = inference.module_scores(tasks, outputs, part)
    losses, accuracy = inference.part_losses(tasks, outputs, part)
    mean_loss = float(losses.mean())
    total = sum(task.weight for task in tasks)
    expected = {"loss": 0.0, "accuracy": 0.0}
    for task in tasks:
        for name in expected:
            values = [scores[module][task.name][name] for module in outputs[task.name]]
            expected[name] += task.weight / total * np.mean(values)
    assert mean_loss == pytest.approx(expected["loss"], rel=1e-5)
    assert accuracy == pytest.approx(expected["accuracy"], rel=1e-5)


def test_a_records_loss_is_its_modules_mean(tasks, outputs, part):
    regret = tasks[3]
    labelled = {**part.targets, "regret": np.nan_to_num(part.targets["regret"], nan=0.5)}
    losses, _ = inference.part_losses([regret], outputs, replace(part, targets=labelled))
    stacked = torch.stack(list(outputs["regret"].values())).numpy()
    expected = ((stacked - labelled["regret"]) ** 2).mean(axis=(0, 2))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_tasks_without_weight_or_labels_give_zero(tasks, outputs, part):
    def total(tasks, part):
        losses, accuracy = inference.part_losses(tasks, outputs, part)
        return float(losses.abs().sum()) + accuracy

    assert total([replace(task, weight=0.0) for task in tasks], part) == 0
    unlabelled = {name: np.full_like(rows, np.nan) for name, rows in part.targets.items()}
    assert total(tasks, replace(part, targets=unlabelled)) == 0
