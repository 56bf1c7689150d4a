"""Corrections of a corpus: a file that says which labels are other ones, and which records go.

A line has an `id`, a `field` and a `value`. The value takes the place of what the record has in
that field. The value `drop` leaves the whole record out. Where a task of the field has a class of
that name, `drop` is the class, and a line without a field drops the record. A line without a value
is not decided yet and changes nothing.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redheart.data.decoding import is_undecoded
from redheart.data.encodings import how_to_convert, probable
from redheart.data.sources import read_items
from redheart.data.tables import SEPARATORS, put, separator_of, suffix_of
from redheart.errors import UserError, did_you_mean, nearest
from redheart.spelling import nfc
from redheart.storage.files import opened
from redheart.tasks.task import Task, class_named, lookup, read_target

COLUMNS = ("id", "field", "value")
DROP = "drop"
# Between the labels of a multilabel field, in a cell that is no JSON.
SEPARATOR = "|"
# A message about an unknown id lists the ids of a corpus where they are at most so many.
IDS_SHOWN = 10


class Correction(NamedTuple):
    """One line of the file."""

    place: str
    """Where it stands, as in `line 3`."""
    field: str | None
    """The field; None: the record is left out."""
    value: Any
    """What the field is to hold."""


class Corrections:
    """The corrections of a file, and what became of each."""

    def __init__(self, path: str | Path, tasks: Sequence[Task]) -> None:
        """Read the file.

        Raises
        ------
        UserError
            A line has no id or no known field, contradicts another one, or the file cannot be read.
        """
        self.path, self.tasks = path, tasks
        self.by_id: dict[str, list[Correction]] = {}
        self.undecided = 0
        self.used: set[str] = set()
        self.applied: list[dict[str, Any]] = []
        for place, item in read_items(path, as_text=COLUMNS):
            self._add(place, item)
        self._refuse_lacking_column()

    def applied_to(self, record: dict[str, Any]) -> dict[str, Any] | None:
        """Return a record as the file corrects it, or None where the file drops it.

        Raises
        ------
        UserError
            A value is no label of the field's tasks.
        """
        lines = self.by_id.get(str(record["id"]), ())
        self.used.add(str(record["id"]))
        for line in lines:
            if line.field is None:
                self.applied.append({"id": record["id"], "dropped": True})
                return None
            before = lookup(record, line.field)
            record = self._corrected(record, line)
            if before != line.value:
                change = {"field": line.field, "before": before, "after": line.value}
                self.applied.append({"id": record["id"], **change})
        return record

    def refuse_unused(self) -> None:
        """Raise a UserError for an id that no record of the source has."""
        for identity in sorted({*self.by_id} - self.used):
            place = self.by_id[identity][0].place
            near = nearest(identity, self.used)
            hint = f"; did you mean '{near}'?" if near else self._some_ids()
            raise UserError(f"{self.path}: {place}: no record has the id '{identity}'{hint}")

    def report(self) -> dict[str, Any]:
        """Return the name of the file, how much it changed, and every change."""
        dropped = sum("dropped" in change for change in self.applied)
        return {
            "file": Path(self.path).name,
            "changed": len(self.applied) - dropped,
            "dropped": dropped,
            "undecided": self.undecided,
            "applied": self.applied,
        }

    def _some_ids(self) -> str:
        return f"; the ids: {', '.join(sorted(self.used))}" if len(self.used) <= IDS_SHOWN else ""

    def _refuse_lacking_column(self) -> None:
        """Refuse a table in which no line can say anything, as under a header with `Value`."""
        path = Path(self.path)
        if self.by_id or suffix_of(path) not in SEPARATORS:
            return
        columns = layout(path)[0]
        if "value" not in columns:
            near = did_you_mean("value", columns, "its columns")
            raise UserError(f"{path}: its first line names no column 'value'{near}; rename it")

    def _add(self, place: str, item: Any) -> None:
        if isinstance(item, ValueError):
            path = Path(self.path)
            how = how_to_convert(path, probable(path)) if is_undecoded(item) else "mend it"
            raise UserError(f"{self.path}: {place}: {item}; {how}")
        if not isinstance(item, dict) or item.get("id") is None:
            raise UserError(
                f"{self.path}: {place}: expected an id, a field and a value, got {item}"
            )
        identity, value = str(item["id"]), item.get("value")
        field = None if item.get("field") is None else nfc(str(item["field"]))
        if value is None:
            self.undecided += 1
            return
        if field is None and value != DROP:
            raise UserError(
                f"{self.path}: {place}: record '{identity}' has a value and no field; name the "
                f"field, or write {DROP} to leave the record out"
            )
        line = Correction(place, *self._read(place, field, value))
        for other in self.by_id.get(identity, ()):
            if line.field != other.field and line.field is not None and other.field is not None:
                continue
            if line[1:] != other[1:]:
                raise UserError(
                    f"{self.path}: {place}: says of record '{identity}' something else than "
                    f"{other.place}; leave one of the two"
                )
            return
        self.by_id.setdefault(identity, []).append(line)

    def _read(self, place: str, field: str | None, value: Any) -> tuple[str | None, Any]:
        """Return the field and the value that a line means; no field: the record is left out."""
        if field is None:
            return None, None
        tasks = [task for task in self.tasks if task.field == field]
        if not tasks:
            fields = dict.fromkeys(task.field for task in self.tasks)
            hint = did_you_mean(field, fields, "the fields of tasks")
            raise UserError(f"{self.path}: {place}: no task reads the field '{field}'{hint}")
        if value == DROP and not any(DROP in task.classes for task in tasks):
            return None, None
        return field, value_of(tasks[0], value)

    def _corrected(self, record: dict[str, Any], line: Correction) -> dict[str, Any]:
        field = line.field or ""
        corrected: dict[str, Any] = json.loads(json.dumps(record))
        try:
            if field in corrected:
                corrected[field] = line.value
            else:
                put(corrected, field, line.value)
            for task in self.tasks:
                if task.field == field:
                    read_target(task, corrected)
        except ValueError as reason:
            raise UserError(f"{self.path}: {line.place}: {reason}") from None
        return corrected


def layout(path: Path) -> tuple[list[str], str]:
    """Return the columns of a table, as its first line names them, and its separator."""
    with opened(path) as stream:
        header = stream.readline().removeprefix(b"\xef\xbb\xbf")
    separator = separator_of(suffix_of(path), header)
    cells = next(csv.reader([header.decode("utf-8", "replace")], delimiter=separator), [])
    return [nfc(name.strip()) for name in cells], separator


def value_of(task: Task, value: Any) -> Any:
    """Return what a cell holds: a class, a number, or what JSON or a list with bars says."""
    if task.kind == "multiclass" or not isinstance(value, str):
        return class_named(task.classes, value) or value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    names = [nfc(name).strip() for name in value.split(SEPARATOR)]
    return names if task.kind == "multilabel" and task.width > 1 else value


def as_cell(task: Task, value: Any) -> str:
    """Return a field's value as the file holds it; `Corrections` reads it back."""
    if value is None:
        return ""
    names = value if task.kind == "multilabel" and isinstance(value, list) else []
    if len(names) > 1 and all(isinstance(n, str) and SEPARATOR not in n for n in names):
        return SEPARATOR.join(names)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
