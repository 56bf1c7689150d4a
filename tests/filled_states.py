"""States of a few modules, each filled with one number, which tells what became of it."""

from __future__ import annotations

import numpy as np

GROUPS = {"A": ["backbone", "heads.x"], "B": ["neural_x"]}
MODULES = [module for members in GROUPS.values() for module in members]


def state(number, dtype="float32"):
    """Return a state of all modules, filled with one number."""
    return {module: {"w": np.full((2, 2), number, dtype=dtype)} for module in MODULES}


def value(soup):
    """Return the number that a state is filled with."""
    return float(soup["backbone"]["w"][0, 0])


class Loader:
    """Loads states filled with their epoch, and remembers the epochs that were loaded."""

    def __init__(self):
        self.asked = []

    def __call__(self, epoch):
        self.asked.append(epoch)
        return state(epoch)
