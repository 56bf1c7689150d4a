"""Phase 4: which candidates there are, of which weights each is made, and how it was chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart.tasks.metrics import MAIN_METRIC
from redheart.tasks.task import Task

# Those that are made of moving averages, and left out where checkpoints hold none.
OF_AVERAGES = ("ema_last", "ema", "uniform_soup_ema", "greedy_soup_ema", "crossover_units_ema")
# How a candidate is made: `members`, each a file below the seed's folder and `weights` or `ema` in
# it, whose predictions are averaged, unless `tasks` names the member that predicts each;
# `forward_passes`; `note`, how it was chosen; `epochs` or the like to tell a person.
Source = dict[str, Any]


def plan_candidates(
    tasks: Sequence[Task],
    tables: Sequence[Mapping[str, Any]],
    soups: Mapping[str, Mapping[str, Any]],
    spots: Mapping[str, Any],
    variants: Sequence[Mapping[str, Any]],
    search: Mapping[str, Any],
) -> dict[str, Source]:
    """Say for every candidate of a seed which weights it is made of.

    None is made of averages where the checkpoints hold none.

    Parameters
    ----------
    tables
        The checkpoints' metrics, in the order of epochs.
    soups
        What went into each soup; none of averages where those were not saved.
    spots
        The content of `sweet_spots.json`.
    variants
        The variants' recipes; one that coincides with another counts once in the ensemble.
    search
        The content of `search.json`.
    """
    chosen = {
        key: {name: spot["epoch"] for name, spot in spots[key].items()}
        for key in ("groups", "units", "units_ema")
        if key in spots
    }
    return {
        **_singles(tables, spots),
        **_soups(soups),
        "per_task_best": _per_task_best(tasks, tables),
        "crossover": _file(
            "crossover/optimal.pt",
            "every module group from its own epoch, all stitched into one model",
            epochs=chosen["groups"],
        ),
        "crossover_units": _file(
            "crossover/units.pt",
            "every unit task x module from the epoch of its own best metric",
            epochs=chosen["units"],
        ),
        **_units_ema(chosen),
        "ascent": _file(
            "crossover/ascent.pt",
            "the greedy soup, units exchanged for an epoch's one by one while a task gains",
            base=search["trunk"]["source"],
            epochs=dict(search["chosen"]),
        ),
        **_variants(variants),
    }


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
    scores = [[math.nan if s is None else s for s in curve["score"]] for curve in curves]
    means = [-sum(column) / len(curves) for column in zip(*scores, strict=True)]
    return _ranked(dict(zip(curves[0]["epochs"], means, strict=True)))[0]


def _ranked(scores: Mapping[int, float | None]) -> list[int]:
    """Return the epochs, the highest score first, earlier ones first on ties, undefined last."""

    def rank(epoch: int) -> tuple[float, int]:
        score = scores[epoch]
        return (math.inf if score is None or math.isnan(score) else -score, epoch)

    return sorted(scores, key=rank)


def _singles(tables: Sequence[Mapping[str, Any]], spots: Mapping[str, Any]) -> dict[str, Source]:
    def saved(epoch: int, note: str, source: str = "weights") -> Source:
        return _file(f"ckpt/epoch_{epoch:03d}.pt", note, source, epochs=[epoch])

    last = tables[-1]["epoch"]
    singles = {
        "last": saved(last, "the last checkpoint"),
        "best_single": saved(
            best_epoch(tables, "raw"), "the checkpoint with the best macro score on val_select"
        ),
        "single_by_loss": saved(
            single_by_rule(spots["groups"]),
            "control: the checkpoint that the rule of `crossover` chooses for all groups at once",
        ),
        "single_by_units": saved(
            single_by_rule(spots["units"]),
            "control: the checkpoint that the rule of `crossover_units` chooses for all at once",
        ),
    }
    if "ema" not in tables[0]["fused"]:
        return singles
    best, note = best_epoch(tables, "ema"), "the moving average at its best on val_select"
    return {
        **singles,
        "ema_last": saved(last, "the moving average at the last checkpoint", "ema"),
        "ema": saved(best, note, "ema"),
    }


def _soups(soups: Mapping[str, Mapping[str, Any]]) -> dict[str, Source]:
    notes = {
        "uniform": "the mean of all checkpoints",
        "greedy": "the mean of checkpoints, best first, each kept unless val_select gets worse",
        "uniform_ema": "the mean of the moving averages of all checkpoints",
        "greedy_ema": "as the greedy soup, of the moving averages",
    }
    return {
        name.replace(kind, f"{kind}_soup"): _file(
            f"soups/{name}.pt", note, epochs=soups[name]["epochs"]
        )
        for name, note in notes.items()
        for kind in [name.partition("_")[0]]
        if name in soups
    }


def _units_ema(chosen: Mapping[str, Mapping[str, int]]) -> dict[str, Source]:
    if "units_ema" not in chosen:
        return {}
    note = "the same of the moving averages, by their own metrics"
    made = _file("crossover/units_ema.pt", note, epochs=chosen["units_ema"])
    return {"crossover_units_ema": made}


def _per_task_best(tasks: Sequence[Task], tables: Sequence[Mapping[str, Any]]) -> Source:
    best = {}
    for task in tasks:
        main = MAIN_METRIC[task.kind]
        scores = {t["epoch"]: t["fused"]["raw"]["tasks"][task.name][main] for t in tables}
        best[task.name] = _ranked(scores)[0]
    epochs = sorted(set(best.values()))
    return {
        "epochs": best,
        "note": "several models: every task from the checkpoint that is best at it",
        "members": [[f"ckpt/epoch_{epoch:03d}.pt", "weights"] for epoch in epochs],
        "tasks": {task: epochs.index(epoch) for task, epoch in best.items()},
        "forward_passes": len(epochs),
    }


def _variants(variants: Sequence[Mapping[str, Any]]) -> dict[str, Source]:
    sources = {
        f"variant_{variant['offset']}": _file(
            f"variants/offset_{variant['offset']}.pt",
            f"the crossover with all epochs shifted by {variant['offset']:+d}",
            epochs=variant["epochs"],
        )
        for variant in sorted(variants, key=lambda variant: abs(variant["offset"]))
    }
    distinct = [variant["offset"] for variant in variants if variant["same_as"] is None]
    sources["variants_ensemble"] = {
        "offsets": distinct,
        "note": "several models: the mean prediction of the variants that differ",
        "members": [[f"variants/offset_{offset}.pt", "weights"] for offset in distinct],
        "forward_passes": len(distinct),
    }
    return sources


def paths_of_members(
    sources: Mapping[str, Source], paths: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Return where the members of every candidate lie, among the paths of one seed's files."""
    return {name: member_paths(source, paths) for name, source in sources.items()}


def member_paths(source: Source, paths: Sequence[str]) -> list[tuple[str, str]]:
    """Return the path of each member of a candidate, and `weights` or `ema`."""
    by_place = {"/".join(Path(path).parts[-2:]): path for path in paths}
    return [(by_place[file], which) for file, which in source["members"]]


def _file(file: str, note: str, source: str = "weights", **facts: Any) -> Source:
    return {**facts, "note": note, "members": [[file, source]], "forward_passes": 1}
