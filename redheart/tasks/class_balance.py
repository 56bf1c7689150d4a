"""Raising rare classes: log-loss has no say in which class a doubtful record is called.

The main metric of classes, macro-F1, has: for it each class's logit is raised by its rareness
(Menon et al. 2021, arXiv 2007.07314, equation 9). The network's fusion and the linear baseline do
it alike, so that neither wins by it.
"""

from __future__ import annotations

import numpy as np

from redheart.tasks.metrics import main_metric
from redheart.tasks.task import Task

# How far rare classes may be raised: from not at all (0) to as if all were equally frequent (1).
BALANCES = np.linspace(0, 1, 11)


def balancing_offsets(task: Task, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return what to add to the logit of each class of a multiclass task: float64 [width].

    It is `-balance * ln(share of the class)`, with the balance of the best macro-F1, smoothed
    over its neighbours, since that of one alone is noisy; of equals the smallest.

    Parameters
    ----------
    logits
        [n, width], finite.
    target
        [n, width], NaN where unlabelled.
    """
    labelled = ~np.isnan(target).all(axis=1)
    shares = (target[labelled].sum(axis=0) + 1) / (labelled.sum() + task.width)
    offsets = -np.outer(BALANCES, np.log(shares))
    scores = [main_metric(task, logits + row, target) for row in offsets]
    smooth = np.convolve(np.pad(np.nan_to_num(scores), 1, mode="edge"), np.ones(3) / 3, "valid")
    return offsets[int(np.argmax(smooth.round(9)))]
