"""The chain of training legs in the store: where to go on from, and which states to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redheart.storage import files
from redheart.storage.store import Store
from redheart.training.snapshots import Snapshots

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


@dataclass(frozen=True)
class StoredLeg:
    """A leg as the store knows it: its key and its parent's, its devices, its state."""

    store: Store
    """The store."""
    key: str
    """Its own key."""
    parent: str | None
    """The key of the leg before; None: it is the first."""
    devices: int
    """Devices that trained it, or that will."""
    snapshots: Snapshots
    """Those within the leg."""

    @classmethod
    def find(
        cls,
        store: Store,
        key: Callable[[int], str],
        parent: Mapping[str, Any] | None,
        params: Any,
    ) -> StoredLeg:
        """Look a leg up.

        Parameters
        ----------
        key
            Number of devices -> the leg's key.
        parent
            The manifest of the checkpoint before; None: there is none.
        params
            `devices`, which train it if it was not trained yet, and `snapshot_minutes`, between two
            snapshots.
        """
        devices = trained_devices(store, key, params.devices)
        own = key(devices)
        snapshots = Snapshots(store.snapshot_path(own), params.snapshot_minutes)
        return cls(store, own, parent["key"] if parent else None, devices, snapshots)

    @property
    def keys(self) -> dict[str, str | None]:
        """Its own `key`, and its `parent`'s."""
        return {"key": self.key, "parent": self.parent}

    @property
    def state(self) -> Path:
        """The file of its training state; it may have been thinned away."""
        return self.store.state_path(self.key)

    def ancestor(self) -> Ancestor | None:
        """Return the nearest checkpoint before it that training can go on from."""
        return nearest_ancestor(self.store, self.parent)

    def tidy(self, keep_every: int, keep_last: int) -> None:
        """Delete what a trained leg needs no longer: its snapshots, and older training states."""
        self.snapshots.discard()
        thin_states(self.store, self.key, keep_every, keep_last)


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


def trained_values(manifest: str | Path) -> dict[str, Any]:
    """Return what a leg's evaluation uses of its training: the values of its weights and more.

    Parameters
    ----------
    manifest
        Path of the leg's manifest.
    """
    content = files.read_json(manifest)
    return {name: content[name] for name in ("weights", "ema", "training")}


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
