"""Search tiny real models: some overfit each task at another time, some have nothing to gain.

    python bench/planted_runs.py            five runs of each kind, a minute and a half

The trunk is frozen, with a random vector for each word, so that modules of different epochs fit
together. There are two tasks of two classes. In the planted win, the label of `quick` is a hidden
bit of the text, and is wrong in two of five training texts. The model learns the bit in an epoch or
two, and then the noise. The label of `slow` is the parity of two bits, and is always right; the
model needs many epochs for it. So no epoch suits both tasks. Nor does the mean of several epochs:
the checkpoints that the soup adds for one task spoil the other. In the planted null, each label is
one bit and always right, there are many texts, and the rate falls to 0. All modules then end in the
same state, and there is no gain to find.

Nothing is simulated: training, tables, soups, units, search and bootstrap are the library's. The
planted win is proved if over five training seeds the search beats the best single checkpoint and
the greedy soup on test, with the paired bootstrap's 95 % interval above 0. For the null runs, the
output tells how often a gain over the greedy soup would have been claimed on val_confirm. The
program exits with 1 if the win is not proved, or if more than one null run claims a gain.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redheart.crossover import candidate_predictions, candidate_sources, recombination
from redheart.crossover.search import START, Option
from redheart.crossover.soups import make_soups
from redheart.encoding.batch import Batch
from redheart.encoding.tokens import Encoded
from redheart.evaluation import scoring
from redheart.model.backbone import Backbone, Features, masked_mean
from redheart.model.network import Network
from redheart.model.states import module_states, parameters_by_module
from redheart.recipe import groups
from redheart.recipe.model_options import ModelOptions, resolve
from redheart.recipe.training_options import Recipe, TrainOptions
from redheart.selection.bootstrap import Interval, Predictions, bootstrap_scores, interval
from redheart.storage.tensors import MaybeDeferred, ModuleStates
from redheart.sweet_spots.choice import SweetSpotOptions
from redheart.sweet_spots.units import find_unit_spots
from redheart.tasks import metrics
from redheart.tasks.task import Task
from redheart.training.epochs import train_epoch
from redheart.training.optimizer import MovingAverage, build_optimizer, clipping_units
from redheart.training.state import TrainingState

TASKS = tuple(Task(name, "multiclass", name, ("no", "yes")) for name in ("quick", "slow"))
# Words of the vocabulary, and of a text. A bit tilts the frequency of `WORDS` words, half of them
# up; `TILT` is the logarithm of the factor.
VOCABULARY, LENGTH, WORDS, TILT = 400, 24, 120, 1.2
HELD_OUT = {"val_select": 400, "val_confirm": 400, "test": 1500}
DIMENSION = 64
RUNS, RESAMPLES = 5, 1000


@dataclass(frozen=True)
class Plan:
    """A kind of run: the planted labels, and the training."""

    noise: float
    """Share of wrong training labels of `quick`."""
    bits: tuple[int, int]
    """Hidden bits of each task; its label is their parity. Several bits are learned late."""
    texts: int
    """Training texts."""
    epochs: int
    """Epochs; every second epoch ends with a checkpoint."""
    rate: float
    """Learning rate at the beginning of the schedule."""
    final_rate: float
    """Learning rate at the end of the schedule, as a share of the first."""


WIN = Plan(noise=0.4, bits=(1, 2), texts=800, epochs=40, rate=3e-4, final_rate=1.0)
NULL = Plan(noise=0.0, bits=(1, 1), texts=3000, epochs=12, rate=1e-3, final_rate=0.0)


class RandomFeatures(Backbone):
    """A frozen trunk: a random vector for each word, and the mean of a text's vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.dimension, self.depth = DIMENSION, 1
        vectors = torch.randn(VOCABULARY, DIMENSION, generator=torch.Generator().manual_seed(0))
        self.vectors = torch.nn.Parameter(vectors, requires_grad=False)

    def forward(self, batch: Batch) -> Features:
        """Return the vectors of a batch's words, and their means."""
        tokens = self.vectors[batch.ids]
        return Features(tokens, masked_mean(tokens, batch.mask))

    def depth_of(self, parameter_name: str) -> int:
        """Return the only layer."""
        return 0


@dataclass(frozen=True)
class Run:
    """The results of one training."""

    predicted: Mapping[str, Mapping[str, Predictions]]
    """Candidate -> part -> predictions."""
    tables: Sequence[Mapping[str, Any]]
    """The checkpoints' metrics."""
    found: Mapping[str, Any]
    """The content of `search.json`."""


def make_parts(plan: Plan, seed: int) -> dict[str, Encoded]:
    """Return random texts; each hidden bit of a text tilts the frequency of its own words."""
    rng = np.random.default_rng(seed)
    count = sum(plan.bits)
    words = rng.permutation(np.arange(1, VOCABULARY))[: count * WORDS].reshape(count, WORDS)
    signs = np.zeros((count, VOCABULARY))
    np.put_along_axis(signs, words, np.resize([1.0, -1.0], words.shape), axis=1)

    def part(size: int, noise: float) -> Encoded:
        bits = rng.integers(0, 2, (size, count))
        shares = np.exp(TILT * (2 * bits - 1) @ signs)
        shares[:, 0] = 0  # the padding is no word
        shares /= shares.sum(axis=1, keepdims=True)
        ids = tuple(rng.choice(VOCABULARY, LENGTH, p=row).astype(np.int32) for row in shares)
        quick, slow = (each.sum(axis=1) for each in np.split(bits, [plan.bits[0]], axis=1))
        labels = {"quick": quick + (rng.random(size) < noise), "slow": slow}
        targets = {name: np.eye(2, dtype=np.float32)[sums % 2] for name, sums in labels.items()}
        return Encoded(ids, targets, VOCABULARY, LENGTH)

    held_out = {name: part(size, 0.0) for name, size in HELD_OUT.items()}
    return {"train": part(plan.texts, plan.noise), **held_out}


def run(plan: Plan, parts: Mapping[str, Encoded], seed: int) -> Run:
    """Train once and let the candidates predict."""
    options = TrainOptions(
        schedule_epochs=plan.epochs,
        batch_size=32,
        grad_accumulation=1,
        precision="fp32",
        device="cpu",
        cpu_threads=1,
        final_rate=plan.final_rate,
        rdrop=0.0,
    )
    recipe = Recipe(TASKS, ModelOptions(), options)
    network = _network(recipe, seed)
    saved, tables = _train(network, plan, recipe, parts, seed)
    validation = parts["val_select"]
    soups: dict[str, MaybeDeferred] = {}
    load_epoch = saved.__getitem__
    make_soups(network, load_epoch, tables, validation, recipe, soups.__setitem__)

    def load(option: Option) -> MaybeDeferred:
        return soups["greedy"] if option == START else saved[int(option)]["weights"]

    units = groups.units(soups["greedy"], frozen_trunk=True)
    found, ascent = recombination.search_checkpoints(
        network, load, list(saved), units, validation, recipe
    )
    models = {
        "best_single": load(candidate_sources.best_epoch(tables, "raw")),
        "greedy_soup": soups["greedy"],
        **{f"units_{name}": _stitched(tables, units, load, name) for name in SELECTORS},
        "ascent": ascent,
    }
    held_out = {name: parts[name] for name in HELD_OUT}
    predicted = {
        name: candidate_predictions.predict_parts(network, states, held_out, recipe)[0]
        for name, states in models.items()
    }
    return Run(predicted, tables, found)


SELECTORS = ("minimum", "one_standard_error", "plateau")


def _stitched(
    tables: Sequence[Mapping[str, Any]],
    units: Mapping[str, Sequence[str]],
    load: Any,
    selector: Any,
) -> ModuleStates:
    """Return the crossover by units, each from the epoch that a selector chooses."""
    spots = find_unit_spots(tables, units, SweetSpotOptions(unit_selector=selector))["units"]
    modules = {module: spot["epoch"] for spot in spots.values() for module in spot["modules"]}
    return dict(load(START)) | {module: load(epoch)[module] for module, epoch in modules.items()}


def _network(recipe: Recipe, seed: int) -> Network:
    torch.manual_seed(seed)
    architecture = resolve(recipe.model, recipe.tasks, VOCABULARY, LENGTH)
    return Network(architecture, recipe.tasks, RandomFeatures())


def _train(
    network: Network, plan: Plan, recipe: Recipe, parts: Mapping[str, Encoded], seed: int
) -> tuple[dict[int, Any], list[dict[str, Any]]]:
    """Return the checkpoints by epoch, `weights` and `ema` by module, and their tables."""
    parameters = parameters_by_module(network)
    state = TrainingState(
        network,
        build_optimizer(network, recipe.train),
        MovingAverage(parameters, recipe.train.ema_decay),
        torch.amp.GradScaler("cpu", enabled=False),
        recipe.tasks,
        recipe.train,
        plan.rate,
        seed,
        units=clipping_units(parameters),
    )
    judge, saved, tables = _network(recipe, seed), {}, []
    while state.epoch < plan.epochs:
        statistics = train_epoch(state, parts["train"])
        if state.epoch % 2 == 0:
            both = {"weights": module_states(network), "ema": state.average.state()}
            saved[state.epoch] = {name: _copied(states) for name, states in both.items()}
            manifest = {"epoch": state.epoch, "weights": both["weights"], "training": [statistics]}
            part = parts["train"].head(100), parts["val_select"]
            tables.append(
                scoring.evaluate_checkpoint(
                    judge, saved[state.epoch], manifest, *part, recipe, None
                )
            )
    return saved, tables


def _copied(states: ModuleStates) -> dict[str, dict[str, Tensor]]:
    return {m: {name: t.clone() for name, t in part.items()} for m, part in states.items()}


def difference(
    runs: Sequence[Run], parts: Mapping[str, Encoded], reference: str, part: str = "test"
) -> Interval:
    """Return the search's macro score minus a reference's, averaged over the runs."""
    both = {name: [run.predicted[name][part] for run in runs] for name in ("ascent", reference)}
    alone = np.arange(len(parts[part]))  # no text is similar to another
    scores = bootstrap_scores(TASKS, both, parts[part].targets, alone, RESAMPLES)
    return interval(scores["ascent"] - scores[reference])


def show(run: Run, parts: Mapping[str, Encoded]) -> None:
    """Print a run: the best epoch of each task, the chosen epochs of the units, scores on test."""
    peaks = {
        task.name: max(
            run.tables, key=lambda table: table["fused"]["raw"]["tasks"][task.name]["macro_f1"]
        )["epoch"]
        for task in TASKS
    }
    scores = {
        name: f"{metrics.macro(TASKS, predicted['test'], parts['test'].targets):.3f}"
        for name, predicted in run.predicted.items()
    }
    print(f"  peaks {peaks}, chosen {run.found['chosen']}", flush=True)
    print("  test", " ".join(f"{name} {score}" for name, score in scores.items()), flush=True)


def main() -> int:
    """Prove the planted win, count the claims of the null runs; return the exit status."""
    torch.set_num_threads(1)
    print("planted win, on one corpus, a training seed each")
    parts = make_parts(WIN, seed=0)
    runs = [run(WIN, parts, seed) for seed in range(RUNS)]
    for each in runs:
        show(each, parts)
    against = {name: difference(runs, parts, name) for name in ("best_single", "greedy_soup")}
    claims = 0
    print("planted null, on a corpus and a training seed each")
    for seed in range(RUNS):
        parts = make_parts(NULL, seed)
        each = run(NULL, parts, seed)
        show(each, parts)
        confirm, test = (difference([each], parts, START, part) for part in ("val_confirm", "test"))
        print(f"  against the greedy soup: val_confirm {confirm}, test {test}")
        claims += confirm.low > 0
    for name, found in against.items():
        print(f"win: the search against {name} on test, {RUNS} seeds: {found}")
    print(f"null: a gain was claimed in {claims} of {RUNS} runs")
    return int(claims > 1 or any(found.low <= 0 for found in against.values()))


if __name__ == "__main__":
    sys.exit(main())
