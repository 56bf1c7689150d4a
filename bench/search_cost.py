"""Time the search over the units' epochs against the evaluation of all checkpoints.

    python bench/search_cost.py      30 checkpoints, 15 units, 1,000 texts, tiny model, one thread

The checkpoints are random weights that drift, so that the ascent has moves to make. The program
prints the seconds to evaluate all checkpoints (forward passes, fusion, metric), the seconds of the
whole search with its heat map, their ratio, and the number of passes that the search made.
"""

from __future__ import annotations

import os
import time

# The value that the workflow sets; it must be set before torch is imported:
# docs/decisions/005-threads.md.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch

from redheart.crossover import candidate_predictions, recombination, soups
from redheart.crossover.search import START
from redheart.encoding.tokens import Encoded, PartSizes
from redheart.evaluation import inference
from redheart.model.network import build_network
from redheart.model.states import module_states
from redheart.recipe import groups
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import Recipe, TrainOptions
from redheart.storage.tensors import ModuleStates
from redheart.tasks import metrics
from redheart.tasks.task import Kind, Task

CHECKPOINTS, TEXTS, TOKENS, VOCABULARY = 30, 1000, 64, 2000
KINDS: tuple[Kind, ...] = ("distribution", "multiclass", "multilabel", "regression")
# Seven analyzers, seven advanced ones and the signal chain: 15 units beside the trunk.
TASKS = tuple(Task(f"task_{i}", KINDS[i % 4], "", ("a", "b", "c", "d")) for i in range(7))
RECIPE = Recipe(
    TASKS,
    ModelOptions(advanced=tuple(task.name for task in TASKS)),
    TrainOptions(precision="fp32", device="cpu", cpu_threads=1),
)


def make_part() -> Encoded:
    """Return random texts with random labels."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(TOKENS // 4, TOKENS + 1, TEXTS)
    ids = tuple(rng.integers(1, VOCABULARY, length).astype(np.int32) for length in lengths)
    one_hot = np.eye(4, dtype=np.float32)[rng.integers(0, 4, TEXTS)]
    targets = {
        "distribution": rng.dirichlet(np.ones(4), TEXTS).astype(np.float32),
        "multiclass": one_hot,
        "multilabel": one_hot,
        "regression": rng.random((TEXTS, 4)).astype(np.float32),
    }
    return Encoded(ids, {task.name: targets[task.kind] for task in TASKS}, VOCABULARY, TOKENS)


def make_checkpoints() -> dict[int | str, ModuleStates]:
    """Return weights that drift from epoch to epoch, and their mean as the soup."""
    torch.manual_seed(0)
    network = build_network(RECIPE.model, TASKS, PartSizes(VOCABULARY, TOKENS), seed=0)
    saved: dict[int | str, ModuleStates] = {}
    for number in range(1, CHECKPOINTS + 1):
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
        states = module_states(network)
        saved[2 * number] = {m: {n: t.clone() for n, t in s.items()} for m, s in states.items()}
    return {**saved, START: soups.average(saved.values())}


def main() -> None:
    """Time the evaluation and the search, and print both."""
    part, saved = make_part(), make_checkpoints()
    network = inference.network_for(RECIPE, part)
    units = groups.units(saved[START])
    epochs = [option for option in saved if isinstance(option, int)]
    began = time.perf_counter()
    for epoch in epochs:
        predicted, _ = candidate_predictions.fit_fusion(network, saved[epoch], part, RECIPE)
        metrics.macro(TASKS, predicted, part.targets)
    evaluation = time.perf_counter() - began
    began = time.perf_counter()
    found, _ = recombination.search_checkpoints(
        network, saved.__getitem__, epochs, units, part, RECIPE
    )
    search = time.perf_counter() - began
    print(f"evaluation of {CHECKPOINTS} checkpoints: {evaluation:.1f} s")
    print(
        f"search over {len(found['units'])} units: {search:.1f} s, {search / evaluation:.2f} of it"
    )
    print(f"{len(found['path'])} moves; {found['cost']}")


if __name__ == "__main__":
    main()
