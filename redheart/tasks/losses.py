"""The loss of a task: supervised, and between two dropout passes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from redheart.tasks.task import Task


def labelled(target: Tensor) -> Tensor:
    """Return which rows carry a label: bool [n] for a target [n, width], NaN where unknown."""
    return ~target.isnan().all(dim=-1)


def record_losses(
    task: Task, output: Tensor, target: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the supervised loss of each record.

    Parameters
    ----------
    output
        [..., n, width]: logits, or values for a regression. Leading dimensions are modules.
    target
        [n, width]; NaN where unlabelled.

    Returns
    -------
    [..., n] in float32; 0 where a record has no label. The loss is cross-entropy for multiclass and
    distribution, binary cross-entropy for multilabel, and squared error for regression, whose
    targets have no unit (`redheart.tasks.scale`). The last two are means over the record's known
    outputs. Only multiclass and multilabel are smoothed.
    """
    output = output.float()
    is_known = ~target.isnan()
    filled = target.nan_to_num(0.0)
    if task.kind in ("multiclass", "distribution"):
        smoothing = label_smoothing if task.kind == "multiclass" else 0.0
        smoothed = filled * (1 - smoothing) + smoothing / task.width
        losses = -(smoothed * output.log_softmax(dim=-1)).sum(dim=-1)
        return losses * labelled(target)
    if task.kind == "multilabel":
        smoothed = filled * (1 - label_smoothing) + label_smoothing / 2
        output_losses = functional.binary_cross_entropy_with_logits(
            output, smoothed.expand_as(output), reduction="none"
        )
    else:
        output_losses = (output - filled).square()
    return (output_losses * is_known).sum(dim=-1) / is_known.sum(dim=-1).clamp(min=1)


def divergences(task: Task, first: Tensor, second: Tensor) -> Tensor:
    """Return R-Drop's divergence between two passes for each record.

    It is `(KL(p1, p2) + KL(p2, p1)) / 2` (Wu et al. 2021, arXiv 2106.14448, equation 2): over the
    classes for multiclass and distribution; for multilabel the mean of the outputs' Bernoulli
    divergences. For regression it is the mean of `(y1 - y2)^2`. Shapes are those of
    `record_losses`.
    """
    first, second = first.float(), second.float()
    if task.kind in ("multiclass", "distribution"):
        log_p, log_q = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=-1) / 2
    if task.kind == "multilabel":
        # For Bernoulli variables, KL12 + KL21 = (p - q) * (logit p - logit q).
        return ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(dim=-1) / 2
    return (first - second).square().mean(dim=-1)


def training_losses(
    task: Task, output: Tensor, target: Tensor, label_smoothing: float, rdrop: float
) -> Tensor:
    """Return the training loss of each record and module: [modules, n].

    Parameters
    ----------
    output
        [modules, 2n, width], the two dropout passes one after the other, if `rdrop` is above 0;
        otherwise [modules, n, width].
    """
    if rdrop == 0:
        return record_losses(task, output, target, label_smoothing)
    first, second = output.chunk(2, dim=1)
    both = record_losses(task, output, torch.cat([target, target]), label_smoothing)
    supervised = sum(both.chunk(2, dim=1)) / 2
    return supervised + rdrop * divergences(task, first, second) * labelled(target)


def accuracies(task: Task, output: Tensor, target: Tensor) -> Tensor:
    """Return the accuracy of each record, 0 to 1; 0 where unlabelled; shapes as in `record_losses`.

    multiclass and distribution: whether the largest output is the target's largest; multilabel:
    the share of labels on the right side of one half; regression: the share of values within a
    tenth of the deviation.
    """
    is_known = ~target.isnan()
    filled = target.nan_to_num(0.0)
    if task.kind in ("multiclass", "distribution"):
        hits = output.argmax(dim=-1) == filled.argmax(dim=-1)
        return hits.float() * labelled(target)
    is_right = (
        (output > 0) == (filled > 0.5)
        if task.kind == "multilabel"
        else (output - filled).abs() < 0.1
    )
    return (is_right & is_known).sum(dim=-1) / is_known.sum(dim=-1).clamp(min=1)
