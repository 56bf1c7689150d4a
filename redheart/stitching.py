"""Carrying out a crossover: from a recipe and checkpoint files to a stitched file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart import checkpoint, crossover
from redheart.errors import UserError


def write_stitched(path: str | Path, recipe: Mapping[str, Any], checkpoints: Sequence[str]) -> None:
    """Stitch what a recipe names and write it as `weights` by module.

    Parameters
    ----------
    checkpoints
        The paths of all saved checkpoints; those that the recipe names are read.

    Raises
    ------
    UserError
        A checkpoint's module is not the one that its manifest named.
    """
    paths = {Path(name).name: name for name in checkpoints}
    names = {source["epoch"]: source["checkpoint"] for source in recipe["modules"].values()}
    stitched = crossover.stitch(
        recipe, lambda epoch: checkpoint.load_tensors(paths[names[epoch]])[recipe["source"]]
    )
    found = checkpoint.hash_modules(stitched)
    for module, source in recipe["modules"].items():
        if found[module] != source["sha256"]:
            raise UserError(
                f"{paths[source['checkpoint']]}: module {module} is damaged; delete the file and "
                "run the same command again"
            )
    checkpoint.save_tensors(path, {"weights": stitched})
