"""The records that are named: their words for the report, and the rows of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from redheart.csv_lines import csv_line
from redheart.suspects.mapping import HELD_OUT, TRAIN, Mapped, over_seeds, populations
from redheart.suspects.measures import Measures
from redheart.suspects.threshold import METHOD, Verdict, judge, wrong_share
from redheart.tasks.scale import Scale
from redheart.tasks.task import Record, Task, target_matrix

# Records of a task that the report shows: at most so many that are named, and so many in any case,
# the most suspicious ones. Then the points of its map.
NAMED_SHOWN, RECORDS_SHOWN, POINTS_SHOWN = 100, 30, 3000
COLUMNS = (
    *("id", "part", "field", "text", "label", "model_says"),
    *("confidence", "variability", "margin"),
)


def find_suspects(
    tasks: Sequence[Task],
    maps: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    records: Mapping[str, Sequence[Record]],
    scales: Mapping[str, Scale],
    rate: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Name the records whose labels look wrong.

    Parameters
    ----------
    maps
        The map of each seed, from `make_map`.
    records
        The records of each part, in the order of the maps.
    scales
        The scale of each regression.
    rate
        Share of the named records, at most, whose labels are expected to be right.

    Returns
    -------
    content : `checkpoints`, `seeds`, `false_discovery_rate`, `method`, and for each of `tasks` the
        counts, the map of train and the most suspicious records.
    rows : all named records, the most suspicious of a task first.
    """
    by_task, rows = {}, []
    for task in tasks:
        found = _of_task(task, maps, records, scales.get(task.name), rate)
        by_task[task.name], named = found
        rows += named
    content = {
        "checkpoints": sum(one["checkpoints"] for one in maps),
        "seeds": [*seeds],
        "false_discovery_rate": rate,
        "method": METHOD,
        "tasks": by_task,
    }
    return content, rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table, in which no text acts as a spreadsheet's formula."""
    return "".join(map(csv_line, (COLUMNS, *([row[key] for key in COLUMNS] for row in rows))))


def _of_task(
    task: Task,
    maps: Sequence[Mapping[str, Any]],
    records: Mapping[str, Sequence[Record]],
    scale: Scale | None,
    rate: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Judge train by itself, and together the parts that no model has trained on."""
    of = populations([*records])
    mapped = {name: over_seeds(task.name, name, maps) for name in of}
    verdicts = judge_populations(mapped, rate)
    places = []
    for name, parts in of.items():
        whole = [(part, record) for part in parts for record in records[part]]
        measures, suspicion, _ = mapped[name]
        rows = ((_row(task, *whole[i], measures, i, scale), i) for i in _labelled(suspicion))
        place = _places(suspicion)
        places += [
            (place[i], str(row["id"]), {**row, "suspected": bool(verdicts[name].named[i])})
            for row, i in rows
        ]
    ordered = [row for _, _, row in sorted(places, key=lambda place: place[:2])]
    named = [row for row in ordered if row["suspected"]]
    others = [row for row in ordered if not row["suspected"]]
    content = {
        "suspected": len(named),
        "expected_false": round(sum(v.expected_false for v in verdicts.values()), 3),
        "classes": _classes(task, mapped, verdicts),
        "map": _points(mapped[TRAIN].measures, verdicts[TRAIN].named),
        "records": (named + others[: max(0, RECORDS_SHOWN - len(named))])[:NAMED_SHOWN],
    }
    return content, named


def judge_populations(mapped: Mapping[str, Mapped], rate: float) -> dict[str, Verdict]:
    """Return the verdict on train and on the held-out records."""
    held_out = mapped[HELD_OUT]
    share = wrong_share(held_out.suspicion, held_out.planted)
    known = held_out.suspicion[~np.isnan(held_out.suspicion)]
    typical = float(np.median(known)) if len(known) else 0.0
    return {
        name: judge(one.suspicion, held_out.planted, share, typical, rate)
        for name, one in mapped.items()
    }


def _labelled(suspicion: np.ndarray) -> list[int]:
    found: list[int] = np.flatnonzero(~np.isnan(suspicion)).tolist()
    return found


def _places(suspicion: np.ndarray) -> np.ndarray:
    """Return the share of a population's labels that look at least as wrong as each.

    Labels of train were learned, and look less wrong than held-out ones. Both populations are drawn
    from the same records, so as large a share of either is wrong: places can be compared.
    """
    known = np.sort(suspicion[~np.isnan(suspicion)])
    places: np.ndarray = (len(known) - np.searchsorted(known, suspicion)) / max(1, len(known))
    return places


def _row(
    task: Task, part: str, record: Record, measures: Measures, i: int, scale: Scale | None
) -> dict[str, Any]:
    label, says = _words(task, record, measures, i, scale)
    return {
        "id": record["id"],
        "part": part,
        "field": task.field,
        "label": label,
        "model_says": says,
        "confidence": float(measures.confidence[i]),
        "variability": float(measures.variability[i]),
        "margin": float(measures.margin[i]),
        "text": record["text"],
    }


def _words(
    task: Task, record: Record, measures: Measures, i: int, scale: Scale | None
) -> tuple[str, str]:
    """Return the label of a record and what the checkpoints say in its place."""
    target, says = target_matrix(task, [record])[0], int(measures.says[i])
    if task.kind == "multilabel":
        cells = np.nan_to_num(target) > 0.5
        changed = cells.copy()
        changed[says] = not changed[says]
        return _names(task, cells), _names(task, changed)
    if task.kind == "regression":
        expected = np.zeros((1, task.width))
        expected[0, says] = measures.expected[i]
        restored = scale.restored(expected) if scale else expected
        name = f"{task.output_names[says]} " if task.width > 1 else ""
        return f"{name}{target[says]:.6g}", f"{name}{restored[0, says]:.6g}"
    if task.kind == "distribution":
        top = int(target.argmax())
        expected_share = f"{measures.expected[i]:.2f}"
        return f"{task.classes[top]} {target[top]:.2f}", f"{task.classes[says]} {expected_share}"
    return str(task.classes[int(target.argmax())]), task.classes[says]


def _names(task: Task, cells: np.ndarray) -> str:
    return "|".join(name for name, cell in zip(task.classes, cells, strict=True) if cell)


def group_names(task: Task) -> list[str]:
    """Return the name of each group of labels, in the order of `Measures.group`."""
    if task.kind == "multilabel":
        return [name for label in task.classes for name in (f"not {label}", label)]
    return [*task.output_names]


def _classes(
    task: Task, mapped: Mapping[str, Mapped], verdicts: Mapping[str, Verdict]
) -> dict[str, dict[str, int]]:
    groups = np.concatenate([one.measures.group for one in mapped.values()])
    named = np.concatenate([verdicts[name].named for name in mapped])
    return {
        name: {
            "records": int((groups == number).sum()),
            "suspected": int(named[groups == number].sum()),
        }
        for number, name in enumerate(group_names(task))
    }


def _points(measures: Measures, named: np.ndarray) -> dict[str, list[Any]]:
    """Return points of the map of train: all that are named, and others evenly from the rest."""
    known = np.flatnonzero(~np.isnan(measures.confidence))
    rest = known[~named[known]]
    room = max(0, POINTS_SHOWN - int(named.sum()))
    if len(rest) > room:
        rest = rest[np.linspace(0, len(rest) - 1, room).round().astype(int)]
    shown = np.sort(np.concatenate([np.flatnonzero(named), rest]))[:POINTS_SHOWN]
    return {
        "confidence": measures.confidence[shown].tolist(),
        "variability": measures.variability[shown].tolist(),
        "suspected": named[shown].astype(int).tolist(),
    }
