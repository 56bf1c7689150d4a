"""Phase 4: the recipe, which names the epoch of each module, and the states made by a recipe.

A state is a mapping of module -> name -> tensor. A tensor adds and divides like those of torch and
numpy, or it has a method `make` that returns such a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from redheart.errors import UserError
from redheart.limits import AtLeast, AtMost, Distinct, MostItems, NotEmpty
from redheart.recipe.groups import BACKBONE, TRUNK, trunk_is_frozen
from redheart.storage import files, run_files

Tensor = Any
State = Mapping[str, Mapping[str, Tensor]]
Load = Callable[[int], State]
"""Reads the state of an epoch's checkpoint."""


@dataclass(frozen=True)
class CrossoverOptions:
    """Which variants of the stitched model are made."""

    offsets: Annotated[
        tuple[Annotated[int, AtLeast(-100_000), AtMost(100_000)], ...],
        NotEmpty(),
        MostItems(100),
        Distinct(),
    ] = (-4, -2, 0, 2, 4)
    """Shifts of all sweet spots, in epochs; a variant each."""


def group_recipe(
    spots: Mapping[str, Any], manifests: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Take each module group from its sweet spot.

    Parameters
    ----------
    spots
        The content of `sweet_spots.json`.
    manifests
        The checkpoints' manifests by epoch.
    """
    return make_recipe(*chosen_epochs(spots, "groups"), manifests)


def variant_recipe(
    spots: Mapping[str, Any],
    manifests: Mapping[int, Mapping[str, Any]],
    offsets: Sequence[int],
    offset: int,
) -> dict[str, Any]:
    """Take each group from its sweet spot, shifted by `offset`, which is one of `offsets`."""
    epochs, modules_by_group = chosen_epochs(spots, "groups")
    variant = variants(epochs, offsets, manifests)[offset]
    recipe = make_recipe(variant["epochs"], modules_by_group, manifests)
    return {**recipe, "offset": offset, **{key: variant[key] for key in ("clamped", "same_as")}}


def unit_recipe(
    spots: Mapping[str, Any],
    manifests: Mapping[int, Mapping[str, Any]],
    kind: Literal["units", "units_ema"],
) -> dict[str, Any]:
    """Take each unit from its sweet spot: the weights, or their moving averages.

    A frozen trunk has no sweet spot; it comes from the last checkpoint.
    """
    epochs, modules_by_unit = chosen_epochs(spots, kind)
    last = manifests[max(manifests)]
    if trunk_is_frozen(manifests.values()) and BACKBONE.name in last["weights"]:
        epochs[TRUNK], modules_by_unit[TRUNK] = last["epoch"], [BACKBONE.name]
    source: Literal["weights", "ema"] = "ema" if kind == "units_ema" else "weights"
    return make_recipe(epochs, modules_by_unit, manifests, source)


def chosen_epochs(
    spots: Mapping[str, Any], kind: str
) -> tuple[dict[str, int], dict[str, Sequence[str]]]:
    """Return the sweet spots of groups or units: epoch by name, and modules by name."""
    chosen = spots[kind]
    epochs = {name: spot["epoch"] for name, spot in chosen.items()}
    return epochs, {name: spot["modules"] for name, spot in chosen.items()}


def manifests_by_epoch(paths: Iterable[str]) -> dict[int, dict[str, Any]]:
    """Read the manifests of checkpoints."""
    return {manifest["epoch"]: manifest for manifest in map(files.read_json, paths)}


def make_recipe(
    epochs: Mapping[str, int],
    modules_by_group: Mapping[str, Sequence[str]],
    manifests: Mapping[int, Mapping[str, Any]],
    source: Literal["weights", "ema"] = "weights",
) -> dict[str, Any]:
    """Return the recipe: for each module its epoch, its checkpoint and its hash.

    Parameters
    ----------
    epochs
        The chosen epoch of each group.
    modules_by_group
        The modules of each group.
    manifests
        The checkpoints' manifests by epoch, each with a hash per module under `source`.

    Raises
    ------
    UserError
        A group has no chosen epoch, or a checkpoint or a module in it is missing.
    """
    modules = {}
    for group, members in modules_by_group.items():
        if group not in epochs:
            raise UserError(f"crossover: group '{group}' has no chosen epoch; run phase 3 again")
        epoch = epochs[group]
        if epoch not in manifests:
            raise UserError(
                f"crossover: group '{group}' wants epoch {epoch}, which was not saved"
                f" (saved: {', '.join(map(str, sorted(manifests)))})"
            )
        for module in members:
            modules[module] = {
                "epoch": epoch,
                "checkpoint": Path(run_files.checkpoint(epoch)).name,
                "sha256": _module(manifests[epoch][source], module, epoch),
            }
    return {"epochs": dict(epochs), "modules": modules, "source": source}


def shift(
    epochs: Mapping[str, int], offset: int, saved_epochs: Iterable[int]
) -> tuple[dict[str, int], list[str]]:
    """Shift every group's epoch by `offset` and move it to a saved checkpoint.

    An epoch before the first checkpoint or after the last one is clamped to that checkpoint. An
    epoch between two checkpoints moves to the nearer one, and to the earlier one on ties.

    Returns
    -------
    The epochs by group, and the names of the groups that were clamped.
    """
    saved = sorted(saved_epochs)
    if not saved:
        raise UserError("crossover: there is no checkpoint to stitch from; train at least one")
    unclamped = {group: epoch + offset for group, epoch in epochs.items()}
    shifted = {
        group: min(saved, key=lambda candidate: abs(candidate - epoch))
        for group, epoch in unclamped.items()
    }
    clamped = [group for group, epoch in unclamped.items() if not saved[0] <= epoch <= saved[-1]]
    return shifted, clamped


def variants(
    epochs: Mapping[str, int], offsets: Sequence[int], saved_epochs: Iterable[int]
) -> dict[int, dict[str, Any]]:
    """Return the epochs of each offset's variant, shifted from the original sweet spots.

    Returns
    -------
    By offset, in the order of `offsets`: `epochs`, `clamped` and `same_as`. Several offsets may
    lead to the very same epochs. Among these the offset nearest to 0 (the lower one on ties) has
    `same_as` null, and the others name this offset. So variants with null all differ.
    """
    saved = sorted(saved_epochs)
    shifted = {offset: shift(epochs, offset, saved) for offset in offsets}
    nearest = sorted(shifted, key=lambda offset: (abs(offset), offset))
    by_offset = {}
    for offset, (moved, clamped) in shifted.items():
        first = next(equal for equal in nearest if shifted[equal][0] == moved)
        same_as = None if first == offset else first
        by_offset[offset] = {"epochs": moved, "clamped": clamped, "same_as": same_as}
    return by_offset


def stitch(recipe: Mapping[str, Any], load: Load) -> dict[str, dict[str, Tensor]]:
    """Put a state together by its recipe; each checkpoint is read once.

    Raises
    ------
    UserError
        A checkpoint lacks a module that the recipe takes from it.
    """
    sources = {module: source["epoch"] for module, source in recipe["modules"].items()}
    stitched: dict[str, dict[str, Tensor]] = {}
    for epoch in sorted(set(sources.values())):
        state = load(epoch)
        for module in [name for name, source in sources.items() if source == epoch]:
            stitched[module] = dict(_module(state, module, epoch))
    return {module: stitched[module] for module in sources}


def _module(state: Mapping[str, Any], module: str, epoch: int) -> Any:
    if module not in state:
        raise UserError(
            f"crossover: the checkpoint of epoch {epoch} has no module '{module}'"
            f" (it has {', '.join(sorted(state))}); it is of another model: train again"
        )
    return state[module]
