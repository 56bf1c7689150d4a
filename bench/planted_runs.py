"""Train tiny real models whose tasks overfit at different times, or together, and search them.

    python bench/planted_runs.py            five runs with a planted win, five with nothing to gain

The trunk is frozen: random features of bags of words, so that modules of different epochs fit
together. Two tasks, two classes each. `quick` is easy and its training labels are wrong in two of
five texts: it peaks within some epochs and then learns the noise. `slow` has clean labels and a
weak signal: it wants many. So no epoch suits both, and averages of many epochs are spoilt for one
of them. In the null case both tasks are `slow`, with different words, and peak together.

Everything is the library's own: training, tables, soups, units, search, candidates, bootstrap. The
last two lines are the proof: over five training seeds, on test, the search against the best single
checkpoint and the greedy soup with the paired bootstrap's 95 % interval; and how often a gain was
claimed on val_confirm where there was none to find.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redheart import candidate_plan, candidates, checkpoint, groups, metrics, optim, recombination
from redheart.checkpoint import ModuleStates
from redheart.comparison import Interval, paired_bootstrap
from redheart.inference import contributions, predictions
from redheart.model.backbone import Backbone, Features, masked_mean
from redheart.model.network import Network
from redheart.model.options import ModelOptions, resolve
from redheart.search import START, Option
from redheart.tasks import Task
from redheart.tokens import Encoded
from redheart.training import TrainingState, train_epoch
from redheart.training_options import Recipe, TrainOptions

VOCABULARY, LENGTH, WORDS, TILT = 400, 24, 120, 0.6
HELD_OUT = {"val_select": 400, "val_confirm": 400, "test": 1500}
TASKS = tuple(Task(name, "multiclass", name, ("no", "yes")) for name in ("quick", "slow"))


@dataclass(frozen=True)
class Plan:
    """What is planted, and how long to train."""

    noise: tuple[float, float] = (0.4, 0.0)
    """Share of wrong training labels of each task."""
    bits: tuple[int, int] = (1, 2)
    """Hidden bits of which a task's label is the parity; with more than one it is learned late."""
    texts: int = 400
    """Training texts."""
    final_rate: float = 1.0
    """Learning rate at the end, as a share of the first."""
    epochs: int = 40
    """Epochs, a checkpoint after each second one."""
    rate: float = 1e-3
    """Learning rate at the schedule's beginning."""


WIN = Plan()
NULL = Plan(noise=(0.0, 0.0), bits=(1, 1), texts=800, final_rate=0.0, rate=3e-4)


class RandomFeatures(Backbone):
    """A frozen trunk: a random vector a word, and their mean."""

    def __init__(self, vocabulary: int, dimension: int):
        super().__init__()
        self.dimension, self.depth = dimension, 1
        vectors = torch.randn(vocabulary, dimension, generator=torch.Generator().manual_seed(0))
        self.vectors = torch.nn.Parameter(vectors, requires_grad=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Features:
        """Look up the words."""
        tokens = self.vectors[ids]
        return Features(tokens, masked_mean(tokens, mask))

    def depth_of(self, parameter_name: str) -> int:
        """Return the only layer."""
        return 0


def make_parts(plan: Plan, seed: int = 0) -> dict[str, Encoded]:
    """Return random texts; each hidden bit of a text tilts the frequency of words of its own."""
    rng = np.random.default_rng(seed)
    count = sum(plan.bits)
    words = rng.permutation(np.arange(1, VOCABULARY))[: count * WORDS].reshape(count, WORDS)
    signs = np.zeros((count, VOCABULARY))
    np.put_along_axis(signs, words, np.resize([1.0, -1.0], words.shape), axis=1)
    of_task = np.split(np.arange(count), np.cumsum(plan.bits)[:-1])

    def part(name: str, size: int) -> Encoded:
        bits = rng.integers(0, 2, (size, count))
        shares = np.exp(TILT * (2 * bits - 1) @ signs)
        shares[:, 0] = 0
        shares /= shares.sum(axis=1, keepdims=True)
        ids = tuple(rng.choice(VOCABULARY, LENGTH, p=row).astype(np.int32) for row in shares)
        targets = {}
        for task, mine, noise in zip(TASKS, of_task, plan.noise, strict=True):
            wrong = rng.random(size) < noise * (name == "train")
            targets[task.name] = np.eye(2, dtype=np.float32)[(bits[:, mine].sum(1) + wrong) % 2]
        return Encoded(ids, targets, VOCABULARY, LENGTH)

    return {name: part(name, size) for name, size in {"train": plan.texts, **HELD_OUT}.items()}


def build(recipe: Recipe, seed: int) -> Network:
    """Return a network on the frozen trunk."""
    torch.manual_seed(seed)
    architecture = resolve(recipe.model, recipe.tasks, VOCABULARY, LENGTH)
    return Network(architecture, recipe.tasks, RandomFeatures(VOCABULARY, 64))


def train(plan: Plan, recipe: Recipe, data: Encoded, seed: int) -> dict[int, Any]:
    """Return the checkpoints by epoch: `weights` and `ema` by module."""
    network = build(recipe, seed)
    parameters = groups.parameters_by_module(network)
    state = TrainingState(
        network,
        optim.build_optimizer(network, recipe.train),
        optim.MovingAverage(parameters, recipe.train.ema_decay),
        torch.amp.GradScaler("cpu", enabled=False),
        recipe.tasks,
        recipe.train,
        plan.rate,
        seed,
        units=optim.clipping_units(parameters),
    )
    saved = {}
    while state.epoch < plan.epochs:
        train_epoch(state, data)
        if state.epoch % 2 == 0:
            both = (checkpoint.module_states(network), state.average.state())
            saved[state.epoch] = dict(zip(("weights", "ema"), map(_copied, both), strict=True))
    return saved


def _copied(states: ModuleStates) -> dict[str, dict[str, Tensor]]:
    return {m: {name: t.clone() for name, t in part.items()} for m, part in states.items()}


def run(plan: Plan, parts: dict[str, Encoded], seed: int) -> dict[str, Any]:
    """Train, search, and return each candidate's predictions by part, and the search."""
    recipe = Recipe(
        TASKS,
        ModelOptions(advanced=()),
        TrainOptions(
            plan.epochs,
            batch_size=32,
            grad_accumulation=1,
            precision="fp32",
            device="cpu",
            cpu_threads=1,
            rdrop=0.0,
            label_smoothing=0.0,
            final_rate=plan.final_rate,
        ),
    )
    saved = train(plan, recipe, parts["train"], seed)
    network = build(recipe, seed)
    tables = [_table(network, epoch, saved[epoch], parts["val_select"], recipe) for epoch in saved]
    soups, path = candidates.make_soups(
        network, saved.__getitem__, tables, parts["val_select"], recipe
    )

    def load(option: Option) -> ModuleStates:
        return soups["greedy"] if option == START else saved[int(option)]["weights"]

    units = groups.units(soups["greedy"], frozen_trunk=True)
    found, ascent = recombination.search_checkpoints(
        network, load, list(saved), units, parts["val_select"], recipe
    )
    best = candidate_plan.best_epoch(tables, "raw")
    models = {
        "best_single": saved[best]["weights"],
        "greedy_soup": soups["greedy"],
        "ascent": ascent,
    }
    predicted = {
        name: {
            part: table
            for part, table in candidates._predict_parts(
                network, states, {k: v for k, v in parts.items() if k != "train"}, recipe
            )[0].items()
        }
        for name, states in models.items()
    }
    return {
        "predicted": predicted,
        "best": best,
        "soup": path["greedy"]["epochs"],
        **found,
        "tables": tables,
    }


def _table(network, epoch, saved, part, recipe):
    fused = {}
    for name, source in (("raw", "weights"), ("ema", "ema")):
        predicted, _ = candidates.fuse(network, saved[source], part, recipe)
        each = {
            t.name: metrics.main_metric(t, predicted[t.name], part.targets[t.name]) for t in TASKS
        }
        fused[name] = {"macro": float(np.mean(list(each.values()))), "tasks": each}
    return {"epoch": epoch, "fused": fused}


if __name__ == "__main__":
    import time

    torch.set_num_threads(1)
    for plan in (WIN, NULL):
        parts = make_parts(plan)
        runs = []
        for seed in range(2):
            t = time.time()
            r = run(plan, parts, seed)
            runs.append(r)
            print(
                round(time.time() - t, 1),
                "s; best",
                r["best"],
                "soup",
                r["soup"],
                r["chosen"],
                r["cost"],
            )
            for name in ("quick", "slow"):
                print(name, [round(x["fused"]["raw"]["tasks"][name], 3) for x in r["tables"]])
            for part in ("val_select", "test"):
                print(
                    part,
                    {
                        n: round(metrics.macro(TASKS, p[part], parts[part].targets), 4)
                        for n, p in r["predicted"].items()
                    },
                )
        for ref in ("best_single", "greedy_soup"):
            print(
                ref,
                paired_bootstrap(
                    TASKS,
                    [r["predicted"]["ascent"]["test"] for r in runs],
                    [r["predicted"][ref]["test"] for r in runs],
                    parts["test"].targets,
                    300,
                ),
            )
