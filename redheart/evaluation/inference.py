"""Clean forward passes: what each module contributes for every text of a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from redheart.encoding.batch import make_batch
from redheart.encoding.tokens import Encoded, evaluation_batches
from redheart.machine.device import autocast, open_device
from redheart.model.backbone import Backbone, Features
from redheart.model.network import Network, activate, build_network, fuse
from redheart.model.pretrained import backbone_for
from redheart.recipe.training_options import Recipe, TrainOptions
from redheart.tasks.losses import accuracies, labelled, record_losses
from redheart.tasks.task import Task

Contributions = dict[str, dict[str, Tensor]]


def network_for(recipe: Recipe, part: Encoded, backbone: Backbone | None = None) -> Network:
    """Return a network to load weights into, on the recipe's device.

    Parameters
    ----------
    backbone
        A trunk that does not learn; None: the trunk that the part is encoded for.
    """
    device = open_device(recipe.train)
    backbone = backbone or backbone_for(part)
    return build_network(recipe.model, recipe.tasks, part.sizes, 0, device, backbone)


@torch.inference_mode()
def contributions(
    network: Network,
    part: Encoded,
    options: TrainOptions,
    features: Sequence[Features] | None = None,
) -> Contributions:
    """Return task -> module -> float32 [n, width], in evaluation mode, on the CPU.

    Parameters
    ----------
    features
        A trunk's features of the part, from `features_by_batch`; None: the network's trunk runs.
    """
    device = open_device(options)
    was_training = network.training
    network.eval()
    batches, outputs = [], []
    for number, rows in enumerate(evaluation_batches(part.lengths)):
        batch = make_batch(part, rows).to(device)
        with autocast(options):
            if features is None:
                output = network(batch)
            else:
                output = network.contribute(_on(device, features[number]), batch)
        batches.append(rows)
        outputs.append(output)
    network.train(was_training)
    order = torch.from_numpy(np.argsort(np.concatenate(batches), kind="stable"))
    return {
        task: {
            module: torch.cat([output[task][module].float() for output in outputs]).cpu()[order]
            for module in modules
        }
        for task, modules in outputs[0].items()
    }


@torch.inference_mode()
def features_by_batch(network: Network, part: Encoded, options: TrainOptions) -> list[Features]:
    """Return the trunk's features of a part, batch by batch, in evaluation mode, on the CPU."""
    device = open_device(options)
    was_training = network.training
    network.eval()
    features = []
    for rows in evaluation_batches(part.lengths):
        batch = make_batch(part, rows).to(device)
        with autocast(options):
            features.append(_on("cpu", network.backbone(batch)))
    network.train(was_training)
    return features


def _on(device: str | torch.device, features: Features) -> Features:
    return Features(*(view.to(device) for view in features))


def predictions(
    tasks: Sequence[Task], outputs: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, np.ndarray]:
    """Return task -> float32 [n, width]: the modules' weighted mean as probabilities or values."""
    return {task.name: activate(task, fuse(outputs[task.name])).numpy() for task in tasks}


def module_scores(
    tasks: Sequence[Task], outputs: Mapping[str, Mapping[str, Tensor]], part: Encoded
) -> dict[str, dict[str, dict[str, float]]]:
    """Return module -> task -> mean `loss` and `accuracy` over the labelled records."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for task in tasks:
        target = torch.from_numpy(part.targets[task.name])
        count = max(1, int(labelled(target).sum()))
        for module, output in outputs[task.name].items():
            scores.setdefault(module, {})[task.name] = {
                "loss": float(record_losses(task, output, target).sum()) / count,
                "accuracy": float(accuracies(task, output, target).sum()) / count,
            }
    return scores


def part_losses(
    tasks: Sequence[Task], outputs: Mapping[str, Mapping[str, Tensor]], part: Encoded
) -> tuple[Tensor, float]:
    """Return each record's share in a part's loss, which is their mean, and the accuracy.

    Modules of a task count equally, tasks by their weight; a task's loss is the mean over the
    records that carry its label.
    """
    total_weight = sum(task.weight for task in tasks) or 1.0
    losses, accuracy = torch.zeros(len(part)), 0.0
    for task in tasks:
        target = torch.from_numpy(part.targets[task.name])
        count = max(1, int(labelled(target).sum()))
        stacked = torch.stack(list(outputs[task.name].values()))
        share = task.weight / total_weight
        # The factor makes the mean over all records the mean over the labelled records.
        losses += record_losses(task, stacked, target).mean(dim=0) * share * len(part) / count
        accuracy += share * float(accuracies(task, stacked, target).mean(dim=0).sum()) / count
    return losses, accuracy
