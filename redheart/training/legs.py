"""The chain of training legs in the store: where to go on from, and which states to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redheart.storage import files
from redheart.storage.store import Store

# The most that `train.devices` can be.
MOST_DEVICES = 64
# What a leg's training leaves in the store's entry.
OUTPUTS = ("weights", "manifest", "steps")


@dataclass(frozen=True)
class Leg:
    """The epochs between two checkpoints."""

    start: int
    """Completed epochs before it."""
    stop: int
    """Completed epochs after it."""

    @property
    def epochs(self) -> dict[str, int]:
        """Both ends, by name."""
        return asdict(self)


@dataclass(frozen=True)
class Ancestor:
    """A checkpoint that training can go on from."""

    weights: Path
    """Its .pt file."""
    state: Path
    """Its optimizer and counters."""
    epoch: int
    """Its completed epochs."""


def trained_devices(store: Store, key: Callable[[int], str], devices: int) -> int:
    """Return on how many devices the store's own result of a leg was trained; else `devices`.

    So a run goes on with another number of devices, and the legs that are there stand.

    Parameters
    ----------
    key
        Number of devices -> the leg's key.
    """
    others = (n for n in range(1, MOST_DEVICES + 1) if store.is_intact(key(n), OUTPUTS))
    return devices if store.ingredients(key(devices)) else next(others, devices)


def parent_values(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what a leg uses of its parent: the values of its weights, average and state."""
    return (
        None if manifest is None else {name: manifest[name] for name in ("weights", "ema", "state")}
    )


def trained_values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a leg's evaluation uses of its training: the values of its weights and more."""
    return {name: manifest[name] for name in ("weights", "ema", "training")}


def nearest_ancestor(store: Store, key: str | None) -> Ancestor | None:
    """Return the nearest checkpoint, from `key` backwards, whose training state is still there.

    None: training starts from the beginning, which gives the same weights and takes longer.
    """
    for ancestor, manifest in _chain(store, key):
        state = store.state_path(ancestor)
        if not (state.is_file() and files.sha256_file(state) == manifest["state"]):
            continue
        if store.is_intact(ancestor, ["weights"]):
            return Ancestor(store.folder(ancestor) / "weights", state, manifest["epoch"])
    return None


def thin_states(store: Store, key: str, keep_every: int, keep_last: int = 2) -> None:
    """Delete the training states of a chain but the latest and every `keep_every`-th."""
    keys = [ancestor for ancestor, _ in _chain(store, key)]
    for age, ancestor in enumerate(keys):
        number = len(keys) - age
        if age >= keep_last and number % keep_every:
            store.state_path(ancestor).unlink(missing_ok=True)


def _chain(store: Store, key: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the legs from `key` back to the first, as far as the store knows them."""
    while key:
        path = store.folder(key) / "manifest"
        if not path.is_file():
            return
        manifest = files.read_json(path)
        yield key, manifest
        key = manifest["parent"]
