"""How much each module counts: the weights of its contributions to a task, fitted on val_select.

Stacking with weights of 0 or more (Wolpert 1992, "Stacked generalization"; Breiman 1996, "Stacked
regressions"). The weights need not sum to 1, so they calibrate as well, as the temperature of Guo
et al. 2017 (arXiv 1706.04599) does. On top of them rare classes may be raised (`class_balance`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from redheart.model.network import activate
from redheart.recipe.training_options import FusionOptions
from redheart.tasks.class_balance import balancing_offsets
from redheart.tasks.task import Task

Contributions = Mapping[str, Mapping[str, Tensor]]  # task -> module -> [n, width]
# task -> module -> weight of 0 or more; for classes also `OFFSET` + class -> offset of its logit.
Weights = dict[str, dict[str, float]]
OFFSET = "+"

# The ridge: a normal prior of this standard deviation around equal weights. It is added to the
# records' mean log-loss or, for a regression, to the squared error over its variance.
PRIOR_DEVIATION = 0.5
# The search for the least loss takes about six steps. A step is halved until it gains at least
# this share of the gain that the slope promises.
MOST_NEWTON_STEPS = 100
SHARES_OF_A_STEP = tuple(0.5**k for k in range(40))
ENOUGH = 1e-4


def choose_weights(
    tasks: Sequence[Task],
    contributions: Contributions,
    targets: Mapping[str, np.ndarray],
    options: FusionOptions,
) -> Weights:
    """Return weights as the config says, fitted to the targets or equal, and offsets."""
    fitted = options.weights == "fitted"
    weights = fit_weights(tasks, contributions, targets) if fitted else equal_weights(contributions)
    for task in tasks if options.balance else ():
        if task.kind == "multiclass":
            logits = _weighted_sum(task, contributions[task.name], weights[task.name])
            weights[task.name] |= fit_offsets(task, logits, targets[task.name])
    return weights


def fit_offsets(task: Task, logits: Tensor, target: np.ndarray) -> dict[str, float]:
    """Return what to add to the logit of each class of a multiclass task, by `OFFSET` and name."""
    offsets = balancing_offsets(task, logits.numpy(), target)
    return {OFFSET + name: float(value) for name, value in zip(task.classes, offsets, strict=True)}


def equal_weights(contributions: Contributions) -> Weights:
    """Return weights with which a task's prediction is the mean over its modules."""
    return {
        task: dict.fromkeys(modules, 1 / len(modules)) for task, modules in contributions.items()
    }


def fit_weights(
    tasks: Sequence[Task], contributions: Contributions, targets: Mapping[str, np.ndarray]
) -> Weights:
    """Fit the weights of the modules, task by task.

    Parameters
    ----------
    contributions
        Task -> module -> [n, width], as `redheart.evaluation.inference.contributions` returns them.
    targets
        Task -> [n, width], NaN where unlabelled; such records are left out.

    Returns
    -------
    Task -> module -> weight, 0 or more. They minimise the regularised loss of the weighted sum
    (`fusion_loss`), a convex problem; a task without labels gets equal weights.
    """
    return {task.name: _fit(task, contributions[task.name], targets[task.name]) for task in tasks}


def fused_predictions(
    tasks: Sequence[Task], contributions: Contributions, weights: Mapping[str, Mapping[str, float]]
) -> dict[str, np.ndarray]:
    """Return task -> float32 [n, width]: weighted sums as probabilities, or values."""
    return {
        task.name: activate(task, _weighted_sum(task, contributions[task.name], weights[task.name]))
        .float()
        .numpy()
        for task in tasks
    }


def _weighted_sum(
    task: Task, contributions: Mapping[str, Tensor], weights: Mapping[str, float]
) -> Tensor:
    offsets = [weights.get(OFFSET + name, 0.0) for name in task.output_names]
    share = torch.tensor([weights[module] for module in contributions], dtype=torch.float64)
    stacked = torch.stack(list(contributions.values())).double()
    return torch.tensordot(share, stacked, dims=1) + torch.tensor(offsets, dtype=torch.float64)


def _fit(task: Task, contributions: Mapping[str, Tensor], target: np.ndarray) -> dict[str, float]:
    labelled = ~np.isnan(target).all(axis=1)
    stacked = np.stack([output.numpy()[labelled] for output in contributions.values()], axis=-1)
    start = np.full(len(contributions), 1 / len(contributions))
    if labelled.any():
        data = task, stacked.astype(np.float64), target[labelled].astype(np.float64)
        start = _least(lambda weights: fusion_loss(weights, *data), start)
    return dict(zip(contributions, start.tolist(), strict=True))


def _least(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]], weights: np.ndarray
) -> np.ndarray:
    """Return the weights of 0 or more that minimise a convex loss; the search starts at `weights`.

    Projected Newton (Bertsekas 1982, SIAM Journal on Control and Optimization 20): a weight at 0
    stays there if the loss would push it below 0. scipy would do it too, but its import and its
    threads take longer than the rest of a small checkpoint's evaluation.
    """
    value, gradient, curvature = loss(weights)
    for _ in range(MOST_NEWTON_STEPS):
        free = np.flatnonzero((weights > 0) | (gradient < 0))
        step = np.zeros_like(weights)
        step[free] = np.linalg.lstsq(curvature[np.ix_(free, free)], -gradient[free], rcond=None)[0]
        for share in SHARES_OF_A_STEP:
            trial = (weights + share * step).clip(min=0)
            trial_loss = loss(trial)
            if trial_loss[0] <= value + ENOUGH * (gradient @ (trial - weights)):
                break
        else:
            break
        gained = value - trial_loss[0]
        weights, (value, gradient, curvature) = trial, trial_loss
        if gained <= 1e-15 * abs(value):
            break
    return weights


def fusion_loss(
    weights: np.ndarray, task: Task, contributions: np.ndarray, target: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the regularised loss of weights, its gradient and its matrix of second derivatives.

    Parameters
    ----------
    weights
        [modules]
    contributions
        [n, width, modules]
    target
        [n, width], each row with a label; NaN where an output is unknown.
    """
    labelled = ~np.isnan(target)
    filled = np.nan_to_num(target)
    output = contributions @ weights
    if task.kind in ("multiclass", "distribution"):
        share = np.ones_like(target)
        norm = np.logaddexp.reduce(output, axis=1, keepdims=True)
        losses = filled * (norm - output)
        predicted = np.exp(output - norm)
        slopes, bends = predicted - filled, predicted
    else:
        share = labelled / labelled.sum(axis=1, keepdims=True)
        if task.kind == "multilabel":
            losses = np.logaddexp(0, output) - filled * output
            predicted = np.exp(-np.logaddexp(0, -output))
            slopes, bends = predicted - filled, predicted * (1 - predicted)
        else:
            mean = filled.sum(axis=0) / labelled.sum(axis=0).clip(min=1)
            variance = ((filled - mean) ** 2)[labelled].mean() or 1.0
            losses = (output - filled) ** 2 / (2 * variance)
            slopes, bends = (output - filled) / variance, np.full_like(output, 1 / variance)
    n, distance = len(target), weights - 1 / len(weights)
    ridge = 1 / (n * PRIOR_DEVIATION**2)
    loss = (share * losses).sum() / n + ridge * (distance @ distance) / 2
    gradient = np.einsum("nw,nwm->m", share * slopes, contributions) / n + ridge * distance
    curved = contributions * (share * bends)[..., None]
    curvature = np.einsum("nwm,nwk->mk", curved, contributions) / n + ridge * np.eye(len(weights))
    if task.kind in ("multiclass", "distribution"):
        means = curved.sum(axis=1)  # each module's contribution, over the predicted classes
        curvature -= means.T @ means / n
    return float(loss), gradient, curvature
