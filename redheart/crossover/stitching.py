"""Carrying out a crossover: from a recipe and checkpoint files to a stitched file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart.crossover import stitch_recipe
from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.tensors import MaybeDeferred, hash_modules, load_deferred, save_tensors


def write_stitched(
    target: str | Path, recipe: Mapping[str, Any], checkpoints: Sequence[str]
) -> str:
    """Stitch what a recipe names and write it as `weights` by module, tensor by tensor.

    Parameters
    ----------
    checkpoints
        The paths of all saved checkpoints; of those that the recipe names only the modules that it
        takes are read: once to check them, once to write them.

    Returns
    -------
    The SHA-256 of the file.

    Raises
    ------
    UserError
        A checkpoint's module is not the one that its manifest named.
    """
    paths = {Path(name).name: name for name in checkpoints}
    names = {source["epoch"]: source["checkpoint"] for source in recipe["modules"].values()}

    def load(epoch: int) -> MaybeDeferred:
        # No hash of the whole file: what is taken of it is checked below.
        path = paths[names[epoch]]
        saved = load_deferred(path)
        states = saved.get(recipe["source"]) if isinstance(saved, Mapping) else None
        wanted = {m for m, source in recipe["modules"].items() if source["epoch"] == epoch}
        if not isinstance(states, Mapping) or wanted - set(states):
            raise UserError(f"{path}: no checkpoint; {files.how_to_rebuild(path)}")
        return states

    stitched = stitch_recipe.stitch(recipe, load)
    found = hash_modules(stitched)
    for module, source in recipe["modules"].items():
        if found[module] != source["sha256"]:
            path = paths[source["checkpoint"]]
            raise UserError(f"{path}: module {module} is damaged; {files.how_to_rebuild(path)}")
    return save_tensors(target, {"weights": stitched})
