"""How fast a run will be: measured steps, or epochs that the ledger recorded."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from redheart.encoding.tokens import Encoded
from redheart.errors import explained
from redheart.json_values import Json
from redheart.machine.device import device_type
from redheart.machine.memory_plan import MemoryPlan
from redheart.recipe.build import build
from redheart.recipe.training_options import Recipe
from redheart.storage import run_files
from redheart.storage.ledger import Ledger
from redheart.storage.store import Store
from redheart.sweep.halving import HalvingOptions, make_rungs

# A measurement is made without `--measure` only if it should take less time than this, at this
# number of operations per second.
PATIENCE_SECONDS = 10.0
OPERATIONS_PER_SECOND = {"cpu": 2e10, "cuda": 1e13}
MEASURED_STEPS = 3


def sweep_epochs(config: Json) -> int:
    """Return the epochs that the sweep trains, all trials together."""
    sweep, options = config["sweep"], build(HalvingOptions, config["sweep"])
    rungs = make_rungs(sweep["epochs"], len(sweep["seeds"]), options)
    rates, seeds, epochs, total = len(sweep["learning_rates"]), 0, 0, 0
    for rung in rungs:
        total += rates * (rung.seeds * rung.epochs - seeds * epochs)
        rates, seeds, epochs = math.ceil(rates / options.reduction_factor), rung.seeds, rung.epochs
    return total


@dataclass(frozen=True)
class Pace:
    """The time and memory that optimizer steps and evaluations take."""

    step_seconds: float
    """Seconds of an optimizer step."""
    text_seconds: float
    """Seconds of a text in an evaluation."""
    peak_bytes: int
    """Peak memory of the process, or of its GPU, in bytes."""


def measure(recipe: Recipe, part: Encoded, trunk: Path, memory: MemoryPlan) -> Pace:
    """Take some optimizer steps with the very model, on synthetic texts.

    Parameters
    ----------
    part
        The texts of `MEASURED_STEPS` optimizer steps, the first of which does not count.
    trunk
        File of the pretrained trunk's weights; read only where the trunk learns.
    memory
        The plan of what training keeps in memory, and where.
    """
    from redheart.evaluation.inference import contributions
    from redheart.machine.meter import peak_memory
    from redheart.training import launch
    from redheart.training import state as training_state
    from redheart.training.epochs import train_epoch

    with explained(), launch.alone(recipe.train, memory.tier) as ranks:
        state = training_state.prepare(recipe, part, 1e-4, 0, memory, trunk, ranks)
        times = [time.monotonic()]
        train_epoch(state, part, lambda *_: times.append(time.monotonic()))
        few = part.head(min(len(part), 64))
        contributions(state.network, few.head(1), recipe.train)
        started = time.monotonic()
        contributions(state.network, few, recipe.train)
        text_seconds = (time.monotonic() - started) / len(few)
        step = median(end - start for start, end in list(pairwise(times))[1:])
        return Pace(step, text_seconds, peak_memory())


def is_quick(recipe: Recipe, parameters: int, max_tokens: int) -> bool:
    """Tell whether measuring should take a few seconds only, if every weight met every token."""
    options = recipe.train
    texts = options.batch_size * options.grad_accumulation * (2 if options.rdrop > 0 else 1)
    operations = 6.0 * parameters * texts * max_tokens * MEASURED_STEPS
    return operations / OPERATIONS_PER_SECOND[device_type(options)] < PATIENCE_SECONDS


def ledger_epochs(config: Json, run: Path, store: Store) -> list[float]:
    """Return the seconds of a run's recorded epochs of the main training under these settings."""
    settings = {**config["model"], **config["train"]}
    seconds = []
    for line in Ledger(run / run_files.LEDGER).lines():
        entry = store.ingredients(line.get("key", "")) if line["step"] == "train_leg" else None
        params = {
            key.partition(".")[2]: v for key, v in (entry or {"params": {}})["params"].items()
        }
        if entry and all(settings.get(key, value) == value for key, value in params.items()):
            seconds += [row["seconds"] for row in line.get("epochs", ())]
    return seconds
