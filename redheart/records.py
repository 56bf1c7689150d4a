"""One record: read it from a source file, validate it, write it; what is refused says why."""

from __future__ import annotations

import codecs
import difflib
import gzip
import json
import math
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from redheart.errors import UserError
from redheart.files import atomic
from redheart.tasks import Record, Task, labelled_share, lookup, read_target

GZIP_MAGIC = b"\x1f\x8b"
# Unicode categories that show nothing: control, format, and the three kinds of separators.
INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# A distribution whose sum differs from 1 by more than this counts as renormalised.
ROUNDING = 1e-6


@dataclass(frozen=True)
class RecordOptions:
    """Which records of the source are accepted, and how many may be refused."""

    max_rejected_share: float = 0.05
    """More rejected records than this share of those read stop the run; 0 to 1."""
    max_text_characters: int = 100_000
    """Longer texts are rejected; characters, 1 or more."""


def read_source(
    path: str | Path, tasks: Sequence[Task], options: RecordOptions
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read a source file into validated records; the invalid ones are set aside with a reason.

    The file is a JSON array or JSON Lines, plain or gzip; its content decides, not its name.
    Of records that share an id the first is kept. A missing id becomes `record-<number>`.

    Returns
    -------
    records
        Each with at least `id` and `text`, in the order of the file.
    report
        `source`, `read`, `kept`, `rejected` (place, id, reason), `rejected_count`,
        `labelled` (share by task), `renormalised` (distributions whose sum was not quite 1,
        by task), `missing_ids` and `non_finite` (records in which NaN or infinity, in a field
        that no task reads, became null).

    Raises
    ------
    UserError
        The file cannot be read, holds no valid record or too many invalid ones, or a task is
        labelled in none.
    """
    path = Path(path)
    records: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    places: dict[str, str] = {}
    read = missing_ids = non_finite = 0
    for read, (place, raw) in enumerate(_items(path), start=1):
        item: Any = None
        try:
            item = _parse_line(raw) if isinstance(raw, bytes) else raw
            record = _validated(item, f"record-{read:06d}", tasks, options)
            _refuse_repeated(record["id"], places)
            written = _writable(record)
        except ValueError as reason:
            rejected.append({"place": place, "id": _shown_id(item), "reason": str(reason)})
            continue
        places[record["id"]] = place
        missing_ids += _is_missing(item.get("id"))
        non_finite += written is not record  # a copy, in which something became null
        records.append(written)
    _refuse_bad_source(path, read, rejected, options)
    labelled = labelled_share(tasks, records)
    _refuse_unlabelled([task for task in tasks if not labelled[task.name]], records)
    report = {
        "source": path.name,
        "read": read,
        "kept": len(records),
        "rejected": rejected,
        "rejected_count": len(rejected),
        "labelled": labelled,
        "renormalised": _renormalised(tasks, records),
        "missing_ids": missing_ids,
        "non_finite": non_finite,
    }
    return records, report


def write_jsonl(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON Lines, atomically; NaN and infinity are refused."""
    with atomic(path) as stream:
        for record in records:
            line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
            stream.write(line.encode("utf-8"))


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read JSON Lines that an earlier step wrote.

    Raises
    ------
    UserError
        The file is missing or a line is broken.
    """
    records = []
    with _opened(Path(path)) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                records.append(_parse_line(line))
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


# --- from a file to items ---------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain or compressed file as bytes; what goes wrong in it is told in one line."""
    try:
        with open(path, "rb") as stream:
            compressed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            if not compressed:
                yield stream
                return
            with gzip.open(stream) as unpacked:
                yield unpacked  # type: ignore[misc]
    except FileNotFoundError:
        raise UserError(f"{path}: the file is missing; check data.source") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; name a file") from None
    except PermissionError:
        raise UserError(f"{path}: no permission to read; allow it with chmod") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: the gzip file is cut off or damaged ({error}); copy it again"
        ) from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); copy it to a local file"
        ) from None


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record's place and content: a JSON Line as bytes, an array's item as it is."""
    with _opened(path) as stream:
        first = next((line for line in map(_bare, stream) if line), b"")
        if not first:
            raise UserError(f"{path}: the file is empty; it must hold records")
        stream.seek(0)
        if first.startswith(b"["):
            for number, item in enumerate(_parse_array(path, stream.read()), start=1):
                yield f"item {number}", item
            return
        _refuse_spread_object(path, first, stream)
        for number, line in enumerate(stream, start=1):
            if _bare(line):
                yield f"line {number}", line


def _bare(line: bytes) -> bytes:
    """Strip white space and a byte order mark (joined files hold several)."""
    return line.removeprefix(codecs.BOM_UTF8).strip()


def _parse_array(path: Path, content: bytes) -> list[Any]:
    """Parse a JSON array; a broken one cannot be recovered."""
    try:
        items: list[Any] = json.loads(content.decode("utf-8-sig"))
        return items
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 (byte 0x{content[error.start]:02x} in line "
            f"{content.count(bytes([10]), 0, error.start) + 1}); save it as UTF-8"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: broken JSON at line {error.lineno} column {error.colno} ({error.msg}); mend "
            "it, or use JSON Lines, where a broken line costs one record"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: unreadable JSON ({error}); use JSON Lines") from None


def _parse_line(line: bytes) -> Any:
    """Parse one JSON Line; a ValueError says in words what is wrong with it."""
    line = line.removeprefix(codecs.BOM_UTF8).rstrip()
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8 (byte 0x{line[error.start]:02x} at byte {error.start + 1})"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at column {error.colno} ({error.msg})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_spread_object(path: Path, first: bytes, stream: IO[bytes]) -> None:
    """Refuse a file whose first object spans lines: each line of it would be rejected."""
    try:
        _parse_line(first)
        return
    except ValueError:
        text = stream.read().decode("utf-8-sig", errors="replace").lstrip()
        stream.seek(0)
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return
    if "\n" in text[:end]:
        raise UserError(
            f"{path}: begins with a JSON object over several lines; expected an array of records "
            "or JSON Lines, one object a line (the command `jq -c` makes them)"
        )


# --- from an item to a record -----------------------------------------------------------------


def _validated(
    item: Any, default_id: str, tasks: Sequence[Task], options: RecordOptions
) -> dict[str, Any]:
    """Return the item as a record; a ValueError says why it is none."""
    if not isinstance(item, dict):
        raise ValueError(f"expected an object, got {type(item).__name__}")
    record = {**_modernised(item), "id": _identity(item.get("id"), default_id)}
    _check_text(record.get("text"), options.max_text_characters)
    for task in tasks:
        read_target(task, record)
    return record


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


def _check_text(text: Any, max_characters: int) -> None:
    if text is None:
        raise ValueError("no field 'text'")
    if not isinstance(text, str):
        raise ValueError(f"field 'text': expected a string, got {type(text).__name__}")
    if all(unicodedata.category(character) in INVISIBLE for character in text):
        raise ValueError("empty text")
    if len(text) > max_characters:
        raise ValueError(
            f"field 'text': {len(text):,} characters, more than data.max_text_characters "
            f"({max_characters:,})"
        )


def _refuse_repeated(identity: str, places: Mapping[str, str]) -> None:
    if identity in places:
        raise ValueError(f"repeated id: {places[identity]} has it too")


def _writable(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record, or a copy with null for NaN and infinity, which JSON does not know."""
    try:
        json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8")
        return record
    except UnicodeEncodeError as error:
        lone = error.object[error.start]
        raise ValueError(f"lone surrogate {lone!r} in a string: half of a character") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        return {name: _finite(value) for name, value in record.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def _shown_id(item: Any) -> str | None:
    """Return an item's id as a short text that can be written to a report."""
    value = item.get("id") if isinstance(item, dict) else None
    if _is_missing(value):
        return None
    return str(value)[:80].encode("utf-8", "backslashreplace").decode("utf-8")


# --- the source as a whole --------------------------------------------------------------------


def _refuse_bad_source(
    path: Path, read: int, rejected: Sequence[Mapping[str, Any]], options: RecordOptions
) -> None:
    """Stop where nothing, or too little, of the source is left."""
    if not read:
        raise UserError(f"{path}: the array is empty; it must hold records")
    first = "; ".join(f"{entry['place']}: {entry['reason']}" for entry in rejected[:3])
    if len(rejected) == read:
        raise UserError(f"{path}: none of {read:,} records is valid ({first})")
    share = len(rejected) / read
    if share > options.max_rejected_share:
        raise UserError(
            f"{path}: {len(rejected):,} of {read:,} records ({share:.2%}) are invalid, more than "
            f"{options.max_rejected_share:.2%} ({first}); mend them or raise "
            "data.max_rejected_share"
        )


def _refuse_unlabelled(unlabelled: Sequence[Task], records: Sequence[Record]) -> None:
    """Stop where a task has no label at all: its field is most likely misnamed."""
    if not unlabelled:
        return
    fields = _fields_present(records)
    problems = []
    for task in unlabelled:
        nearest = difflib.get_close_matches(task.field, fields, n=1)
        hint = f" (did you mean '{nearest[0]}'?)" if nearest and nearest[0] != task.field else ""
        problems.append(f"task '{task.name}': no record has a label in '{task.field}'{hint}")
    raise UserError(f"{'; '.join(problems)}; the records have the fields {', '.join(fields)}")


def _fields_present(records: Sequence[Record]) -> list[str]:
    """Return the names of all fields that hold a value, those in objects with a dot."""
    names: set[str] = set()
    for record in records:
        for name, value in record.items():
            if isinstance(value, dict):
                names.update(f"{name}.{inner}" for inner in value if value[inner] is not None)
            if value is not None:
                names.add(name)
    return sorted(names)


def _renormalised(tasks: Sequence[Task], records: Sequence[Record]) -> dict[str, int]:
    """Count the distributions whose sum was within the tolerance but not 1, by task."""
    return {
        task.name: sum(abs(_total(task, record) - 1) > ROUNDING for record in records)
        for task in tasks
        if task.kind == "distribution" and not task.normalize
    }


def _total(task: Task, record: Record) -> float:
    """Return the sum of a valid distribution; 1 where the record has none."""
    value = lookup(record, task.field)
    if value is None:
        return 1.0
    given = [value.get(name) for name in task.classes] if isinstance(value, Mapping) else value
    return math.fsum(item for item in given if item is not None)
