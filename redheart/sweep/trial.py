"""One learning rate on trial with one seed: what determines it, and its training in a rung.

torch is imported only where a trial trains: a trial that is in the store is restored without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.encoding.tokens import load_encoded, load_sizes
from redheart.machine import memory_plan
from redheart.machine.device import environment
from redheart.machine.memory_plan import MemoryPlan
from redheart.machine.tiers import Kept, keeps_of, switches
from redheart.recipe.build import read_recipe
from redheart.recipe.training_options import Recipe
from redheart.storage import files
from redheart.storage.store import Store
from redheart.sweep.trials import eliminated_trial
from redheart.training.snapshots import Snapshots


@dataclass(frozen=True)
class StoredTrial:
    """A trial's places in the store: its states and snapshots up to the end of any rung."""

    store: Store
    """The store."""
    key: Callable[[int], str]
    """Completed epochs -> the key of the trial up to that epoch."""
    snapshot_minutes: float
    """Minutes between two snapshots."""

    def state(self, epochs: int) -> tuple[Path, Path]:
        """Return the paths of the state after these epochs and of the proof that it is complete."""
        key = self.key(epochs)
        return self.store.state_path(key), self.store.folder(key) / "state"

    def snapshots(self, epochs: int) -> Snapshots:
        """Return the snapshots of the training up to this many epochs."""
        return Snapshots(self.store.snapshot_path(self.key(epochs)), self.snapshot_minutes)

    def tidy(self, start: int, stop: int) -> None:
        """Delete what a trained rung needs no longer: its snapshots and the state it began with."""
        self.snapshots(stop).discard()
        if 0 < start < stop:
            self.state(start)[0].unlink(missing_ok=True)


@dataclass(frozen=True)
class Trial:
    """The training of one rate with one seed in one rung."""

    recipe: Recipe
    """What is learned, and how."""
    memory: MemoryPlan
    """What is kept in memory, and where."""
    rate: float
    """The learning rate at the schedule's beginning."""
    seed: int
    """Seed of weights, order and dropout."""
    start: int
    """Completed epochs before the rung."""
    stop: int
    """Completed epochs after it."""
    last: int
    """Completed epochs at the end of the sweep."""
    data: str
    """Path of the encoded part *train*."""
    validation: str
    """Path of the encoded part *val_select*."""
    eliminated: Mapping[str, Any] | None = None
    """When and why the rung before ended the trial's rate; None: the rate goes on."""
    trunk: str = ""
    """Path of the weights of a pretrained trunk that learns; empty: there is no such trunk."""

    @classmethod
    def read(cls, inputs: Any, settings: Mapping[str, Any], wildcards: Any, params: Any) -> Trial:
        """Read what determines a trial.

        Parameters
        ----------
        inputs
            Paths: `train` and `val_select`, the encoded parts; `trunk`, and `decision` of the rung
            before, each a list of one path or none.
        settings
            The sections `tasks`, `model` and `train`, and `sweep.epochs`.
        wildcards
            `rate` and `seed`.
        params
            `memory`, the section of the config, and `epochs`, completed before and after the rung.
        """
        recipe, (start, stop) = read_recipe(settings), params.epochs
        ended = [files.read_json(path)["eliminated"] for path in inputs.decision]
        return cls(
            recipe,
            memory_plan.choose(recipe, load_sizes(inputs.train), **params.memory),
            float(wildcards.rate),
            int(wildcards.seed),
            start,
            stop,
            settings["sweep"]["epochs"],
            inputs.train,
            inputs.val_select,
            ended[0].get(wildcards.rate) if ended else None,
            *inputs.trunk,
        )

    def values(self, epochs: int) -> dict[str, Any]:
        """Return the values besides files and settings that determine a trial of so many epochs.

        The last epoch counts; the epochs at which the trial was divided into rungs do not.
        """
        options = self.recipe.train
        of_machine = {"environment": environment(options), **switches(self.memory.tier, options)}
        return {"sweep.epochs": epochs, **self.name, **of_machine}

    @property
    def name(self) -> dict[str, Any]:
        """The trial's rate and seed."""
        return {"rate": self.rate, "seed": self.seed}

    def stopped(self, previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of a trial whose rate the rung before ended.

        Parameters
        ----------
        previous
            The trial's result in the rung before, if it was trained there.
        """
        return eliminated_trial(previous, self.rate, self.seed, self.eliminated or {})

    def train(
        self, stored: StoredTrial, proof: Path, check: Callable[[Kept], None]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train the rung; return the trial's result, which the choice reads, and ledger columns.

        Parameters
        ----------
        stored
            The places of the state that the rung begins with and of the state at its end.
        proof
            Path for the proof that the state is complete; written if another rung can follow.
        check
            Refuses a training before it begins; its argument is what the training will keep.
        """
        from redheart.sweep.trial_training import resume_trial, save_trial, train_rate
        from redheart.training import launch
        from redheart.training.progress import training_progress
        from redheart.training.state import prepare

        data, validation = load_encoded(self.data), load_encoded(self.validation)
        snapshots = stored.snapshots(self.stop)
        title = f"rate {self.rate}, seed {self.seed}"
        with launch.alone(self.recipe.train, self.memory.tier) as ranks:
            state = prepare(self.recipe, data, self.rate, self.seed, self.memory, self.trunk, ranks)
            check(keeps_of(self.memory.tier, state.network))
            progress = resume_trial(state, *stored.state(self.start))
            with training_progress(title, self.stop) as report, snapshots.listening():
                trial = train_rate(state, data, validation, self.stop, report, progress, snapshots)
            if self.stop < self.last and not trial["diverged"]:
                save_trial(state, progress, stored.state(self.stop)[0], proof)
            return trial, state.facts()
