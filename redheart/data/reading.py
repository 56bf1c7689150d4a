"""A whole source: which of its items become records, and why the other items are rejected."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redheart.data.absences import Absences, hint_of, listed, names_of
from redheart.data.corrections import Corrections
from redheart.data.decoding import LostRows, is_undecoded
from redheart.data.encodings import how_to_convert, probable
from redheart.data.records import (
    TEXT_FIELDS,
    RecordOptions,
    check_text,
    identity_of,
    is_missing,
    is_rounded,
    modernised,
    refuse_repeated,
    written,
)
from redheart.data.sources import read_items
from redheart.data.tables import SEPARATORS, put, suffix_of
from redheart.errors import UserError
from redheart.spelling import nfc, with_nfc_names
from redheart.storage.files import atomic
from redheart.tasks.task import Record, Task, lookup, read_target

# So many records that are not UTF-8, and none that is and not ASCII, make another encoding sure.
SURE_RECORDS = 3
# A message shows so many reasons, and so many places of each; reasons that differ in the details
# alone are one.
EXAMPLES_SHOWN = 3
DETAILS = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


def read_source(
    path: str | Path,
    target: str | Path,
    tasks: Sequence[Task],
    options: RecordOptions,
    stratify_by: str | None = None,
    corrections: str | Path | None = None,
) -> dict[str, Any]:
    """Write the valid records of a source to `target` as JSON Lines, in the order of the source.

    Every record has at least `id` and `text`. Records are written as they are read, so memory
    holds their ids and not their texts. `target` appears only when the whole source is read and
    accepted. If records share an id, the first one is kept. A missing id becomes
    `record-<number>`. `sources.read_items` says which formats a source may have.

    Parameters
    ----------
    corrections
        A file whose lines change labels and drop records (`data.corrections`); None: there is none.

    Returns
    -------
    dict with `source`, `read`, `kept`, `rejected` (place, id, reason), `rejected_count`,
        `labelled` (share by task), `renormalised` (distributions whose sum was not quite 1, by
        task), `missing_ids` and `non_finite` (records in which NaN or infinity, in a field that no
        task reads, became null); with corrections also `corrections`, what they changed.

    Raises
    ------
    UserError
        The source cannot be read, holds no valid record or too many invalid ones, lacks a column
        of `data.columns`, or has no label for one of the tasks or its classes, or no value to
        stratify by.
    """
    corrected = Corrections(corrections, tasks) if corrections else None
    reading = _Reading(tasks, options, stratify_by, corrected)
    with atomic(target) as stream:
        for place, item in read_items(path, reading.as_text):
            stream.write(reading.line(place, item))
        if corrected:
            corrected.refuse_unused()
        reading.refuse_bad_source(Path(path))
    return {"source": Path(path).name, **reading.report()}


class _Reading:
    """The counts and the rejected items of a source that is being read."""

    def __init__(
        self,
        tasks: Sequence[Task],
        options: RecordOptions,
        stratify_by: str | None,
        corrections: Corrections | None,
    ) -> None:
        self.tasks, self.options, self.corrections = tasks, options, corrections
        self.columns = {nfc(f): nfc(column) for f, column in (options.columns or {}).items()}
        self.absences = Absences(tasks, stratify_by, options.allow)
        classes = [task.field for task in tasks if task.kind == "multiclass"]
        self.as_text = frozenset(self.columns.get(n, n) for n in (*TEXT_FIELDS, *classes))
        self.read = self.missing_ids = self.non_finite = 0
        # Rows of the file that are rejected, and how many of them are not UTF-8.
        self.rejected_count = self.undecoded = 0
        self.is_ascii = True
        self.rejected: list[dict[str, Any]] = []
        self.places: dict[str, str] = {}
        self.labelled, self.renormalised = Counter[str](), Counter[str]()
        # For the message on missing columns: mapped fields that have had no value so far, and the
        # names that the source does have.
        self.fields_without_value = set(self.columns)
        self.source_names: set[str] = set()

    def line(self, place: str, item: Any) -> bytes:
        """Return an item's record as a JSON Line; no bytes if the item is rejected."""
        self.read += 1
        try:
            if isinstance(item, ValueError):
                raise item
            return self._accepted(place, item)
        except RecursionError:
            self._reject(place, item, ValueError("nested too deeply"))
        except ValueError as reason:
            self._reject(place, item, reason)
        return b""

    def _reject(self, place: str, item: Any, reason: ValueError) -> None:
        rows = reason.count if isinstance(reason, LostRows) else 1
        self.read += rows - 1
        self.rejected_count += rows
        self.undecoded += rows * is_undecoded(reason)
        identity = _shown_id(item, self.columns.get("id", "id"))
        self.rejected.append({"place": place, "id": identity, "reason": str(reason)})

    def report(self) -> dict[str, Any]:
        """Return the counts of records, the counts by task, and every rejected item."""
        summed = [t.name for t in self.tasks if t.kind == "distribution" and not t.normalize]
        return {
            "read": self.read,
            "kept": len(self.places),
            "rejected": self.rejected,
            "rejected_count": self.rejected_count,
            "labelled": {t.name: self.labelled[t.name] / len(self.places) for t in self.tasks},
            "renormalised": {name: self.renormalised[name] for name in summed},
            "missing_ids": self.missing_ids,
            "non_finite": self.non_finite,
            **({"corrections": self.corrections.report()} if self.corrections else {}),
        }

    def refuse_bad_source(self, path: Path) -> None:
        """Raise a UserError for too few valid records, or for a column or a task without values."""
        if not self.read:
            raise UserError(f"{path}: holds no records; it must hold some")
        self._refuse_missing_columns(path)
        self.absences.refuse_without_text(path, suffix_of(path) in SEPARATORS)
        count, share = self.rejected_count, self.rejected_count / self.read
        is_refused = share > self.options.max_rejected_share or count == self.read
        if self.undecoded and self.is_ascii:
            self._refuse_other_encoding(path, is_refused)
        reasons = _summary(self.rejected)
        if count == self.read:
            raise UserError(
                f"{path}: none of {count:,} records is valid ({reasons}); mend the file, or let "
                "`tasks` and `data.columns` in the config say what it holds"
            )
        if is_refused:
            raise UserError(
                f"{path}: {count:,} of {self.read:,} records ({share:.2%}) are invalid, more than "
                f"{self.options.max_rejected_share:.2%} ({reasons}); mend them or raise "
                "data.max_rejected_share"
            )
        self.absences.refuse(path)
        for line in self.absences.told():
            print(f"{path}: {line}", file=sys.stderr)

    def _refuse_other_encoding(self, path: Path, is_refused: bool) -> None:
        """Raise a UserError where the source is in another encoding as a whole.

        Every character but ASCII's is then broken, so that just the texts of one language would be
        lost. A source without any such character that is UTF-8 may also be ASCII and damaged.
        """
        encoding = probable(path)
        if is_refused or (encoding and self.undecoded >= SURE_RECORDS):
            raise UserError(
                f"{path}: {self.undecoded:,} of {self.read:,} records are not UTF-8; "
                f"{how_to_convert(path, encoding)}"
            )

    def _accepted(self, place: str, item: Any) -> bytes:
        """Count a valid item and return its line; raise a ValueError for an invalid one."""
        if not isinstance(item, dict):
            raise ValueError(f"expected an object, got {type(item).__name__}")
        item = modernised(self._renamed(with_nfc_names(item)))
        item = self._corrected(item)
        if item is None:
            return b""
        self.absences.see(item)
        record = {**item, "id": identity_of(item.get("id"), f"record-{self.read:06d}")}
        check_text(record, self.options.max_text_characters)
        targets = {task.name: read_target(task, record) for task in self.tasks}
        refuse_repeated(record["id"], self.places)
        line, is_mended = written(record)
        self.places[record["id"]] = place
        self.missing_ids += is_missing(item.get("id"))
        self.non_finite += is_mended
        self.is_ascii = self.is_ascii and line.isascii()
        for task in self.tasks:
            target = targets[task.name]
            if target is not None:
                self.labelled[task.name] += 1
                self.absences.count(task, target)
        self.renormalised.update(task.name for task in self.tasks if is_rounded(task, record))
        return line

    def _corrected(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return an item with corrected labels, or None for one that the corrections drop."""
        if not self.corrections:
            return item
        identity = identity_of(item.get("id"), f"record-{self.read:06d}")
        corrected = self.corrections.applied_to({**item, "id": identity})
        return corrected and {**corrected, "id": item.get("id")}

    def _renamed(self, item: dict[str, Any]) -> dict[str, Any]:
        """Take the fields of `data.columns` from their columns; other columns keep their names."""
        if not self.columns:
            return item
        mapped = {field: _at(item, column) for field, column in self.columns.items()}
        self.fields_without_value -= {field for field, value in mapped.items() if value is not None}
        if self.fields_without_value:
            self.source_names.update(names_of(item))
        renamed = {name: value for name, value in item.items() if name not in self.columns.values()}
        for field, value in mapped.items():
            if value is not None or lookup(renamed, field) is not None:
                put(renamed, field, value)
        return renamed

    def _refuse_missing_columns(self, path: Path) -> None:
        names = sorted(self.source_names)
        # Without any name no item is an object: the worse problem, which another message tells.
        if not self.fields_without_value or not names:
            return
        problems = [
            f"no record has a value in the column '{column}' for '{field}'{hint_of(column, names)}"
            for field, column in sorted(self.columns.items())
            if field in self.fields_without_value
        ]
        raise UserError(f"{path}: {'; '.join(problems)}; the source has {listed(names)}")


def _summary(rejected: Sequence[dict[str, Any]]) -> str:
    """Return why records are rejected: three reasons, of each one example and three places."""
    examples: dict[str, tuple[str, list[str]]] = {}
    for entry in rejected:
        _, places = examples.setdefault(DETAILS.sub("", entry["reason"]), (entry["reason"], []))
        places.append(entry["place"])
    return "; ".join(
        f"{', '.join(places[:EXAMPLES_SHOWN])}: {reason}"
        for reason, places in list(examples.values())[:EXAMPLES_SHOWN]
    )


def _at(item: Record, column: str) -> Any:
    """Return the value of a column whose name may hold a dot; else the value at a dotted path."""
    return item[column] if column in item else lookup(item, column)


def _shown_id(item: Any, column: str) -> str | None:
    """Return an item's id as a short text that can be written to a report."""
    value = _at(item, column) if isinstance(item, dict) else None
    if is_missing(value):
        return None
    return str(value)[:80].encode("utf-8", "backslashreplace").decode("utf-8")
