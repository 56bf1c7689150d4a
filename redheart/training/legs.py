"""The chain of training legs in the store: where to go on from, and which states to keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.store import Store
from redheart.training.snapshots import Snapshots

# The largest `train.devices`.
MOST_DEVICES = 64
# The files that a leg's training leaves in its entry of the store.
OUTPUTS = ("weights", "manifest", "steps")
# The files that its evaluation leaves.
EVALUATED = ("metrics", "opinions")
# What a checkpoint's manifest has, as far as a chain of legs and an evaluation read it.
IN_CHAIN = {"parent": str | None, "epoch?": int, "state?": str}
TRAINED = {"weights": dict, "ema": dict, "training": list}


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
    """The snapshots within the leg."""

    @classmethod
    def find(
        cls,
        store: Store,
        key: Callable[[int], str],
        parent: Mapping[str, Any] | None,
        params: Any,
    ) -> StoredLeg:
        """Look up a leg in the store.

        Parameters
        ----------
        key
            Number of devices -> the leg's key.
        parent
            The manifest of the previous checkpoint; None: there is none.
        params
            `devices`, the number that trains the leg unless it is trained already, and
            `snapshot_minutes`, the time between two snapshots.
        """
        devices = trained_devices(store, key, params.devices)
        leg_key = key(devices)
        snapshots = Snapshots(store.snapshot_path(leg_key), params.snapshot_minutes)
        return cls(store, leg_key, parent["key"] if parent else None, devices, snapshots)

    @property
    def keys(self) -> dict[str, str | None]:
        """Its own `key`, and its `parent`'s."""
        return {"key": self.key, "parent": self.parent}

    @property
    def state(self) -> Path:
        """The file of its training state; `thin_states` may have deleted it."""
        return self.store.state_path(self.key)

    def ancestor(self) -> Ancestor | None:
        """Return the nearest checkpoint before it that training can go on from."""
        return nearest_ancestor(self.store, self.parent)

    def tidy(self, keep_every: int, keep_last: int) -> None:
        """Delete files that a trained leg no longer needs: its snapshots, and older states."""
        self.snapshots.discard()
        thin_states(self.store, self.key, keep_every, keep_last)


def trained_devices(store: Store, key: Callable[[int], str], devices: int) -> int:
    """Return the number of devices that trained a leg in the store; `devices` if none did.

    So a run can go on with another number of devices, and the legs in the store stand.

    Parameters
    ----------
    key
        Number of devices -> the leg's key.
    """
    numbers = (n for n in range(1, MOST_DEVICES + 1) if store.is_intact(key(n), OUTPUTS))
    return devices if store.ingredients(key(devices)) else next(numbers, devices)


def parent_values(manifest: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the parent's values that a leg uses: those of weights, average and state."""
    return (
        None if manifest is None else {name: manifest[name] for name in ("weights", "ema", "state")}
    )


def trained_values(manifest: str | Path) -> dict[str, Any]:
    """Return a leg's values that its evaluation uses: those of weights, average and training.

    Parameters
    ----------
    manifest
        Path of the leg's manifest.
    """
    content = files.read_shaped(manifest, TRAINED)
    return {name: content[name] for name in TRAINED}


def judged_values(
    manifests: Sequence[Mapping[str, Any]], tables: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return each leg's values that its opinions use: its weights, and what each module counts."""
    return [
        {"weights": manifest["weights"], "fusion": table["fused"]["raw"]["weights"]}
        for manifest, table in zip(manifests, tables, strict=True)
    ]


def nearest_ancestor(store: Store, key: str | None) -> Ancestor | None:
    """Return the nearest checkpoint, from `key` backwards, whose training state is still there.

    None: training starts from the beginning, which gives the same weights and takes longer.
    """
    for ancestor, manifest in _chain(store, key):
        state = store.state_path(ancestor)
        if not (state.is_file() and files.sha256_file(state) == manifest.get("state")):
            continue
        if store.is_intact(ancestor, ["weights"]):
            return Ancestor(store.folder(ancestor) / "weights", state, manifest["epoch"])
    return None


def thin_states(store: Store, key: str, keep_every: int, keep_last: int = 2) -> None:
    """Delete a chain's training states, except the last `keep_last` and every `keep_every`-th."""
    keys = [ancestor for ancestor, _ in _chain(store, key)]
    for age, ancestor in enumerate(keys):
        number = len(keys) - age
        if age >= keep_last and number % keep_every:
            store.state_path(ancestor).unlink(missing_ok=True)


def _chain(store: Store, key: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the legs from `key` back to the first, as far as the store knows them."""
    while key:
        try:
            manifest = files.read_shaped(store.folder(key) / "manifest", IN_CHAIN)
        except UserError:  # it is missing or damaged, and so are the earlier legs to the chain
            return
        yield key, manifest
        key = manifest["parent"]
