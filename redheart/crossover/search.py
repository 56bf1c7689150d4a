"""Phase 4: the choice of each unit's epoch, by coordinate ascent on cached contributions.

The trunk is fixed. The contributions of every epoch's modules on this trunk are computed first.
After that, scoring a combination of epochs takes a sum and a metric, and no forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redheart.crossover.candidates import GREEDY_SOUP
from redheart.json_values import or_lowest, or_null
from redheart.recipe.groups import TRUNK

START = GREEDY_SOUP

# The source of a unit: a saved epoch, or START.
Option = int | str
# task -> module -> [n, width], tensors or arrays.
Contributions = Mapping[str, Mapping[str, Any]]
# The main metric of a task (higher is better), from the contributions to the task by module.
Score = Callable[[str, Mapping[str, Any]], float]


def units_by_task(
    contributed: Contributions, modules_by_unit: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return by task the units that contribute to it and can be exchanged on a fixed trunk."""
    return {
        task: [
            unit
            for unit, modules in modules_by_unit.items()
            if unit != TRUNK and any(module in contributors for module in modules)
        ]
        for task, contributors in contributed.items()
    }


def recombine(
    cache: Mapping[Option, Contributions],
    task: str,
    chosen: Mapping[str, Option],
    modules_by_unit: Mapping[str, Sequence[str]],
    base: Option = START,
) -> dict[str, Any]:
    """Return the contributions to a task, each unit taken from its chosen option.

    Parameters
    ----------
    cache
        The contributions of every option's modules on the fixed trunk.
    chosen
        Option by unit; all other units are taken from `base`.
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

    Coordinate ascent from START. The units take turns. Each unit moves to its best option if this
    option scores higher than the unit's present option; among equally good options the first wins.
    No unit moves to an option whose score is NaN. Every move raises the score, so the ascent ends.

    Returns
    -------
    The option by unit, and the path: for every move `unit`, `from`, `to`, and the score `before`
    and `after` the move.
    """
    chosen: dict[str, Option] = dict.fromkeys(units, START)
    best, path, moved = score(chosen), [], True
    while moved:
        moved = False
        for unit in units:
            scores = {option: or_lowest(score({**chosen, unit: option})) for option in options}
            option = max(options, key=scores.__getitem__)
            if scores[option] > best:
                move = {"unit": unit, "from": chosen[unit], "to": option}
                path.append({**move, "before": best, "after": scores[option]})
                chosen[unit], best, moved = option, scores[option], True
    return chosen, path


def search_units(
    cache: Mapping[Option, Contributions],
    modules_by_unit: Mapping[str, Sequence[str]],
    score: Score,
) -> dict[str, Any]:
    """Ascend task by task; on a fixed trunk the tasks do not depend on each other.

    Returns
    -------
    `units`, `trunk`, `epochs`, `start`, `scores`, `path` and `chosen` of `search.json`.
    """
    options: list[Option] = [START, *(name for name in cache if name != START)]
    chosen: dict[str, Option] = {}
    scores: dict[str, dict[str, float | None]] = {}
    path = []
    for task, units in units_by_task(cache[START], modules_by_unit).items():
        score_of = _remembered(cache, task, modules_by_unit, score)
        for unit in units:
            scores[unit] = {str(option): or_null(score_of({unit: option})) for option in options}
        best, moves = ascend(units, options, score_of)
        chosen |= best
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
    """Return a function that scores a combination for a task, and computes each score once."""
    scores: dict[frozenset[tuple[str, Option]], float] = {}

    def score_of(chosen: Mapping[str, Option]) -> float:
        moved = frozenset(item for item in chosen.items() if item[1] != START)
        if moved not in scores:
            scores[moved] = score(task, recombine(cache, task, chosen, modules_by_unit))
        return scores[moved]

    return score_of


def heat_map(
    caches: Mapping[int, Mapping[Option, Contributions]],
    modules_by_unit: Mapping[str, Sequence[str]],
    score: Score,
) -> dict[str, Any]:
    """Score each unit's epochs on the trunks of other epochs.

    Parameters
    ----------
    caches
        By the trunk's epoch: the contributions of the modules of the same epochs on this trunk.

    Returns
    -------
    By unit: `trunk_epochs`, `unit_epochs` and `scores`, with a row for each trunk. A score is the
    main metric of the unit's task. The trunk and all other units come from the trunk's checkpoint.
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
    """Return evenly spaced epochs for the heat map, with the first and the last epoch.

    The heat map takes k * k passes of the modules, the search n + 1 for n epochs. Both together
    stay within three evaluations of all checkpoints: k * k <= 2 n - 1.
    """
    count = min(largest, math.isqrt(2 * len(epochs) - 1))
    last = len(epochs) - 1
    return [epochs[round(i * last / max(1, count - 1))] for i in range(count)]
