"""One record: from an item of a source, validated, to a line; what is refused says why."""

from __future__ import annotations

import difflib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from redheart.errors import UserError
from redheart.files import atomic, opened
from redheart.sources import parse_line, put, read_items
from redheart.tasks import Record, Task, lookup, read_target

# Unicode categories that show nothing: control, format, and the three kinds of separators.
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# A distribution whose sum differs from 1 by more than this counts as renormalised.
ROUNDING = 1e-6
# Fields of a table that are text even where a cell looks like a number; so are classes.
TEXT_FIELDS = ("id", "text", "title", "action", "label", "timestamp")


@dataclass(frozen=True)
class RecordOptions:
    """Which records of the source are accepted, and how many may be refused."""

    max_rejected_share: float = 0.05
    """More rejected records than this share of those read stop the run; 0 to 1."""
    max_text_characters: int = 100_000
    """Longer texts are rejected; characters, 1 or more."""
    columns: Mapping[str, str] | None = None
    """Field of a record -> column of the source that it is taken from; dots reach into objects."""


def read_source(
    path: str | Path, target: str | Path, tasks: Sequence[Task], options: RecordOptions
) -> dict[str, Any]:
    """Write the valid records of a source to `target` as JSON Lines, in the order of the source.

    Every record has at least `id` and `text`. Records are written as they are read, so memory
    holds their ids and not their texts; `target` appears when all is read and accepted, and not
    otherwise. Of records that share an id the first is kept. A missing id becomes
    `record-<number>`. What a source may be: see `sources.read_items`.

    Returns
    -------
    dict with `source`, `read`, `kept`, `rejected` (place, id, reason), `rejected_count`,
        `labelled` (share by task), `renormalised` (distributions whose sum was not quite 1, by
        task), `missing_ids` and `non_finite` (records in which NaN or infinity, in a field that no
        task reads, became null).

    Raises
    ------
    UserError
        The source cannot be read, holds no valid record or too many invalid ones, lacks a column
        that is asked for, or labels a task in none.
    """
    reading = _Reading(tasks, options)
    with atomic(target) as stream:
        for place, item in read_items(path, reading.as_text):
            stream.write(reading.line(place, item))
        reading.refuse_bad_source(Path(path))
    return {"source": Path(path).name, **reading.report()}


def write_jsonl(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON Lines, atomically; NaN and infinity are refused."""
    with atomic(path) as stream:
        stream.writelines(map(_encoded, records))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON Lines that an earlier step wrote.

    Raises
    ------
    UserError
        The file is missing or a line is broken.
    """
    records = []
    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                records.append(parse_line(line))
            except ValueError as reason:
                raise UserError(
                    f"{path}: line {number}: {reason}; delete the file to rebuild it"
                ) from None
    return records


def text_statistics(records: Sequence[Record]) -> dict[str, Any]:
    """Return count, mean, std, min and max of the texts' characters (null where count is 0)."""
    lengths = np.array([len(record["text"]) for record in records])
    if not len(lengths):
        return {"count": 0, "mean": None, "std": None, "min": None, "max": None}
    return {
        "count": len(lengths),
        "mean": float(lengths.mean()),
        "std": float(lengths.std()),
        "min": int(lengths.min()),
        "max": int(lengths.max()),
    }


def _encoded(record: Record) -> bytes:
    return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


# --- the source as a whole --------------------------------------------------------------------


class _Reading:
    """What is remembered of a source while its items go by."""

    def __init__(self, tasks: Sequence[Task], options: RecordOptions) -> None:
        self.tasks, self.options = tasks, options
        self.columns = dict(options.columns or {})
        classes = [task.field for task in tasks if task.kind == "multiclass"]
        self.as_text = frozenset(self.columns.get(n, n) for n in (*TEXT_FIELDS, *classes))
        self.read = self.missing_ids = self.non_finite = 0
        self.rejected: list[dict[str, Any]] = []
        self.places: dict[str, str] = {}
        self.labelled, self.renormalised = Counter[str](), Counter[str]()
        # For the nearest name to one that nothing has: the names of the source, of the records.
        self.unseen = set(self.columns)
        self.source_names: set[str] = set()
        self.record_names: set[str] = set()

    def line(self, place: str, item: Any) -> bytes:
        """Return an item's record as a JSON Line; nothing where it is set aside."""
        self.read += 1
        try:
            if isinstance(item, ValueError):
                raise item
            return self._accepted(place, item)
        except ValueError as reason:
            identity = _shown_id(item, self.columns.get("id", "id"))
            self.rejected.append({"place": place, "id": identity, "reason": str(reason)})
            return b""

    def report(self) -> dict[str, Any]:
        """Return the counts, of records and by task, and all that was set aside."""
        summed = [t.name for t in self.tasks if t.kind == "distribution" and not t.normalize]
        return {
            "read": self.read,
            "kept": len(self.places),
            "rejected": self.rejected,
            "rejected_count": len(self.rejected),
            "labelled": {t.name: self.labelled[t.name] / len(self.places) for t in self.tasks},
            "renormalised": {name: self.renormalised[name] for name in summed},
            "missing_ids": self.missing_ids,
            "non_finite": self.non_finite,
        }

    def refuse_bad_source(self, path: Path) -> None:
        """Stop where nothing, or too little, of the source is left."""
        if not self.read:
            raise UserError(f"{path}: holds no records; it must hold some")
        self._refuse_missing_columns(path)
        count = len(self.rejected)
        first = "; ".join(f"{entry['place']}: {entry['reason']}" for entry in self.rejected[:3])
        if count == self.read:
            raise UserError(f"{path}: none of {count:,} records is valid ({first})")
        share, accepted = count / self.read, self.options.max_rejected_share
        if share > accepted:
            raise UserError(
                f"{path}: {count:,} of {self.read:,} records ({share:.2%}) are invalid, more than "
                f"{accepted:.2%} ({first}); mend them or raise data.max_rejected_share"
            )
        self._refuse_unlabelled()

    def _accepted(self, place: str, item: Any) -> bytes:
        """Return the line of a valid item and count it; a ValueError says what it lacks."""
        if not isinstance(item, dict):
            raise ValueError(f"expected an object, got {type(item).__name__}")
        item = _modernised(self._renamed(item))
        record = {**item, "id": _identity(item.get("id"), f"record-{self.read:06d}")}
        _check_text(record, self.options.max_text_characters)
        targets = {task.name: read_target(task, record) for task in self.tasks}
        _refuse_repeated(record["id"], self.places)
        line, is_mended = _written(record)
        self.places[record["id"]] = place
        self.missing_ids += _is_missing(item.get("id"))
        self.non_finite += is_mended
        self.labelled.update(name for name, target in targets.items() if target is not None)
        self.renormalised.update(task.name for task in self.tasks if _is_rounded(task, record))
        if len(self.labelled) < len(self.tasks):
            self.record_names.update(_names(record))
        return line

    def _renamed(self, item: dict[str, Any]) -> dict[str, Any]:
        """Take the fields that are asked for from their columns; what is not keeps its name."""
        if not self.columns:
            return item
        taken = {field: _at(item, column) for field, column in self.columns.items()}
        self.unseen -= {field for field, value in taken.items() if value is not None}
        if self.unseen:
            self.source_names.update(_names(item))
        renamed = {name: value for name, value in item.items() if name not in self.columns.values()}
        for field, value in taken.items():
            if value is not None or lookup(renamed, field) is not None:
                put(renamed, field, value)
        return renamed

    def _refuse_missing_columns(self, path: Path) -> None:
        names = sorted(self.source_names)
        if not self.unseen or not names:  # no names: nothing was an object, which is the worse
            return
        problems = [
            f"no record has a value in the column '{column}' for '{field}'{_nearest(column, names)}"
            for field, column in sorted(self.columns.items())
            if field in self.unseen
        ]
        raise UserError(f"{path}: {'; '.join(problems)}; the source has {', '.join(names)}")

    def _refuse_unlabelled(self) -> None:
        """Stop where a task has no label at all: its field is most likely misnamed."""
        names = sorted(self.record_names)
        problems = [
            f"task '{task.name}': no record has a label in '{task.field}'"
            f"{_nearest(task.field, names)}"
            for task in self.tasks
            if not self.labelled[task.name]
        ]
        if problems:
            raise UserError(
                f"{'; '.join(problems)}; the records have the fields {', '.join(names)}"
            )


def _names(record: Record) -> Iterator[str]:
    """Yield the names of all fields that hold a value, those in objects with a dot."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value if value[inner] is not None)
        if value is not None:
            yield name


def _nearest(name: str, names: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean '{nearest[0]}'?)" if nearest and nearest[0] != name else ""


def _at(item: Record, column: str) -> Any:
    """Return the value of a column, whose name may hold a dot, or at a path into objects."""
    return item[column] if column in item else lookup(item, column)


# --- from an item to a record -----------------------------------------------------------------


def _modernised(item: dict[str, Any]) -> dict[str, Any]:
    """Add the fields of today under which older files hold other names; remove nothing."""
    older = {"emotions": item.get("emotion_vector")}
    metadata = item.get("metadata")
    if isinstance(metadata, dict):
        older |= {name: metadata.get(name) for name in ("title", "action", "label")}
    lifted = {
        name: value for name, value in older.items() if value is not None and item.get(name) is None
    }
    return {**item, **lifted}


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _identity(value: Any, default: str) -> str:
    if _is_missing(value):
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"field 'id': expected a string or an integer, got {type(value).__name__}")
    return str(value)


def _check_text(record: Record, max_characters: int) -> None:
    text = record.get("text")
    if text is None:
        raise ValueError(f"no text in the field 'text'{_wrapped(record)}")
    if not isinstance(text, str):
        raise ValueError(f"field 'text': expected a string, got {type(text).__name__}")
    if all(unicodedata.category(character) in INVISIBLE for character in text):
        raise ValueError("empty text")
    if len(text) > max_characters:
        raise ValueError(
            f"field 'text': {len(text):,} characters, more than data.max_text_characters "
            f"({max_characters:,})"
        )


def _wrapped(record: Record) -> str:
    """Say where the records most likely are if an object stands around them."""
    for name, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"; if the list '{name}' holds the records, `jq -c '.{name}[]'` makes JSON Lines"
    return ""


def _refuse_repeated(identity: str, places: Mapping[str, str]) -> None:
    if identity in places:
        raise ValueError(f"repeated id: {places[identity]} has it too")


def _written(record: Record) -> tuple[bytes, bool]:
    """Return the line, and whether NaN or infinity, which JSON does not know, became null in it."""
    try:
        return _encoded(record), False
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise ValueError(f"lone surrogate {lone!r} in a string: half of a character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        return _encoded({name: _finite(value) for name, value in record.items()}), True


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def _shown_id(item: Any, column: str) -> str | None:
    """Return an item's id as a short text that can be written to a report."""
    value = _at(item, column) if isinstance(item, dict) else None
    if _is_missing(value):
        return None
    return str(value)[:80].encode("utf-8", "backslashreplace").decode("utf-8")


def _is_rounded(task: Task, record: Record) -> bool:
    """Tell whether a distribution's sum was within the tolerance but not 1."""
    has_sum = task.kind == "distribution" and not task.normalize
    return has_sum and abs(_total(task, record) - 1) > ROUNDING


def _total(task: Task, record: Record) -> float:
    """Return the sum of a valid distribution; 1 where the record has none."""
    value = lookup(record, task.field)
    if value is None:
        return 1.0
    given = [value.get(name) for name in task.classes] if isinstance(value, Mapping) else value
    return math.fsum(item for item in given if item is not None)
