"""Phase 4: from which epoch each unit is taken, by coordinate ascent on cached contributions.

The trunk is fixed. What the modules of every epoch contribute on it is known beforehand, so that a
combination of epochs costs a sum and a metric, and no forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redheart.crossover.candidate_table import GREEDY_SOUP
from redheart.json_values import or_lowest, or_null
from redheart.recipe.groups import TRUNK

START = GREEDY_SOUP

# Where a unit is taken from: a saved epoch, or START.
Option = int | str
# task -> module -> [n, width], tensors or arrays.
Contributions = Mapping[str, Mapping[str, Any]]
# The main metric of a task, higher is better, given the contributions to it by module.
Score = Callable[[str, Mapping[str, Any]], float]


def units_by_task(
    given: Contributions, modules_by_unit: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return the units that can be exchanged on a fixed trunk, by the task that they serve."""
    return {
        task: [
            unit
            for unit, modules in modules_by_unit.items()
            if unit != TRUNK and any(module in contributors for module in modules)
        ]
        for task, contributors in given.items()
    }


def recombine(
    cache: Mapping[Option, Contributions],
    task: str,
    chosen: Mapping[str, Option],
    modules_by_unit: Mapping[str, Sequence[str]],
    base: Option = START,
) -> dict[str, Any]:
    """Return the contributions to a task with each unit from its chosen place.

    Parameters
    ----------
    cache
        What the modules of every epoch contribute on the fixed trunk.
    chosen
        Option by unit; a unit that is not named is taken from `base`.
    """
    of_module = {
        module: option for unit, option in chosen.items() for module in modules_by_unit[unit]
    }
    return {
        module: cache[of_module.get(module, base)][task][module] for module in cache[base][task]
    }


def ascend(
    units: Sequence[str],
    options: Sequence[Option],
    score: Callable[[Mapping[str, Option]], float],
) -> tuple[dict[str, Option], list[dict[str, Any]]]:
    """Maximise a score over the units' options, one unit at a time, until no change improves it.

    Coordinate ascent from START: units in turn, each moved to its best option if that is better
    than where it is, of equally good ones to the first. A score of NaN is never moved to. Every
    move raises the score, so it ends.

    Returns
    -------
    The option by unit, and the path: `unit`, `from`, `to`, `before` and `after` of every move.
    """
    chosen: dict[str, Option] = dict.fromkeys(units, START)
    best, path, moved = score(chosen), [], True
    while moved:
        moved = False
        for unit in units:
            tried = {option: or_lowest(score({**chosen, unit: option})) for option in options}
            option = max(options, key=tried.__getitem__)
            if tried[option] > best:
                move = {"unit": unit, "from": chosen[unit], "to": option}
                path.append({**move, "before": best, "after": tried[option]})
                chosen[unit], best, moved = option, tried[option], True
    return chosen, path


def search_units(
    cache: Mapping[Option, Contributions],
    modules_by_unit: Mapping[str, Sequence[str]],
    score: Score,
) -> dict[str, Any]:
    """Ascend task by task, which given the trunk know nothing of each other.

    Returns
    -------
    `units`, `trunk`, `epochs`, `start`, `scores`, `path` and `chosen` of `search.json`.
    """
    options: list[Option] = [START, *(name for name in cache if name != START)]
    chosen: dict[str, Option] = {}
    scores: dict[str, dict[str, float | None]] = {}
    path = []
    for task, units in units_by_task(cache[START], modules_by_unit).items():
        of = _remembered(cache, task, modules_by_unit, score)
        for unit in units:
            scores[unit] = {str(option): or_null(of({unit: option})) for option in options}
        found, moves = ascend(units, options, of)
        chosen |= found
        path += [{**move, "task": task} for move in moves]
    return {
        "units": list(chosen),
        "trunk": {"source": START},
        "epochs": [option for option in options if option != START],
        "start": dict.fromkeys(chosen, START),
        "scores": scores,
        "path": path,
        "chosen": chosen,
    }


def _remembered(
    cache: Mapping[Option, Contributions],
    task: str,
    modules_by_unit: Mapping[str, Sequence[str]],
    score: Score,
) -> Callable[[Mapping[str, Option]], float]:
    """Return a task's score of a combination, worked out once for each."""
    known: dict[frozenset[tuple[str, Option]], float] = {}

    def of(chosen: Mapping[str, Option]) -> float:
        moved = frozenset(item for item in chosen.items() if item[1] != START)
        if moved not in known:
            known[moved] = score(task, recombine(cache, task, chosen, modules_by_unit))
        return known[moved]

    return of


def heat_map(
    caches: Mapping[int, Mapping[Option, Contributions]],
    modules_by_unit: Mapping[str, Sequence[str]],
    score: Score,
) -> dict[str, Any]:
    """Score each unit's epochs on the trunks of other epochs.

    Parameters
    ----------
    caches
        By the trunk's epoch, what the modules of the same epochs contribute on it.

    Returns
    -------
    By unit: `trunk_epochs`, `unit_epochs` and `scores`, a row a trunk: the main metric of the
    unit's task as the trunk's own checkpoint predicts it, but for that unit.
    """
    epochs = list(caches)
    tasks = units_by_task(caches[epochs[0]][epochs[0]], modules_by_unit)

    def row(trunk: int, task: str, unit: str) -> list[float | None]:
        return [
            or_null(
                score(task, recombine(caches[trunk], task, {unit: epoch}, modules_by_unit, trunk))
            )
            for epoch in epochs
        ]

    return {
        unit: {
            "trunk_epochs": epochs,
            "unit_epochs": epochs,
            "scores": [row(trunk, task, unit) for trunk in epochs],
        }
        for task, units in tasks.items()
        for unit in units
    }


def heat_map_epochs(epochs: Sequence[int], largest: int = 6) -> list[int]:
    """Return evenly spaced epochs for the heat map, the first and the last among them.

    Of n epochs, as many as keep it, with the search's n + 1 passes of the modules, within three
    evaluations of all checkpoints: k with k * k <= 2 n - 1.
    """
    count = min(largest, math.isqrt(2 * len(epochs) - 1))
    last = len(epochs) - 1
    return [epochs[round(i * last / max(1, count - 1))] for i in range(count)]
