"""The execution of a crossover: a recipe and checkpoint files become a stitched file."""

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
    """Stitch the modules that a recipe names; write them as `weights`, tensor by tensor.

    Parameters
    ----------
    checkpoints
        The paths of all saved checkpoints. Only the modules that the recipe takes are read: once
        to check them, and once to write them.

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
        # The whole file is not hashed: the modules taken from it are checked below.
        path = paths[names[epoch]]
        saved = load_deferred(path)
        states = saved.get(recipe["source"]) if isinstance(saved, Mapping) else None
        modules = {m for m, source in recipe["modules"].items() if source["epoch"] == epoch}
        if not isinstance(states, Mapping) or modules - set(states):
            raise UserError(f"{path}: no checkpoint; {files.how_to_rebuild(path)}")
        return states

    stitched = stitch_recipe.stitch(recipe, load)
    hashes = hash_modules(stitched)
    for module, source in recipe["modules"].items():
        if hashes[module] != source["sha256"]:
            path = paths[source["checkpoint"]]
            raise UserError(f"{path}: module {module} is damaged; {files.how_to_rebuild(path)}")
    return save_tensors(target, {"weights": stitched})
