"""What a run found out, for a notebook: its results as tables of plain rows, or of pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from redheart.errors import UserError, did_you_mean
from redheart.shapes import Shape, has_shape
from redheart.storage import files, run_files

if TYPE_CHECKING:
    import pandas

RESULTS = "final_results.json"
ASSESSMENT, SUSPECTS, CHOICE = "assessment.json", "suspects.json", "choice.json"

Row = dict[str, Any]
TableName = Literal["candidates", "scores", "tasks", "classes", "suspects"]


@dataclass(frozen=True)
class RunResults:
    """What a run found out. A number that is not known is None.

    Every table is a list of rows; `to_pandas` makes a frame of it.
    """

    folder: Path
    """The run's folder."""
    run: str
    """The run's name."""
    shipped: Mapping[str, Any]
    """Which `candidate` of which `seed` shipped, and the `reason`."""
    results: Mapping[str, Any]
    """The content of `final_results.json`."""
    choice: Mapping[str, Any]
    """The content of `choice.json`: the scores on which the candidate was chosen; {} without it."""
    assessment: Mapping[str, Any] | None
    """How good the shipped model is on test, by task; None where the run did not assess it."""
    suspected: Mapping[str, Any] | None
    """Which labels are probably wrong; None where the run did not look for them."""

    @property
    def candidates(self) -> list[Row]:
        """A row for each candidate: its macro score (0 to 1) on each part, what it costs.

        `greedy_soup_difference` is its gain on test over the greedy soup, with a 95 % interval from
        `greedy_soup_low` to `greedy_soup_high`; `best_single_...` the same over the best single
        checkpoint.
        """
        return [
            {
                "candidate": name,
                "shipped": name == self.shipped["candidate"],
                "val_select": result["val_select"],
                "val_confirm": result["val_confirm"],
                "test": result["test"]["macro"],
                **_versus(result["test"], "greedy_soup"),
                **_versus(result["test"], "best_single"),
                "forward_passes": result["forward_passes"],
            }
            for name, result in self.results["candidates"].items()
        ]

    @property
    def scores(self) -> list[Row]:
        """A row for each candidate, task and metric on test, of all seeds together."""
        return [
            {"candidate": name, "task": task, "metric": metric, "test": value}
            for name, result in self.results["candidates"].items()
            for task, metrics in result["test"]["tasks"].items()
            for metric, value in metrics.items()
        ]

    @property
    def tasks(self) -> list[Row]:
        """A row for each task of the shipped model on test: its score, how sure, against others."""
        kept = ("kind", "metric", "labelled", "score", "low", "high", "baseline", "majority")
        return [
            {"task": name, **{key: task.get(key) for key in kept}, **_over_baseline(task)}
            for name, task in self._assessed.items()
        ]

    @property
    def classes(self) -> list[Row]:
        """A row for each class of each task on test: precision, recall, F1, support."""
        return [
            {"task": name, **row}
            for name, task in self._assessed.items()
            for row in task.get("classes") or ()
        ]

    @property
    def suspects(self) -> list[Row]:
        """A row for each record whose label is probably wrong, the most suspicious of a task first.

        At most 100 for each task; `tables/suspects.csv` in the run's folder has them all.
        """
        tasks = self.suspected["tasks"] if self.suspected else {}
        return [
            {"task": name, **row} for name, task in tasks.items() for row in task.get("records", ())
        ]

    @property
    def _assessed(self) -> Mapping[str, Any]:
        return self.assessment["tasks"] if self.assessment else {}

    def to_pandas(self, table: TableName = "candidates") -> pandas.DataFrame:
        """Return one of the tables as a frame of pandas.

        Parameters
        ----------
        table
            `candidates`, `scores`, `tasks`, `classes` or `suspects`.

        Raises
        ------
        UserError
            There is no such table, or pandas is not installed.
        """
        if table not in get_args(TableName):
            near = did_you_mean(table, get_args(TableName), "tables")
            raise UserError(f"there is no table '{table}'{near}")
        try:
            import pandas
        except ImportError:
            raise UserError(
                f"a frame takes pandas (`pip install pandas`); `.{table}` has the same rows as a "
                "list"
            ) from None
        return pandas.DataFrame(getattr(self, table))


def read_results(run: str | Path) -> RunResults:
    """Read what a run found out.

    Parameters
    ----------
    run
        The run's folder, or its name in `results/`.

    Raises
    ------
    UserError
        There is no such run, it is not finished, or a file of it is damaged.
    """
    folder = run_files.find_run(str(files.expanded(run)))
    if not (folder / RESULTS).exists():
        raise UserError(f"{folder}: holds no {RESULTS}, so the run is not finished; finish it")
    shape: Shape = {"run": str, "shipped": {"candidate": str}, "candidates": dict}
    results = files.read_shaped(folder / RESULTS, shape)
    assessment, suspected = (_if_there(folder / name) for name in (ASSESSMENT, SUSPECTS))
    choice = files.read_json(folder / CHOICE) if (folder / CHOICE).exists() else {}
    return RunResults(
        folder, results["run"], results["shipped"], results, choice, assessment, suspected
    )


def _if_there(path: Path) -> Any:
    """Return the content of a file that not every run has; it holds an object for each task."""
    if not path.exists():
        return None
    content = files.read_shaped(path, {"tasks": dict})
    if not has_shape(list(content["tasks"].values()), [dict]):
        raise UserError(f"{path}: damaged, since a task is no object; {files.how_to_rebuild(path)}")
    return content


def _versus(test: Mapping[str, Any], reference: str) -> Row:
    versus = test.get(f"versus_{reference}") or {}
    return {f"{reference}_{key}": versus.get(key) for key in ("difference", "low", "high")}


def _over_baseline(task: Mapping[str, Any]) -> Row:
    versus = task.get("versus_baseline") or {}
    keys = ("difference", "low", "high", "p", "p_holm")
    return {f"baseline_{key}": versus.get(key) for key in keys}
