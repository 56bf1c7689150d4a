"""A checkpoint's evaluation: losses and metrics of modules, groups and model, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redheart.encoding.tokens import Encoded, load_encoded
from redheart.evaluation import opinions
from redheart.evaluation.fusion import choose_weights, fused_predictions
from redheart.evaluation.inference import (
    Contributions,
    contributions,
    module_scores,
    network_for,
    part_losses,
)
from redheart.json_values import or_null
from redheart.model.network import Network, activate
from redheart.model.states import load_into
from redheart.recipe.build import build, read_recipe
from redheart.recipe.groups import clipping_unit, groups
from redheart.recipe.training_options import Recipe, ScoringOptions
from redheart.storage import files
from redheart.storage.tensors import ModuleStates, load_tensors, parameter_statistics
from redheart.tasks import metrics
from redheart.tasks.task import Task

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]


def score_leg(
    inputs: Any, outputs: Any, settings: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Call `score_files` with the sections `tasks`, `model`, `train` and `fusion` of the config."""
    options = build(ScoringOptions, settings["train"])
    return score_files(inputs, outputs, read_recipe(settings), options, folder / "opinions")


def score_files(
    inputs: Any,
    outputs: Any,
    recipe: Recipe,
    options: ScoringOptions,
    target: Path | None = None,
) -> dict[str, Any]:
    """Evaluate the checkpoint of a leg from the leg's files; write what it says about each record.

    Parameters
    ----------
    inputs
        Paths `train`, `val_select`, and `parent_metrics`, a list of one or none.
    outputs
        Paths `weights` and `manifest` of the checkpoint.
    target
        The file of its opinions about the scored records, which then need no further pass; None:
        they are not written.
    """
    train, validation = load_encoded(inputs.train), load_encoded(inputs.val_select)
    network = network_for(recipe, train)
    passes: dict[str, Contributions] = {}
    table = evaluate_checkpoint(
        network,
        load_tensors(outputs.weights),
        files.read_json(outputs.manifest),
        train.head(options.scored_train_records),
        validation,
        recipe,
        next(map(files.read_json, inputs.parent_metrics), None),
        passes,
    )
    if target:
        opinions.save(target, recipe.tasks, passes, table["fused"]["raw"]["weights"])
    return table


def evaluate_checkpoint(
    network: Network,
    saved: Mapping[str, Any],
    manifest: Mapping[str, Any],
    train: Encoded,
    validation: Encoded,
    recipe: Recipe,
    previous: Mapping[str, Any] | None,
    passes: dict[str, Contributions] | None = None,
) -> dict[str, Any]:
    """Return the table of a checkpoint, with everything that later phases read of it.

    Parameters
    ----------
    saved
        The checkpoint: `weights` by module, and `ema` if the average was saved.
    train
        The training records on which the training loss is computed, in evaluation mode.
    validation
        The part val_select.
    previous
        The table of the previous checkpoint; None: there is none.
    passes
        What the modules contribute for each record is added to it, by part.
    """
    tasks = recipe.tasks
    fused, averages = {}, {}
    if "ema" in saved:
        fused["ema"], outputs = _fused(network, saved["ema"], validation, recipe)
        averages["modules_ema"] = _on_validation(tasks, outputs, validation)
    fused["raw"], outputs = _fused(network, saved["weights"], validation, recipe)
    train_outputs = contributions(network, train, recipe.train)
    if passes is not None:
        passes |= {"train": train_outputs, "val_select": outputs}
    modules = _module_table(
        module_scores(tasks, train_outputs, train), _on_validation(tasks, outputs, validation)
    )
    by_group = _group_table(modules, manifest, tasks)
    return {
        "epoch": manifest["epoch"],
        "modules": modules,
        **averages,
        "fused": fused,
        "groups": by_group,
        "parameters": parameter_statistics(saved["weights"]),
        "improvement": _improvement(by_group, previous),
        "overfitting": _overfitting(by_group),
        "training": manifest["training"][-1],
    }


def _fused(
    network: Network,
    states: ModuleStates,
    part: Encoded,
    recipe: Recipe,
) -> tuple[dict[str, Any], Contributions]:
    """Load a set of weights; return the model's scores and the modules' contributions."""
    load_into(network, states)
    tasks = recipe.tasks
    outputs = contributions(network, part, recipe.train)
    weights = choose_weights(tasks, outputs, part.targets, recipe.fusion)
    predicted = fused_predictions(tasks, outputs, weights)
    scores = {
        "val_loss": float(part_losses(tasks, outputs, part)[0].mean()),
        "macro": or_null(metrics.macro(tasks, predicted, part.targets)),
        "tasks": {
            task.name: metrics.task_metrics(
                task, predicted[task.name], part.targets[task.name], part.scales.get(task.name)
            )
            for task in tasks
        },
        "weights": weights,
    }
    return scores, outputs


def _on_validation(
    tasks: Sequence[Task], outputs: Contributions, part: Encoded
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each module's loss, accuracy and main metric on val_select, by task."""
    scores = module_scores(tasks, outputs, part)
    return {
        module: {
            task.name: {
                "val_loss": scores[module][task.name]["loss"],
                "val_accuracy": scores[module][task.name]["accuracy"],
                "val_metric": or_null(
                    metrics.main_metric(
                        task,
                        activate(task, outputs[task.name][module]).numpy(),
                        part.targets[task.name],
                    )
                ),
            }
            for task in tasks
            if task.name in by_task
        }
        for module, by_task in scores.items()
    }


def _module_table(
    train: Scores, validation: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        module: {
            task: {
                "train_loss": train[module][task]["loss"],
                "train_accuracy": train[module][task]["accuracy"],
                **scores,
            }
            for task, scores in by_task.items()
        }
        for module, by_task in validation.items()
    }


def _group_table(
    modules: Mapping[str, Mapping[str, Mapping[str, float]]],
    manifest: Mapping[str, Any],
    tasks: Sequence[Task],
) -> dict[str, dict[str, Any]]:
    """Return each group's losses, weighted by task, and the stability of its gradients."""
    weights = {task.name: task.weight for task in tasks}
    table = {}
    for group, members in groups(tuple(manifest["weights"])).items():
        rows = [
            (weights[task], row)
            for module in members
            for task, row in modules.get(module, {}).items()
        ]
        total = sum(weight for weight, _ in rows) or 1.0
        norms = _group_norms(members, manifest["training"][-1])
        table[group] = {
            "train_loss": sum(weight * row["train_loss"] for weight, row in rows) / total,
            "val_loss": sum(weight * row["val_loss"] for weight, row in rows) / total,
            "stability": 1 / (1 + norms["std"]),
            "gradient_norm": norms,
        }
    return table


def _group_norms(members: Sequence[str], epoch: Mapping[str, Any]) -> dict[str, float]:
    """Return the gradient-norm statistics of a group: the mean over its units.

    Only the last epoch counts, so a table does not depend on the length of its leg.
    """
    units = {clipping_unit(module) for module in members}
    rows = [epoch["gradient_norm"][unit] for unit in sorted(units)]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _improvement(
    by_group: Mapping[str, Mapping[str, float]], previous: Mapping[str, Any] | None
) -> dict[str, float | None]:
    if previous is None:
        return dict.fromkeys(by_group)
    return {
        group: previous["groups"][group]["val_loss"] - row["val_loss"]
        for group, row in by_group.items()
    }


def _overfitting(by_group: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    gaps = {group: row["val_loss"] - row["train_loss"] for group, row in by_group.items()}
    return {group: {"gap": gap, "generalization_error": abs(gap)} for group, gap in gaps.items()}
