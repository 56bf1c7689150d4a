"""The disk space that a run takes, and the refusal of a run that the disk cannot hold."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from redheart.crossover.candidates import stitched_files
from redheart.errors import UserError
from redheart.json_values import Json
from redheart.machine.tiers import Kept
from redheart.recipe.build import build
from redheart.recipe.training_options import LegOptions, checkpoint_epochs
from redheart.storage import files, run_files
from redheart.storage.store import Store
from redheart.sweep.halving import HalvingOptions, make_rungs
from redheart.workflow import steps

# Bytes of a number of the moving average, which is float32 whatever the type of the weights.
AVERAGE = 4
CHECKPOINTS = {True: "checkpoints (weights, EMA)", False: "checkpoints (weights)"}


@dataclass(frozen=True)
class Kind:
    """Files of one kind."""

    name: str
    """Name of the kind, for tables and messages."""
    number: int
    """Most files that exist at the same time."""
    file_bytes: int
    """Size of one file, in bytes."""
    in_results: bool = True
    """Whether each file lies in `results/` too: as a link to the store if possible, or a copy."""

    @property
    def bytes(self) -> int:
        """Size of all files in bytes, each counted once."""
        return self.number * self.file_bytes


def kinds(config: Json, footprint: Kept) -> list[Kind]:
    """Return the kinds of files that training and crossover write.

    Encoded texts and tables are left out, since they are small in comparison.
    """
    seeds, offsets = len(config["seeds"]), len(config["crossover"]["offsets"])
    legs = len(checkpoint_epochs(build(LegOptions, config["train"])))
    stay, most = count_states(legs, config["store"]["keep_every"], config["store"]["keep_last"])
    averaged = config["checkpoints"]["ema"]
    weights, average = footprint.weight_bytes, AVERAGE * footprint.weights
    whole_state = weights + average + footprint.states
    if config["checkpoints"]["dtype"] == "bf16":
        weights = average = 2 * footprint.weights
    saved = weights + average * averaged
    # The training state holds the bits that the checkpoint lacks (`rounding`).
    state = whole_state - saved
    # Files of one seed: those of weights, and those of averages.
    stitched = len(stitched_files(False, config["crossover"]["offsets"]))
    of_averages = len(stitched_files(averaged, config["crossover"]["offsets"])) - stitched
    largest = max(weights, average * averaged)
    # The largest model that can ship is an ensemble of all variants, or of one model a task.
    members = max(offsets, len(config["tasks"]))
    return [
        Kind(CHECKPOINTS[averaged], legs * seeds, saved),
        Kind("training states that stay", stay * seeds, state, in_results=False),
        Kind("training states that come and go", (most - stay) * seeds, state, in_results=False),
        Kind("training states of trials", _trial_states(config), whole_state, in_results=False),
        # The older snapshot is deleted when the newer one is complete.
        Kind("snapshots", 2, whole_state, in_results=False),
        Kind("soups, crossovers and variants", stitched * seeds, weights),
        Kind("soups and crossovers of EMA", of_averages * seeds, average),
        Kind("model that ships", 1, members * largest),
    ]


def count_states(legs: int, keep_every: int, keep_last: int) -> tuple[int, int]:
    """Return how many training states of a chain of legs stay, and how many exist at most.

    A new state is written before the states that it replaces are deleted.
    """
    states: set[int] = set()
    most = 0
    for leg in range(1, legs + 1):
        states.add(leg)
        most = max(most, len(states))
        states = {n for n in states if leg - n < keep_last or n % keep_every == 0}
    return len(states), most


def _trial_states(config: Json) -> int:
    """Return how many trials of the sweep can wait for another rung."""
    sweep = config["sweep"]
    rungs = make_rungs(sweep["epochs"], len(sweep["seeds"]), build(HalvingOptions, sweep))
    waits = any(rung.epochs < sweep["epochs"] for rung in rungs)
    return len(sweep["learning_rates"]) + 1 if waits else 0


@dataclass(frozen=True)
class Disk:
    """A file system that a run writes to."""

    place: Path
    """An existing folder on it."""
    free: int
    """Bytes that are free there."""
    needed: Mapping[str, int]
    """Bytes that the run will write there, by kind of file."""

    @property
    def is_full(self) -> bool:
        """Tell whether the file system cannot hold the run."""
        return sum(self.needed.values()) > self.free


def disks(planned: Sequence[Kind], store: Store, run: Path) -> list[Disk]:
    """Return the file systems of the store and of a run's folder: two, or one that holds both."""
    places = _existing(store.root), _existing(run)
    needed: dict[int, dict[str, int]] = {place.stat().st_dev: {} for place in places}
    of_store, of_results = (needed[place.stat().st_dev] for place in places)
    for kind in planned:
        of_store[kind.name] = kind.bytes
        linked = of_store is of_results and kind.file_bytes >= store.link_from_bytes
        if kind.in_results and not linked:
            of_results[kind.name] = of_results.get(kind.name, 0) + kind.bytes
    by_device = {place.stat().st_dev: place for place in reversed(places)}
    return [
        Disk(place, shutil.disk_usage(place).free, needed[device])
        for device, place in reversed(by_device.items())
    ]


def check(config: Json, footprint: Kept, store: Store, run: Path, train: str) -> None:
    """Refuse a training that the disk cannot hold; only files still to be written count.

    Parameters
    ----------
    run
        The run's folder in `results/`.
    train
        Hash of the encoded part *train*.

    Raises
    ------
    UserError
        A file system has not enough room for the files that the run will write there.
    """
    planned = kinds(config, footprint)
    if not any(disk.is_full for disk in disks(planned, store, run)):
        return
    for disk in disks(remaining(config, planned, store, run, train), store, run):
        if disk.is_full:
            raise UserError(_refusal(disk))


def _refusal(disk: Disk) -> str:
    largest = sorted(disk.needed.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{name} {gigabytes(size)}" for name, size in largest if size)
    return (
        f"the run would write {gigabytes(sum(disk.needed.values()))} more to {disk.place} "
        f"({shares}), and {gigabytes(disk.free)} are free; make room, move store.path and results/ "
        "to a larger disk, set checkpoints.dtype: bf16, raise train.checkpoint_every or "
        "store.keep_every, or choose a smaller model.preset; `redheart plan` shows the whole"
    )


def remaining(
    config: Json, planned: Sequence[Kind], store: Store, run: Path, train: str
) -> list[Kind]:
    """Return the kinds of files, with the numbers that are still to be written.

    A checkpoint that a change of data, settings or code made invalid counts as missing, since the
    store keeps it beside its successor.
    """
    current = [key for key in _keys(config, run) if _is_current(config, store, key, train)]
    states = sum(store.state_path(key).is_file() for key in current)
    present = {
        **dict.fromkeys(CHECKPOINTS.values(), len(current)),
        "training states that stay": states,
    }
    return [replace(k, number=max(0, k.number - present.get(k.name, 0))) for k in planned]


def _keys(config: Json, run: Path) -> list[str]:
    """Return the store's keys of the checkpoints that lie in a run's folder."""
    paths = [
        run / run_files.seed_folder(seed) / run_files.manifest(epoch)
        for seed in config["seeds"]
        for epoch in checkpoint_epochs(build(LegOptions, config["train"]))
    ]
    return [files.read_shaped(path, {"key": str})["key"] for path in paths if path.is_file()]


def _is_current(config: Json, store: Store, key: str, train: str) -> bool:
    entry = store.ingredients(key)
    settings = json.loads(steps.parameters(config, "train_leg")).items()
    return (
        entry is not None
        and settings <= entry["params"].items()
        and entry["code"] == steps.codes(store)["train_leg"]
        and entry["uses"]["train"] == train
    )


def _existing(path: Path) -> Path:
    """Return a folder, or the nearest folder above it that exists."""
    path = Path(os.path.abspath(path))
    while not path.is_dir():
        path = path.parent
    return path


def gigabytes(size: int) -> str:
    """Write a number of bytes as MB or GB of 10^6 and 10^9 bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
