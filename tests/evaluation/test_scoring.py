"""The table of a checkpoint: every number again, from the contributions."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.evaluation import scoring
from redheart.evaluation.fusion import choose_weights, fused_predictions
from redheart.evaluation.inference import contributions, module_scores, part_losses, predictions
from redheart.model.network import build_network
from redheart.model.states import module_states
from redheart.recipe.groups import groups
from redheart.storage import files
from redheart.storage.tensors import hash_modules, parameter_statistics
from redheart.tasks import metrics


def build(recipe, part, seed):
    return build_network(
        recipe.model,
        recipe.tasks,
        part.sizes,
        seed,
    )


def norms(scale):
    return {"mean": scale, "std": scale / 2, "max": 2 * scale, "min": scale / 4}


@pytest.fixture(scope="module")
def saved(recipe, part):
    """A checkpoint whose average differs from its weights."""
    return {
        name: module_states(build(recipe, part, seed))
        for name, seed in (("weights", 0), ("ema", 1))
    }


@pytest.fixture(scope="module")
def manifest(saved):
    """The manifest of a leg of two epochs; each unit has gradient norms of its own."""
    analyzers = [m for m in saved["weights"] if m != "backbone" and not m.startswith("heads.")]
    rows = [
        {
            "epoch": epoch,
            "loss": 1.0 / epoch,
            "gradient_norm": {
                unit: norms(epoch + number) for number, unit in enumerate(["trunk", *analyzers])
            },
        }
        for epoch in (3, 4)
    ]
    return {"epoch": 4, "weights": hash_modules(saved["weights"]), "training": rows}


def evaluate(recipe, part, saved, manifest, previous=None):
    network = build(recipe, part, seed=2)
    return scoring.evaluate_checkpoint(
        network, saved, manifest, part.head(25), part, recipe, previous
    )


@pytest.fixture(scope="module")
def table(recipe, part, saved, manifest):
    return evaluate(recipe, part, saved, manifest)


@pytest.fixture(scope="module")
def on_parts(recipe, part, saved):
    """Contributions of the weights to the training records and to the validation part."""
    network = build(recipe, part, seed=0)
    return [contributions(network, rows, recipe.train) for rows in (part.head(25), part)]


def test_the_table_can_be_written_and_names_its_epoch(tmp_path, table):
    files.write_json(tmp_path / "metrics.json", table)
    assert table["epoch"] == 4


def test_every_module_has_its_own_losses_in_evaluation_mode(recipe, part, table, on_parts):
    train, validation = (
        module_scores(recipe.tasks, outputs, rows)
        for outputs, rows in zip(on_parts, (part.head(25), part), strict=True)
    )
    assert table["modules"].keys() == validation.keys()
    for module, by_task in table["modules"].items():
        for task, row in by_task.items():
            expected = {
                "train_loss": train[module][task]["loss"],
                "val_loss": validation[module][task]["loss"],
                "train_accuracy": train[module][task]["accuracy"],
                "val_accuracy": validation[module][task]["accuracy"],
            }
            assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-5)


def test_every_module_has_the_main_metric_of_its_own_prediction(recipe, part, table, on_parts):
    for task in recipe.tasks:
        for module, output in on_parts[1][task.name].items():
            alone = predictions([task], {task.name: {module: output}})[task.name]
            expected = float(metrics.main_metric(task, alone, part.targets[task.name]))
            assert table["modules"][module][task.name]["val_metric"] == pytest.approx(expected)


def test_the_averages_modules_are_judged_by_the_same_numbers(recipe, part, table, saved, manifest):
    swapped = {"weights": saved["ema"], "ema": saved["weights"]}
    swapped_table = evaluate(recipe, part, swapped, manifest)
    for module, by_task in table["modules_ema"].items():
        for task, row in by_task.items():
            expected = swapped_table["modules"][module][task]
            assert row == {name: expected[name] for name in row}
            assert set(row) == {"val_loss", "val_accuracy", "val_metric"}
    assert table["modules_ema"].keys() == table["modules"].keys()


def test_the_whole_model_is_scored_with_weights_and_with_average(recipe, part, saved, table):
    for name, seed in (("raw", 0), ("ema", 1)):
        outputs = contributions(build(recipe, part, seed), part, recipe.train)
        fused, weights = table["fused"][name], table["fused"][name]["weights"]
        predicted = fused_predictions(recipe.tasks, outputs, weights)
        assert weights == choose_weights(recipe.tasks, outputs, part.targets, recipe.fusion)
        assert fused["val_loss"] == pytest.approx(
            float(part_losses(recipe.tasks, outputs, part)[0].mean())
        )
        assert fused["macro"] == pytest.approx(
            float(metrics.macro(recipe.tasks, predicted, part.targets))
        )
        assert fused["tasks"].keys() == {task.name for task in recipe.tasks}
    assert table["fused"]["raw"]["val_loss"] != table["fused"]["ema"]["val_loss"]


def test_a_groups_loss_is_the_weighted_mean_of_its_members_own(recipe, table, manifest):
    weight = {task.name: task.weight for task in recipe.tasks}
    for group, members in groups(manifest["weights"]).items():
        rows = [
            (weight[task], row)
            for module in members
            for task, row in table["modules"].get(module, {}).items()
        ]
        for name in ("train_loss", "val_loss"):
            expected = np.average([row[name] for _, row in rows], weights=[w for w, _ in rows])
            assert table["groups"][group][name] == pytest.approx(expected), group
    losses = [row["val_loss"] for row in table["groups"].values()]
    # Lexical branches start at 0 in every module: the two groups of two classes are equal.
    assert len(set(losses)) >= len(losses) - 1


def test_a_groups_stability_is_that_of_its_own_gradients(table, manifest):
    rows = [epoch["gradient_norm"] for epoch in manifest["training"][-1:]]
    members = {
        "A": ["trunk"],
        "B": ["neural_emotion", "neural_verdict", "neural_tags", "neural_regret"],
        "C": ["dsp", "kalman"],
        "advanced_regret": ["advanced_regret"],
    }
    for group, units in members.items():
        expected = {
            key: np.mean([row[unit][key] for row in rows for unit in units])
            for key in ("mean", "std", "max", "min")
        }
        assert table["groups"][group]["gradient_norm"] == pytest.approx(expected)
        assert table["groups"][group]["stability"] == pytest.approx(1 / (1 + expected["std"]))


def test_overfitting_is_the_gap_between_validation_and_training(table):
    for group, row in table["groups"].items():
        gap = row["val_loss"] - row["train_loss"]
        expected = {"gap": gap, "generalization_error": abs(gap)}
        assert table["overfitting"][group] == pytest.approx(expected)


def test_improvement_is_measured_against_the_checkpoint_before(
    recipe, part, saved, manifest, table
):
    assert set(table["improvement"].values()) == {None}
    groups_before = {g: {"val_loss": row["val_loss"] + 0.25} for g, row in table["groups"].items()}
    later = evaluate(recipe, part, saved, manifest, {"groups": groups_before})
    assert later["improvement"] == pytest.approx(dict.fromkeys(table["groups"], 0.25))


def test_parameter_statistics_are_those_of_the_weights(saved, table):
    assert table["parameters"] == parameter_statistics(saved["weights"])


def test_a_checkpoint_without_an_average_is_scored_without_it(recipe, part, saved, manifest, table):
    scores = evaluate(recipe, part, {"weights": saved["weights"]}, manifest)
    assert scores["fused"] == {"raw": table["fused"]["raw"]}
    assert "modules_ema" not in scores
    assert scores["modules"] == table["modules"]


def test_a_rounded_checkpoint_is_scored_as_it_is(recipe, part, saved, manifest, table):
    """The scores are those of the weights in the file, not of the weights before rounding."""
    half = {m: {n: t.bfloat16() for n, t in s.items()} for m, s in saved["weights"].items()}
    widened = {m: {n: t.float() for n, t in s.items()} for m, s in half.items()}
    scores, expected = (
        evaluate(recipe, part, {"weights": states}, manifest)["fused"]["raw"]
        for states in (half, widened)
    )
    assert scores == expected
    assert scores["val_loss"] != table["fused"]["raw"]["val_loss"]
