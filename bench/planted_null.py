"""Choose among equally good candidates: how often is a gain claimed all the same?

    python bench/planted_null.py              100 runs, as in docs/choosing.md
    python bench/planted_null.py --runs 1000  the same shares, less noisy

A run is 25 candidates with 3 training seeds each, and three tasks (multiclass, distribution,
regression). The candidates are equal by construction: their logits are

    signal * truth + shared + own,   shared ~ N(0, 1), own ~ N(0, 0.35^2) per record and output

`shared` is one draw per record and training seed. It is the same for all candidates, since the
checkpoints of one training make similar errors. `own` makes the candidates differ as checkpoints
do. One record in five is a near copy of another record, with the same truth and the same noise.
Parts: val_select 800, val_confirm 400, test 800 records. So every difference is noise. The best
candidate on val_select is picked from 25, and the library's own functions choose, confirm and
compare.

A gain is claimed if another candidate than the default, the greedy soup, ships. The output also
tells how often the pick looks better on val_select; how often an interval over records instead of
clusters would have confirmed it; and in how many runs Holm's correction calls any candidate better
or worse than the default on test, which should be at most 5 % as well. With --gain, one candidate's
signal is larger by that factor, and the output tells how often this candidate ships.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from redheart.selection.bootstrap import bootstrap_scores, holm_of_differences
from redheart.selection.choice import DEFAULT, choose
from redheart.tasks.task import Task

TASKS = (
    Task("verdict", "multiclass", "verdict", ("a", "b", "c", "d")),
    Task("emotion", "distribution", "emotion", ("a", "b", "c", "d", "e")),
    Task("regret", "regression", "regret"),
)
SIZES = {"val_select": 800, "val_confirm": 400, "test": 800}
SEEDS = (0, 1, 2)
OTHERS = tuple(f"rival_{i}" for i in range(24))
SIGNAL, SHARED, OWN = 1.0, 1.0, 0.35
COPIES = 0.2
LEVEL = 0.05

Part = dict[str, np.ndarray]


@dataclass(frozen=True)
class World:
    """The truth of one run, its clusters, and the predictions of every candidate."""

    targets: dict[str, Part]
    clusters: dict[str, np.ndarray]
    tables: dict[int, dict[str, dict[str, Part]]]


def simulate(
    number: int,
    rivals: int = len(OTHERS),
    seeds: tuple[int, ...] = SEEDS,
    gain: float = 1.0,
    parts: tuple[str, ...] = tuple(SIZES),
) -> World:
    """Draw a run; the first rival's signal is `gain` times that of the other candidates."""
    rng = np.random.default_rng(number)
    names = (DEFAULT, *OTHERS[:rivals])
    clusters = {part: _clusters(SIZES[part], rng) for part in parts}
    logits = {
        p: {t.name: _per_cluster(c, t.width, rng) for t in TASKS} for p, c in clusters.items()
    }
    tables: dict[int, dict[str, dict[str, Part]]] = {s: {n: {} for n in names} for s in seeds}
    for part in parts:
        for seed in seeds:
            shared = {t.name: _per_cluster(clusters[part], t.width, rng) for t in TASKS}
            for name in names:
                signal = SIGNAL * (gain if name == OTHERS[0] else 1.0)
                tables[seed][name][part] = {
                    t.name: _predicted(
                        t,
                        signal * logits[part][t.name]
                        + SHARED * shared[t.name]
                        + OWN * _per_cluster(clusters[part], t.width, rng),
                    )
                    for t in TASKS
                }
    targets = {p: {t.name: _target(t, logits[p][t.name]) for t in TASKS} for p in parts}
    return World(targets, clusters, tables)


def chosen(world: World, resamples: int = 1000, over_records: bool = False) -> tuple[str, str]:
    """Return the candidate that ships and the best on val_select, by the library's own decision."""
    clusters = {
        part: np.arange(len(ids)) if over_records else ids for part, ids in world.clusters.items()
    }
    passes = dict.fromkeys(next(iter(world.tables.values())), 1)
    found = choose(TASKS, world.tables, world.targets, clusters, passes, resamples)
    return found["candidate"], found["challenger"] or DEFAULT


def any_significant(world: World, resamples: int = 1000) -> bool:
    """Tell whether Holm's correction calls any candidate different from the default on test."""
    names = next(iter(world.tables.values()))
    runs = {name: [table[name]["test"] for table in world.tables.values()] for name in names}
    scores = bootstrap_scores(TASKS, runs, world.targets["test"], world.clusters["test"], resamples)
    adjusted = holm_of_differences({n: scores[n] - scores[DEFAULT] for n in names})
    return min(adjusted.values()) <= LEVEL


def _clusters(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return a cluster for every record: a new one, or that of an earlier record it copies."""
    ids = np.arange(n)
    copies = np.flatnonzero(rng.random(n) < COPIES)[1:]
    ids[copies] = rng.integers(0, copies.clip(1))
    return ids[ids]


def _per_cluster(clusters: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw standard normal noise that the records of a cluster share."""
    return rng.normal(size=(len(clusters), width))[clusters]


def _predicted(task: Task, logits: np.ndarray) -> np.ndarray:
    if task.kind == "regression":
        return (logits / 2).astype(np.float32)
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def _target(task: Task, logits: np.ndarray) -> np.ndarray:
    if task.kind == "multiclass":
        return np.eye(task.width, dtype=np.float32)[logits.argmax(axis=1)]
    return _predicted(task, 2 * logits)


def main() -> None:
    """Print how often a gain is claimed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--gain", type=float, default=1.0, help="factor on one rival's signal")
    given = parser.parse_args()
    shipped, picked, by_records, on_test = [], [], [], []
    for number in range(given.first, given.first + given.runs):
        world = simulate(number, gain=given.gain)
        ships, pick = chosen(world)
        shipped.append(ships != DEFAULT)
        picked.append(pick != DEFAULT)
        by_records.append(chosen(world, over_records=True)[0] != DEFAULT)
        on_test.append(any_significant(world))
    for words, found in (
        ("best on val_select is another than the default", picked),
        ("a gain is claimed: confirmed over clusters", shipped),
        ("would be claimed: confirmed over records", by_records),
        ("any comparison on test significant by Holm", on_test),
    ):
        print(f"{words:50} {sum(found):4} of {len(found)} ({np.mean(found):.1%})")


if __name__ == "__main__":
    main()
