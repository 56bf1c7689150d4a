"""A run as its files tell it, finished or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from redheart.errors import UserError
from redheart.evaluation import predictions
from redheart.json_values import Json
from redheart.shapes import Shape
from redheart.storage import files, run_files
from redheart.storage.artefacts import Artefacts, Made
from redheart.storage.ledger import Ledger
from redheart.storage.store import Store
from redheart.tasks import scale
from redheart.tasks.task import Record, Task, parse_tasks

CHOICE, ACCESS, RESULTS = "choice.json", "test_access.json", "final_results.json"
RECORDS_REPORT, CLUSTERS = "data/records_report.json", "data/split/clusters.json"
# What a comparison needs of the JSON files.
CONFIG_SHAPE: Shape = {"tasks": dict, "data": {"source": str}}
SHAPES: Mapping[str, Shape] = {
    CHOICE: {"candidate": str, "seed": int},
    CLUSTERS: {"val_select": [int], "val_confirm": [int], "test": [int]},
}


class NotComparable(Exception):
    """What cannot be compared, and why: one phrase."""


@dataclass(frozen=True)
class Run:
    """The folder of a run."""

    letter: str
    """What a comparison calls it: A or B."""
    folder: Path
    """`results/<run>`."""

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    @cached_property
    def config(self) -> Json:
        """The effective config."""
        config: Json = files.read_shaped(self.folder / run_files.CONFIG, CONFIG_SHAPE)
        return config

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the config."""
        return parse_tasks(self.config["tasks"])

    @cached_property
    def scales(self) -> dict[str, scale.Scale]:
        """The scale of each regression, as its training part has it."""
        return scale.from_json(self.read_or_none(run_files.SCALES) or {})

    @cached_property
    def made(self) -> dict[str, Made]:
        """What its steps made, by path below the run."""
        return Artefacts(self.folder).made

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """Its diary, oldest line first."""
        return Ledger(self.folder / run_files.LEDGER).lines()

    @cached_property
    def store(self) -> Store:
        """The store that it was made with, which may be gone."""
        path = Path(self.config.get("store", {}).get("path", ".redheart/store"))
        return Store(self.folder.absolute().parents[1] / path)

    def read(self, name: str) -> Any:
        """Return the content of a JSON file of the run.

        Raises
        ------
        NotComparable
            The run has no such file yet.
        """
        if not (self.folder / name).is_file():
            raise NotComparable(f"{self.letter} has no {name} yet")
        return files.read_shaped(self.folder / name, SHAPES.get(name, dict | list))

    def read_or_none(self, name: str) -> Any:
        """Return the content of a JSON file of the run; None: there is none yet."""
        return files.read_json(self.folder / name) if (self.folder / name).is_file() else None

    def records(self, part: str) -> list[Record]:
        """Return the records of a part, in the order of its predictions."""
        records: list[Record] = self.read(run_files.records(part))
        return records

    def predicted(self, part: str) -> dict[str, np.ndarray]:
        """Return what the shipped model predicts for a part: by task, values in their unit.

        Raises
        ------
        NotComparable
            No model is chosen yet, or it has not predicted this part.
        """
        choice = self.read(CHOICE)
        file = "test_predictions.npz" if part == "test" else "predictions.npz"
        name = f"{run_files.seed_folder(choice['seed'])}/{file}"
        if not (self.folder / name).is_file():
            raise NotComparable(f"{self.letter} has no {name} yet")
        by_part = _loaded(self.folder / name).get(choice["candidate"], {})
        count = len(self.records(part))
        found = by_part.get(part, {})
        if any(len(found.get(task.name, ())) != count for task in self.tasks):
            raise NotComparable(f"{self.letter} is half made: its predictions are of other records")
        return {
            task: self.scales[task].restored(rows) if task in self.scales else rows
            for task, rows in found.items()
        }


def _loaded(path: Path) -> predictions.Table:
    try:
        return predictions.load(path)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: damaged ({error}); {files.how_to_rebuild(path)}") from None


def open_run(letter: str, name: str | Path) -> Run:
    """Find a run by its folder or its name.

    Raises
    ------
    UserError
        There is no such run, or it has not begun.
    """
    folder = run_files.find_run(str(name))
    if not (folder / run_files.CONFIG).is_file():
        raise UserError(
            f"{folder}: has no {run_files.CONFIG}, so it is no run, or has not begun; name a run's "
            "folder, such as results/demo"
        )
    return Run(letter, folder)
