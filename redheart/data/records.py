"""One record: an item of a source is checked, refused with a reason, or written as a line."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from redheart.data.sources import parse_line
from redheart.errors import UserError
from redheart.json_values import with_nulls
from redheart.limits import AtLeast, AtMost, MostItems, NotEmpty
from redheart.storage.files import atomic, opened
from redheart.tasks.task import Record, Task, lookup

# Unicode categories that show nothing: control, format, and the three kinds of separators.
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# A distribution whose sum differs from 1 by more than this counts as renormalised.
ROUNDING = 1e-6
# Fields of a table that are text even where a cell looks like a number. Classes are text too.
TEXT_FIELDS = ("id", "text", "title", "action", "label", "timestamp")


@dataclass(frozen=True)
class RecordOptions:
    """Which records of the source are accepted, and how many may be refused."""

    max_rejected_share: Annotated[float, AtLeast(0), AtMost(1)] = 0.05
    """Share of the records that may be refused before the run stops."""
    max_text_characters: Annotated[int, AtLeast(1), AtMost(1_000_000_000)] = 100_000
    """Characters that a text may have; a longer one is refused."""
    columns: Mapping[str, Annotated[str, NotEmpty()]] | None = None
    """Fields of the records, each with the column of the source that it is taken from, as in
    `{text: body}`; dots reach into objects; null: every column keeps its name."""
    allow: Annotated[tuple[Annotated[str, NotEmpty()], ...], MostItems(10_000)] = ()
    """Classes that no record needs to have, or that may be 1 in all of them; a task's name allows
    all its classes, and the field of `stratify_by` allows that none has it."""


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


def modernised(item: dict[str, Any]) -> dict[str, Any]:
    """Add today's names of the fields that older files name differently; remove nothing."""
    older = {"emotions": item.get("emotion_vector")}
    metadata = item.get("metadata")
    if isinstance(metadata, dict):
        older |= {name: metadata.get(name) for name in ("title", "action", "label")}
    lifted = {
        name: value for name, value in older.items() if value is not None and item.get(name) is None
    }
    return {**item, **lifted}


def is_missing(value: Any) -> bool:
    """Tell whether a value is null or a text that shows nothing."""
    return value is None or (isinstance(value, str) and not value.strip())


def identity_of(value: Any, default: str) -> str:
    """Return the id of a record as text, or the default where it has none."""
    if is_missing(value):
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"field 'id': expected a string or an integer, got {type(value).__name__}")
    return str(value)


def check_text(record: Record, max_characters: int) -> None:
    """Raise a ValueError for a text that is missing, empty or too long."""
    text = record.get("text")
    if text is None:
        raise ValueError(f"no text in the field 'text'{wrapped(record)}")
    if not isinstance(text, str):
        raise ValueError(f"field 'text': expected a string, got {type(text).__name__}")
    if all(unicodedata.category(character) in INVISIBLE for character in text):
        raise ValueError("empty text")
    if len(text) > max_characters:
        raise ValueError(
            f"field 'text': {len(text):,} characters, more than data.max_text_characters "
            f"({max_characters:,})"
        )


def wrapped(record: Record) -> str:
    """Return a hint for an object that holds all the records in a list; else an empty text."""
    for name, value in record.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"; if the list '{name}' holds the records, `jq -c '.{name}[]'` makes JSON Lines"
    return ""


def refuse_repeated(identity: str, places: Mapping[str, str]) -> None:
    """Raise a ValueError for an id that an earlier record has."""
    if identity in places:
        raise ValueError(f"repeated id: {places[identity]} has it too")


def written(record: Record) -> tuple[bytes, bool]:
    """Return the line, and whether NaN or infinity, which JSON does not have, became null in it."""
    try:
        return _encoded(record), False
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise ValueError(f"lone surrogate {lone!r} in a string: half of a character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        return _encoded(with_nulls(dict(record))), True


def is_rounded(task: Task, record: Record) -> bool:
    """Tell whether a distribution's sum was within the tolerance but not 1."""
    has_sum = task.kind == "distribution" and not task.normalize
    return has_sum and abs(_total(task, record) - 1) > ROUNDING


def _total(task: Task, record: Record) -> float:
    """Return the sum of a valid distribution; 1 where the record has none."""
    value = lookup(record, task.field)
    if value is None:
        return 1.0
    shares = [value.get(name) for name in task.classes] if isinstance(value, Mapping) else value
    return math.fsum(item for item in shares if item is not None)
