"""The training of one leg: what it follows from, and what each of its processes does.

torch is imported where a leg trains and not before: one that the store knows is restored without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from redheart.encoding.tokens import load_encoded, load_sizes
from redheart.machine import memory_plan
from redheart.machine.device import environment
from redheart.machine.memory_plan import MemoryPlan
from redheart.machine.ranks import Ranks
from redheart.machine.tiers import Kept, keeps_of
from redheart.recipe.build import build, read_recipe
from redheart.recipe.training_options import CheckpointOptions, Recipe
from redheart.storage import files
from redheart.training import launch
from redheart.training.legs import Ancestor, Leg, StoredLeg, parent_values

Trained = tuple[dict[str, str], dict[str, Any]]


@dataclass(frozen=True)
class LegTraining:
    """The training of the epochs between two checkpoints."""

    recipe: Recipe
    """What is learned, and how."""
    saved: CheckpointOptions
    """What its checkpoint holds."""
    memory: MemoryPlan
    """What is kept in memory, and where."""
    rate: float
    """The learning rate at the schedule's beginning."""
    seed: int
    """Seed of weights, order and dropout."""
    leg: Leg
    """Its epochs."""
    parent: Mapping[str, Any] | None
    """The manifest of the checkpoint before; None: there is none."""
    data: str
    """Path of the encoded part *train*."""
    trunk: str = ""
    """Path of a pretrained trunk's weights, where it learns; empty: none does."""

    @classmethod
    def read(
        cls, inputs: Any, settings: Mapping[str, Any], wildcards: Any, params: Any
    ) -> LegTraining:
        """Read what a leg follows from.

        Parameters
        ----------
        inputs
            Paths: `train`, the encoded part; `best`, the chosen rate; `trunk` and
            `parent_manifest`, lists of one or none.
        settings
            The sections `tasks`, `model`, `train` and `checkpoints`.
        wildcards
            `seed`, and `epoch`, the completed ones after the leg.
        params
            `memory`, the section of the config, and `devices`, those that train it if they do.
        """
        recipe = read_recipe(settings)
        sizes = load_sizes(inputs.train)
        parent = next(map(files.read_json, inputs.parent_manifest), None)
        return cls(
            recipe,
            build(CheckpointOptions, settings["checkpoints"]),
            memory_plan.choose(recipe, sizes, devices=params.devices, **params.memory),
            files.read_json(inputs.best)["best_learning_rate"],
            int(wildcards.seed),
            Leg(parent["epoch"] if parent else 0, int(wildcards.epoch)),
            parent,
            inputs.train,
            *inputs.trunk,
        )

    @property
    def device(self) -> dict[str, Any]:
        """What of the machine changes the bits of an evaluation, which is made on one device."""
        return {"environment": environment(self.recipe.train)}

    @property
    def uses(self) -> dict[str, Any]:
        """What it reads of files, as values: the chosen rate, and what the parent left."""
        return {"rate": self.rate, "parent": parent_values(self.parent)}

    def values(self, devices: int) -> dict[str, Any]:
        """Return what it follows from besides its settings and what it reads of files."""
        options = self.recipe.train
        of_machine = {"environment": environment(options, devices), **self.memory.key(options)}
        return {"seed": self.seed, **self.leg.epochs, **of_machine}

    def train(
        self,
        stored: StoredLeg,
        folder: Path,
        check: Callable[[Kept], None],
        note: Callable[..., None],
    ) -> dict[str, str]:
        """Train and save; return the hashes of the files.

        Parameters
        ----------
        stored
            Where it goes on from, on how many devices, and where its state goes.
        folder
            Where checkpoint, manifest and steps go.
        check
            Refuses a training before it begins, given what it will keep.
        note
            Takes columns of the ledger.

        Raises
        ------
        UserError
            What `launch.on_devices` raises.
        """
        ancestor = stored.ancestor()
        work = partial(
            self.in_process, stored=stored, ancestor=ancestor, folder=folder, check=check
        )
        options, tier = self.recipe.train, self.memory.tier
        hashes, facts = launch.on_devices(work, stored.devices, options, tier)
        note(**facts)
        return hashes

    def in_process(
        self,
        ranks: Ranks,
        stored: StoredLeg,
        ancestor: Ancestor | None,
        folder: Path,
        check: Callable[[Kept], None],
    ) -> Trained:
        """Do that as one of the processes that train together; return the columns too."""
        from redheart.training.epochs import train_leg
        from redheart.training.progress import training_progress
        from redheart.training.state import prepare, save_leg

        data, leg = load_encoded(self.data), self.leg
        state = prepare(self.recipe, data, self.rate, self.seed, self.memory, self.trunk, ranks)
        check(keeps_of(self.memory.tier, state.network))
        title = f"epochs {ancestor.epoch + 1 if ancestor else 1} to {leg.stop}"
        snapshots = stored.snapshots
        with training_progress(title, leg.stop, ranks.rank) as report, snapshots.listening():
            statistics = train_leg(state, data, leg, ancestor, report, snapshots)
        hashes = save_leg(state, statistics, folder, stored.state, stored.keys, self.saved)
        return hashes, state.facts()
