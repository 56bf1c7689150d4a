"""The state of a training: how it begins, is captured, taken up and saved."""

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
    """Loss scaling; does nothing but in fp16."""
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
    """A row for each step since training took up a checkpoint, those of a snapshot among them."""
    units: dict[str, list[torch.nn.Parameter]] = field(default_factory=dict)
    """Parameters that are clipped together, by name."""
    meter: Meter = field(default_factory=Meter)
    """What each epoch takes."""
    micro_batch: int | None = None
    """Texts that the GPU's memory allows at once; None: as many as the recipe wants."""
    memory: MemoryPlan = UNLIMITED
    """What is kept of it, and where."""
    ranks: Ranks = field(default_factory=SingleProcess)
    """The processes that train it together."""

    def facts(self) -> dict[str, Any]:
        """Return the columns of the ledger: what it took, and a micro-batch that was halved."""
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
        Weights of the pretrained trunk, where the data is made for one that learns.
    ranks
        The processes that train together, each with its share of every weight; None: one. Those of
        `launch.alone` where the memory plan's weights lie in main memory.

    Raises
    ------
    UserError
        What the memory plan tells does not fit its budget.
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
    """Take up weights, average, optimizer and counters of a checkpoint."""
    saved = load_tensors(ancestor.weights)
    own = load_tensors(ancestor.state)
    rests = own.pop("rests", {})
    exact = {key: rounding.exact(saved[key], rests[key]) for key in rests}
    _take_up(state, {**saved, **exact, **own})


def capture(state: TrainingState) -> dict[str, Any]:
    """Return all that training goes on from, in the midst of an epoch too."""
    return {
        **_tensors(state),
        **_counters(state),
        "steps": state.steps,
        "generators": state.ranks.everyones(generators()),
        "micro_batch": state.micro_batch,
    }


def resume(state: TrainingState, captured: Mapping[str, Any]) -> None:
    """Take up what `capture` returned, before or after it was on disk."""
    _take_up(state, captured)
    state.steps = list(captured["steps"])
    state.micro_batch = captured["micro_batch"]
    saved = captured["generators"]
    if state.ranks.rank < len(saved):
        set_generators(saved[state.ranks.rank])
    else:  # It was taken with fewer processes.
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
    """Take up what `generators` returned."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])


def _tensors(state: TrainingState) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    weights, average = module_states(state.network), state.average.state()
    return {name: state.ranks.gathered(t) for name, t in (("weights", weights), ("ema", average))}


def _counters(state: TrainingState) -> dict[str, Any]:
    """Return what a leg hands on beside its checkpoint."""
    return {
        "epoch": state.epoch,
        "step": state.step,
        "optimizer": state.ranks.gathered(state.optimizer.state_dict()),
        "scaler": state.scaler.state_dict(),
    }


def _take_up(state: TrainingState, saved: Mapping[str, Any]) -> None:
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
    """Write `weights`, the training state, `steps` and, last, the `manifest`: all is complete.

    What the checkpoint does not hold of weights and average is in the training state, so that
    the next leg goes on from every bit.
    Of several processes rank 0 writes, and the others have to call it too.

    Parameters
    ----------
    folder
        Where checkpoint, step metrics and manifest go.
    state_path
        Where goes what the next leg needs beside the checkpoint.
    keys
        The leg's own `key` and its `parent`'s.
    options
        What the checkpoint holds.

    Returns
    -------
    The SHA-256 of `weights`.
    """
    trained, own = _tensors(state), _counters(state)
    if state.ranks.rank:
        return {}
    saved: dict[str, Any] = {key: trained[key] for key in trained if options.ema or key != "ema"}
    own |= {key: trained[key] for key in trained if key not in saved}
    if options.dtype == "bf16":
        own["rests"] = {key: rounding.rest(saved[key]) for key in saved}
        saved = {key: rounding.rounded(saved[key]) for key in saved}
    # Beside the writing, which waits for the disk.
    with ThreadPoolExecutor(max_workers=1) as pool:
        hashing = pool.submit(lambda: {k: hash_modules(v) for k, v in saved.items()})
        sha256 = save_tensors(folder / "weights", {"epoch": state.epoch, **saved})
        own_sha256 = save_tensors(state_path, own)
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
        "state": own_sha256,
        "training": statistics,
    }
    files.write_json(folder / "manifest", manifest)
    return {"weights": sha256}


def _steps_of(state: TrainingState, statistics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a leg's own epochs, without those that it replayed to get there."""
    epochs = {row["epoch"] for row in statistics}
    return [row for row in state.steps if row["epoch"] in epochs]


def _as_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can hold it: null where fp16 overflowed and the step was skipped."""
    norms = row["gradient_norm"].items()
    return {**row, "gradient_norm": {unit: or_null(norm) for unit, norm in norms}}
