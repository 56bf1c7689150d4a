"""Phase 4: the weights that make a candidate, and how they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.json_values import number, or_lowest
from redheart.storage import run_files
from redheart.tasks.metrics import MAIN_METRIC
from redheart.tasks.task import Task

# How a candidate is made. `members`: each is a file below the seed's folder, and `weights` or `ema`
# in that file. The candidate's prediction is the mean of its members' predictions, unless `tasks`
# names one member for each task. `forward_passes`: the number of members. `note`: how the weights
# were chosen. `epochs` or the like: the same facts for a reader.
Source = dict[str, Any]
# Yields the name and the source of each candidate that a table entry stands for.
Sources = Callable[["Candidate", "Findings"], Iterator[tuple[str, Source]]]


@dataclass(frozen=True)
class Findings:
    """The results of the earlier phases for one seed; candidates are chosen by them."""

    tasks: Sequence[Task]
    """The tasks of the config."""
    tables: Sequence[Mapping[str, Any]]
    """The checkpoints' metrics, in the order of epochs."""
    soups: Mapping[str, Mapping[str, Any]]
    """The members of each soup; no soup of averages exists if no averages were saved."""
    spots: Mapping[str, Any]
    """The content of `sweet_spots.json`."""
    variants: Sequence[Mapping[str, Any]]
    """The recipes of the variants."""
    search: Mapping[str, Any]
    """The content of `search.json`."""

    @property
    def averages(self) -> bool:
        """Tell whether the checkpoints hold moving averages."""
        return "ema" in self.tables[0]["fused"]

    def chosen(self, kind: str) -> dict[str, int]:
        """Return the epoch of each entry of a section of `sweet_spots.json`."""
        return {name: spot["epoch"] for name, spot in self.spots[kind].items()}


@dataclass(frozen=True)
class Candidate:
    """An entry in the table of candidates."""

    name: str
    """Its name in files and tables; `{offset}` stands for every offset of the config."""
    words: str
    """Its name in sentences; empty: the name in tables serves here too."""
    note: str
    """How its weights are chosen."""
    sources: Sources | None
    """Names the weights that make it; None: it is no network and has no weights."""
    file: str = ""
    """Its own file below the seed's folder; empty: it has none and uses other files."""
    of_averages: bool = False
    """Whether moving averages make it; then it is left out if the checkpoints hold none."""
    several_models: bool = False
    """Whether a prediction may need several models; such a candidate does not ship."""
    control: str = ""
    """The candidate to compare it with: the difference of the scores is the gain by stitching."""


# --- the weights of an entry --------------------------------------------------------------------


def one_epoch(epoch_of: Callable[[Findings], int]) -> Sources:
    """Make a candidate of the checkpoint of one epoch."""

    def sources(candidate: Candidate, findings: Findings) -> Iterator[tuple[str, Source]]:
        epoch = epoch_of(findings)
        member = [run_files.checkpoint(epoch), "ema" if candidate.of_averages else "weights"]
        yield candidate.name, _source(candidate.note, [member], epochs=[epoch])

    return sources


def own_file(facts: Callable[[Findings], Mapping[str, Any]]) -> Sources:
    """Make a candidate of its own file; `facts` describe its content to a reader."""

    def sources(candidate: Candidate, findings: Findings) -> Iterator[tuple[str, Source]]:
        member = [candidate.file, "weights"]
        yield candidate.name, _source(candidate.note, [member], **facts(findings))

    return sources


def each_task_from_its_best(
    candidate: Candidate, findings: Findings
) -> Iterator[tuple[str, Source]]:
    """Make a candidate that takes each task from the checkpoint that is best at the task."""
    best = {}
    for task in findings.tasks:
        main = MAIN_METRIC[task.kind]
        scores = {
            table["epoch"]: table["fused"]["raw"]["tasks"][task.name][main]
            for table in findings.tables
        }
        best[task.name] = _ranked(scores)[0]
    epochs = sorted(set(best.values()))
    members = [[run_files.checkpoint(epoch), "weights"] for epoch in epochs]
    tasks = {task: epochs.index(epoch) for task, epoch in best.items()}
    yield candidate.name, _source(candidate.note, members, tasks, epochs=best)


def each_variant(candidate: Candidate, findings: Findings) -> Iterator[tuple[str, Source]]:
    """Make a candidate of each variant's file, the smallest shift first."""
    for variant in sorted(findings.variants, key=lambda variant: abs(variant["offset"])):
        offset = variant["offset"]
        note = candidate.note.replace(OFFSET, f"{offset:+d}")
        member = [run_files.variant(offset), "weights"]
        yield (
            at_offset(candidate.name, offset),
            _source(note, [member], epochs=variant["epochs"]),
        )


def all_variants(candidate: Candidate, findings: Findings) -> Iterator[tuple[str, Source]]:
    """Make a candidate of the files of all variants; variants with equal epochs count once."""
    distinct = [variant["offset"] for variant in findings.variants if variant["same_as"] is None]
    members = [[run_files.variant(offset), "weights"] for offset in distinct]
    yield candidate.name, _source(candidate.note, members, offsets=distinct)


# Stands for the offset of a variant in a name, a note and a file's name.
OFFSET = "{offset}"


def at_offset(pattern: str, offset: int | str) -> str:
    """Return a candidate's or a file's name with the offset filled in."""
    return pattern.replace(OFFSET, str(offset))


def _source(
    note: str, members: list[list[str]], tasks: Mapping[str, int] | None = None, **facts: Any
) -> Source:
    of_tasks = {} if tasks is None else {"tasks": tasks}
    return {
        **facts,
        "note": note,
        "members": members,
        **of_tasks,
        "forward_passes": len(members),
    }


def member_paths(source: Source, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return the path of each member of a candidate, and `weights` or `ema`."""
    by_place = {"/".join(Path(path).parts[-2:]): path for path in paths}
    return [(by_place[file], which) for file, which in source["members"]]


# --- the choice of an epoch ----------------------------------------------------------------------


def best_epoch(tables: Sequence[Mapping[str, Any]], source: str) -> int:
    """Return the epoch whose whole model has the best macro score on val_select, earliest on ties.

    Parameters
    ----------
    tables
        The checkpoints' metrics.
    source
        `raw` or `ema` weights.
    """
    return int(ranked_epochs(tables, source)[0])


def ranked_epochs(tables: Sequence[Mapping[str, Any]], source: str = "raw") -> list[int]:
    """Return all epochs, the best macro score on val_select first, earlier ones first on ties."""
    return _ranked({table["epoch"]: table["fused"][source]["macro"] for table in tables})


def single_by_rule(spots: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the one epoch that a crossover's rule would choose for all its parts together.

    The rule chooses an epoch for each group or unit by its score, lowest first. This epoch has the
    lowest mean of these scores over all groups or units.

    Parameters
    ----------
    spots
        The entries of the groups or units in `sweet_spots.json`.
    """
    curves = [spot["curve"] for spot in spots.values()]
    scores = [map(number, curve["score"]) for curve in curves]
    means = [-sum(column) / len(curves) for column in zip(*scores, strict=True)]
    return _ranked(dict(zip(curves[0]["epochs"], means, strict=True)))[0]


def _ranked(scores: Mapping[int, float | None]) -> list[int]:
    """Return the epochs, the highest score first, earlier ones first on ties, undefined last."""

    def rank(epoch: int) -> tuple[float, int]:
        return (-or_lowest(number(scores[epoch])), epoch)

    return sorted(scores, key=rank)
