"""Raising rare classes, so that the predicted classes have the best macro-F1.

Log-loss does not decide which class a doubtful record gets; macro-F1, the main metric of classes,
depends on it. So each class's logit is raised by the rareness of the class (Menon et al. 2021,
arXiv 2007.07314, equation 9). The network's fusion and the linear baseline both raise rare classes
in this way, so that neither has an advantage.
"""

from __future__ import annotations

import numpy as np

from redheart.tasks.metrics import main_metric
from redheart.tasks.task import Task

# How far rare classes are raised: 0 changes nothing; 1 treats all classes as equally frequent.
BALANCES = np.linspace(0, 1, 11)


def balancing_offsets(task: Task, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the offset to add to the logit of each class of a multiclass task: float64 [width].

    An offset is `-balance * ln(share of the class)`. The balance is the one with the best macro-F1,
    the smallest of several equal ones. Each macro-F1 is smoothed over the neighbouring balances,
    since that of one balance alone is noisy.

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
