"""Predictions on disk: those of each candidate for each part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from redheart.storage import files

# candidate -> part -> task -> float32 [n, width]
Table = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]


def save(path: str | Path, table: Table) -> None:
    """Write predictions as .npz, one matrix for each candidate, part and task."""
    arrays = {
        f"{candidate}/{part}/{task}": matrix
        for candidate, parts in sorted(table.items())
        for part, tasks in sorted(parts.items())
        for task, matrix in sorted(tasks.items())
    }
    with files.atomic(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def joined(*paths: str | Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Read predictions of the same candidates from several files; each file is for other parts."""
    table, *further = map(load, paths)
    for part_table in further:
        for candidate, parts in part_table.items():
            table[candidate] |= parts
    return table


def load(path: str | Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Read predictions that `save` wrote."""
    table: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            candidate, part, task = name.split("/", 2)
            table.setdefault(candidate, {}).setdefault(part, {})[task] = archive[name]
    return table
