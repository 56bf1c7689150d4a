"""Targets and predictions that are more or less wrong, for the tests of comparisons."""

from __future__ import annotations

import math

import numpy as np

from redheart.selection.bootstrap import Interval
from redheart.tasks.task import Task

EMOTION = Task("emotion", "distribution", "emotions", ("joy", "anger", "fear"))
VERDICT = Task("verdict", "multiclass", "label", ("a", "b", "c"))
TASKS = (EMOTION, VERDICT)


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def drawn_targets(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"emotion": rng.dirichlet([1] * 3, n), "verdict": np.eye(3)[rng.integers(0, 3, n)]}


def noisy(targets: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """Mix a share of noise into the truth."""
    rng = np.random.default_rng(seed)
    return {
        name: (1 - share) * target + share * rng.dirichlet([1] * 3, len(target))
        for name, target in targets.items()
    }
