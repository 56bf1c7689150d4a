"""Phase 4: of which weights a candidate is made, and how these are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.json_values import number, or_lowest
from redheart.storage import run_files
from redheart.tasks.metrics import MAIN_METRIC
from redheart.tasks.task import Task

# How a candidate is made: `members`, each a file below the seed's folder and `weights` or `ema` in
# it, whose predictions are averaged, unless `tasks` names the member that predicts each;
# `forward_passes`; `note`, how it was chosen; `epochs` or the like to tell a person.
Source = dict[str, Any]
# Yields the name and the source of each candidate that an entry of the table stands for.
Sources = Callable[["Candidate", "Findings"], Iterator[tuple[str, Source]]]


@dataclass(frozen=True)
class Findings:
    """What the earlier phases found out about a seed: the candidates are chosen by it."""

    tasks: Sequence[Task]
    """The tasks of the config."""
    tables: Sequence[Mapping[str, Any]]
    """The checkpoints' metrics, in the order of epochs."""
    soups: Mapping[str, Mapping[str, Any]]
    """What went into each soup; there is none of averages where those were not saved."""
    spots: Mapping[str, Any]
    """The content of `sweet_spots.json`."""
    variants: Sequence[Mapping[str, Any]]
    """The variants' recipes."""
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
    """Its name in sentences; empty: as in tables."""
    note: str
    """How its weights are chosen."""
    sources: Sources | None
    """Says of which weights it is made; None: of none, as it is no network."""
    file: str = ""
    """Its own file below the seed's folder; empty: it is made of files of others."""
    of_averages: bool = False
    """Whether it is made of moving averages, and left out where checkpoints hold none."""
    several_models: bool = False
    """Whether a prediction may take several models; then it does not ship."""
    control: str = ""
    """The candidate that its score must be held against to see what stitching adds."""


# --- how the weights of an entry are found ------------------------------------------------------


def one_epoch(epoch_of: Callable[[Findings], int]) -> Sources:
    """Make a candidate of the checkpoint of one epoch."""

    def sources(candidate: Candidate, found: Findings) -> Iterator[tuple[str, Source]]:
        epoch = epoch_of(found)
        member = [run_files.checkpoint(epoch), "ema" if candidate.of_averages else "weights"]
        yield candidate.name, _source(candidate.note, [member], epochs=[epoch])

    return sources


def own_file(facts: Callable[[Findings], Mapping[str, Any]]) -> Sources:
    """Make a candidate of its own file, with facts that tell a person what is in it."""

    def sources(candidate: Candidate, found: Findings) -> Iterator[tuple[str, Source]]:
        yield candidate.name, _source(candidate.note, [[candidate.file, "weights"]], **facts(found))

    return sources


def each_task_from_its_best(candidate: Candidate, found: Findings) -> Iterator[tuple[str, Source]]:
    """Make a candidate of the checkpoint that is best at each task."""
    best = {}
    for task in found.tasks:
        main = MAIN_METRIC[task.kind]
        scores = {t["epoch"]: t["fused"]["raw"]["tasks"][task.name][main] for t in found.tables}
        best[task.name] = _ranked(scores)[0]
    epochs = sorted(set(best.values()))
    members = [[run_files.checkpoint(epoch), "weights"] for epoch in epochs]
    tasks = {task: epochs.index(epoch) for task, epoch in best.items()}
    yield candidate.name, _source(candidate.note, members, tasks, epochs=best)


def each_variant(candidate: Candidate, found: Findings) -> Iterator[tuple[str, Source]]:
    """Make a candidate of each variant's file, the smallest shift first."""
    for variant in sorted(found.variants, key=lambda variant: abs(variant["offset"])):
        offset = variant["offset"]
        note = candidate.note.replace(OFFSET, f"{offset:+d}")
        member = [run_files.variant(offset), "weights"]
        yield (
            at_offset(candidate.name, offset),
            _source(note, [member], epochs=variant["epochs"]),
        )


def all_variants(candidate: Candidate, found: Findings) -> Iterator[tuple[str, Source]]:
    """Make a candidate of the files of all variants that differ; equal ones count once."""
    distinct = [variant["offset"] for variant in found.variants if variant["same_as"] is None]
    members = [[run_files.variant(offset), "weights"] for offset in distinct]
    yield candidate.name, _source(candidate.note, members, offsets=distinct)


# Stands for the offset of a variant in a name, a note and a file's name.
OFFSET = "{offset}"


def at_offset(pattern: str, offset: int | str) -> str:
    """Return a name or a file's name with an offset put in."""
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


# --- which epoch ---------------------------------------------------------------------------------


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
    """Return the one epoch that the rule of a crossover would choose for all that it stitches.

    It has the lowest mean of the scores by which the rule chose an epoch for each.

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
