"""The state of a training: how it is prepared, captured, restored and saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redheart.encoding.tokens import Encoded
from redheart.json_values import or_null
from redheart.machine.device import open_device, precision
from redheart.machine.memory_plan import UNLIMITED, MemoryPlan
from redheart.machine.meter import Meter
from redheart.machine.ranks import Ranks, SingleProcess
from redheart.machine.tiers import training_precision
from redheart.model.network import Network, build_network, hold_in_bfloat16
from redheart.model.pretrained import backbone_for, load_weights
from redheart.model.states import load_into, module_states, parameters_by_module
from redheart.recipe.training_options import CheckpointOptions, Recipe, TrainOptions
from redheart.storage import files, rounding
from redheart.storage.tensors import hash_modules, load_tensors, save_tensors
from redheart.tasks.task import Task
from redheart.training.adamw import AdamW
from redheart.training.legs import Ancestor
from redheart.training.optimizer import MovingAverage, build_optimizer, clipping_units

EVERYTHING = CheckpointOptions()


@dataclass
class TrainingState:
    """Everything that an epoch of training reads and changes."""

    network: Network
    """The model, on its device."""
    optimizer: AdamW
    """AdamW over all parameters, as the memory plan keeps its states."""
    average: MovingAverage
    """The weights' moving average."""
    scaler: torch.amp.GradScaler
    """Loss scaling; it does nothing except in fp16."""
    tasks: Sequence[Task]
    """What is learned."""
    options: TrainOptions
    """The recipe."""
    peak: float
    """The learning rate at the schedule's beginning."""
    seed: int
    """Seed of weights, order and dropout."""
    epoch: int = 0
    """Completed epochs."""
    step: int = 0
    """Completed optimizer steps."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """A row for each step since training loaded a checkpoint; a snapshot holds these rows."""
    units: dict[str, list[torch.nn.Parameter]] = field(default_factory=dict)
    """Parameters that are clipped together, by name."""
    meter: Meter = field(default_factory=Meter)
    """The time and the memory that each epoch takes."""
    micro_batch: int | None = None
    """Texts that the GPU's memory allows at once; None: as many as the recipe says."""
    memory: MemoryPlan = UNLIMITED
    """What training keeps in memory, and where."""
    ranks: Ranks = field(default_factory=SingleProcess)
    """The processes that train the network together."""

    def facts(self) -> dict[str, Any]:
        """Return the ledger's columns: time, memory, and the micro-batch where it was halved."""
        halved = {"micro_batch": self.micro_batch} if self.micro_batch else {}
        return {**self.meter.facts(), **self.memory.facts(), **halved}


def prepare(
    recipe: Recipe,
    data: Encoded,
    peak: float,
    seed: int,
    memory: MemoryPlan = UNLIMITED,
    trunk: str | Path = "",
    ranks: Ranks | None = None,
) -> TrainingState:
    """Return the state before the first step; equal seeds give equal weights at every rate.

    Parameters
    ----------
    data
        The training part; its vocabulary and text length decide shapes of the network.
    peak
        The learning rate at the schedule's beginning.
    memory
        What to keep in memory, in how many bits and where.
    trunk
        Path of the pretrained trunk's weights, if the data is made for a trunk that learns.
    ranks
        The processes that train together, each with its share of every weight; None: one process.
        Where the memory plan keeps weights in main memory, they must be those of `launch.alone`.

    Raises
    ------
    UserError
        Training does not fit the memory plan's budget.
    """
    memory.check()
    memory.tell()
    tier, options = memory.tier, training_precision(recipe.train, memory.tier)
    device, ranks = open_device(options), ranks or SingleProcess()
    if tier.weights_on_cpu and not ranks.shards:
        raise ValueError("weights in main memory are brought to the device by launch.alone")
    home = "cpu" if tier.weights_on_cpu else device
    backbone = backbone_for(data)
    if backbone and data.trunk:
        load_weights(backbone, trunk)
    network = build_network(recipe.model, recipe.tasks, data.sizes, seed, home, backbone)
    if tier.recompute:
        network.backbone.recompute_activations()
    if tier.weights == "bf16":
        hold_in_bfloat16(network)
    ranks.shard(network)
    parameters = parameters_by_module(network)
    optimizer = build_optimizer(network, options, tier, seed)
    return TrainingState(
        network,
        optimizer,
        MovingAverage(parameters, options.ema_decay, tier.average_on_cpu, optimizer.masters),
        torch.amp.GradScaler(device.type, enabled=precision(options) == "fp16"),
        recipe.tasks,
        options,
        peak,
        seed,
        units=clipping_units(parameters),
        memory=memory,
        ranks=ranks,
    )


def restore(state: TrainingState, ancestor: Ancestor) -> None:
    """Load weights, average, optimizer and counters of a checkpoint."""
    checkpoint = load_tensors(ancestor.weights)
    training_state = load_tensors(ancestor.state)
    rests = training_state.pop("rests", {})
    exact = {key: rounding.exact(checkpoint[key], rests[key]) for key in rests}
    _load(state, {**checkpoint, **exact, **training_state})


def capture(state: TrainingState) -> dict[str, Any]:
    """Return everything that training needs to go on, also in the middle of an epoch."""
    return {
        **_tensors(state),
        **_counters(state),
        "steps": state.steps,
        "generators": state.ranks.everyones(generators()),
        "micro_batch": state.micro_batch,
    }


def resume(state: TrainingState, captured: Mapping[str, Any]) -> None:
    """Load a state that `capture` returned, from memory or from disk."""
    _load(state, captured)
    state.steps = list(captured["steps"])
    state.micro_batch = captured["micro_batch"]
    random_states = captured["generators"]
    if state.ranks.rank < len(random_states):
        set_generators(random_states[state.ranks.rank])
    else:  # Fewer processes trained when the state was captured.
        seed_epoch(state)


def seed_epoch(state: TrainingState) -> None:
    """Seed the generators for the running epoch: each process has a dropout of its own."""
    place = (state.seed, state.epoch, *((state.ranks.rank,) if state.ranks.rank else ()))
    digest = hashlib.sha256("/".join(map(str, place)).encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:7], "big"))


def generators() -> dict[str, Tensor]:
    """Return the states of the generators of random numbers."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_generators(states: Mapping[str, Tensor]) -> None:
    """Set the states that `generators` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _tensors(state: TrainingState) -> dict[str, Any]:
    """Return the tensors of a checkpoint: weights and average."""
    weights, average = module_states(state.network), state.average.state()
    return {name: state.ranks.gathered(t) for name, t in (("weights", weights), ("ema", average))}


def _counters(state: TrainingState) -> dict[str, Any]:
    """Return what the next leg needs beside the checkpoint, if that holds everything."""
    return {
        "epoch": state.epoch,
        "step": state.step,
        "optimizer": state.ranks.gathered(state.optimizer.state_dict()),
        "scaler": state.scaler.state_dict(),
    }


def _load(state: TrainingState, saved: Mapping[str, Any]) -> None:
    load_into(state.network, saved["weights"])
    state.average.load(saved["ema"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.scaler.load_state_dict(saved["scaler"])
    state.epoch, state.step = saved["epoch"], saved["step"]


def save_leg(
    state: TrainingState,
    statistics: list[dict[str, Any]],
    folder: Path,
    state_path: Path,
    keys: Mapping[str, str | None],
    options: CheckpointOptions = EVERYTHING,
) -> dict[str, str]:
    """Write `weights`, the training state, `steps` and, last, the `manifest`: it means complete.

    The training state holds those bits of weights and average that the checkpoint leaves out, so
    the next leg loses none. Of several processes rank 0 writes, and the others must call this too.

    Parameters
    ----------
    folder
        The folder for checkpoint, step metrics and manifest.
    state_path
        Path of the training state, which the next leg needs beside the checkpoint.
    keys
        The leg's `key`, and `parent`, the key of its parent.
    options
        What the checkpoint holds.

    Returns
    -------
    The SHA-256 of `weights`.
    """
    tensors, training_state = _tensors(state), _counters(state)
    if state.ranks.rank:
        return {}
    saved: dict[str, Any] = {key: tensors[key] for key in tensors if options.ema or key != "ema"}
    training_state |= {key: tensors[key] for key in tensors if key not in saved}
    if options.dtype == "bf16":
        training_state["rests"] = {key: rounding.rest(saved[key]) for key in saved}
        saved = {key: rounding.rounded(saved[key]) for key in saved}
    # Hashing runs beside the writing, which waits for the disk.
    with ThreadPoolExecutor(max_workers=1) as pool:
        hashing = pool.submit(lambda: {k: hash_modules(v) for k, v in saved.items()})
        sha256 = save_tensors(folder / "weights", {"epoch": state.epoch, **saved})
        state_sha256 = save_tensors(state_path, training_state)
        hashes = hashing.result()
    files.write_lines(folder / "steps", map(_as_line, _steps_of(state, statistics)))
    manifest = {
        "epoch": state.epoch,
        "step": state.step,
        "seed": state.seed,
        "learning_rate": state.peak,
        **keys,
        "weights": hashes["weights"],
        "ema": hashes.get("ema", {}),
        "state": state_sha256,
        "training": statistics,
    }
    files.write_json(folder / "manifest", manifest)
    return {"weights": sha256}


def _steps_of(state: TrainingState, statistics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a leg's own epochs, without those of epochs that it replayed."""
    epochs = {row["epoch"] for row in statistics}
    return [row for row in state.steps if row["epoch"] in epochs]


def _as_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for JSON, with a norm of null where fp16 overflowed and skipped the step."""
    norms = row["gradient_norm"].items()
    return {**row, "gradient_norm": {unit: or_null(norm) for unit, norm in norms}}
