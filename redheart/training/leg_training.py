"""The training of one leg: its inputs, and the work of each of its processes.

Only a leg that trains imports torch; a leg that the store knows is restored without it.
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
from redheart.machine.tiers import Kept, keeps_of, switches
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
    """What the leg's checkpoint holds."""
    memory: MemoryPlan
    """What training keeps in memory, and where."""
    rate: float
    """The learning rate at the schedule's beginning."""
    seed: int
    """Seed of weights, order and dropout."""
    leg: Leg
    """The leg's epochs."""
    parent: Mapping[str, Any] | None
    """The manifest of the previous checkpoint; None: there is none."""
    data: str
    """Path of the encoded part *train*."""
    trunk: str = ""
    """Path of the weights of a pretrained trunk that learns; empty: there is no such trunk."""

    @classmethod
    def read(
        cls, inputs: Any, settings: Mapping[str, Any], wildcards: Any, params: Any
    ) -> LegTraining:
        """Read the inputs of a leg's training.

        Parameters
        ----------
        inputs
            Paths: `train`, the encoded part; `best`, the chosen rate; `trunk` and
            `parent_manifest`, lists of one or none.
        settings
            The sections `tasks`, `model`, `train` and `checkpoints`.
        wildcards
            `seed`, and `epoch`, the number of completed epochs after the leg.
        params
            `memory`, the section of the config, and `devices`, the number for a leg that trains.
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
        """The facts of the machine that change the bits of an evaluation (on one device)."""
        return {"environment": environment(self.recipe.train)}

    @property
    def uses(self) -> dict[str, Any]:
        """The values that it reads from files: the chosen rate, and those of `parent_values`."""
        return {"rate": self.rate, "parent": parent_values(self.parent)}

    def values(self, devices: int) -> dict[str, Any]:
        """Return the values that decide its result, beside its settings and the values of files."""
        options = self.recipe.train
        of_machine = {
            "environment": environment(options, devices),
            **switches(self.memory.tier, options),
        }
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
            The leg in the store: its ancestor, its number of devices, the path of its state.
        folder
            The folder for checkpoint, manifest and steps.
        check
            Called with what training will keep, before it begins; raises to refuse it.
        note
            Called with columns of the ledger.

        Raises
        ------
        UserError
            As in `launch.on_devices`.
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
        """Train and save as one of several processes; return the ledger's columns too."""
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
