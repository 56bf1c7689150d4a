"""Tables that pyarrow reads: Parquet, and the folders that `datasets.save_to_disk` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from redheart.errors import UserError
from redheart.storage import files

PARQUET_MAGIC = b"PAR1"
# Rows that are turned into items at once.
BATCH_ROWS = 256


def parquet_items(path: Path, stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the place and the content of each row of a Parquet file."""
    with _pyarrow(path) as pyarrow:
        table = pyarrow.parquet.ParquetFile(stream)
        rows = _rows(table.schema_arrow, table.iter_batches(BATCH_ROWS))
        yield from ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def dataset_items(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the content of each row of a data set, or of all its splits in turn."""
    for split, shards in _shards(folder).items():
        number = 0
        for shard in shards:
            with _pyarrow(shard) as pyarrow, files.opened(shard) as stream:
                table = pyarrow.ipc.open_stream(stream)
                for row in _rows(table.schema, table):
                    number += 1
                    yield f"{split}row {number}", row


def dataset_files(folder: Path) -> list[str]:
    """Return the files that a data set's items come from.

    Raises
    ------
    UserError
        The folder was not written by `datasets.save_to_disk`.
    """
    arrows = [shard for shards in _shards(folder).values() for shard in shards]
    states = sorted({shard.parent / "state.json" for shard in arrows})
    splits = [folder / "dataset_dict.json"]
    return [str(path) for path in (*filter(Path.is_file, splits), *states, *arrows)]


def _shards(folder: Path) -> dict[str, list[Path]]:
    """Return the Arrow files of each split; the keys are the prefixes of the rows' places."""
    if (folder / "dataset_dict.json").is_file():
        names = _described(folder / "dataset_dict.json", "splits")
        return {f"{name} ": _shards_of(folder / name) for name in names}
    if (folder / "state.json").is_file():
        return {"": _shards_of(folder)}
    raise UserError(
        f"{folder}: is a directory; name a file, or a folder that `datasets.save_to_disk` wrote"
    )


def _shards_of(folder: Path) -> list[Path]:
    entries = _described(folder / "state.json", "_data_files")
    return [folder / entry["filename"] for entry in entries]


def _described(path: Path, key: str) -> list[Any]:
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise UserError(f"{path}: has no list '{key}'; save the data set again")
    return list(content[key])


@contextmanager
def _pyarrow(path: Path) -> Iterator[Any]:
    """Lend pyarrow, and turn its errors about a file into a UserError of one line."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{path}: to read it takes pyarrow; install it (`pip install pyarrow`)"
        ) from None
    try:
        yield pyarrow
    except pyarrow.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: is cut off or damaged ({reason}); copy it again") from None


def _rows(schema: Any, batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    names = _class_names(schema)
    for batch in batches:
        for start in range(0, len(batch), BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                yield {
                    name: _named(value, names[name]) if name in names else _plain(value)
                    for name, value in row.items()
                }


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of the classes that `datasets` stores as numbers, by column."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features: Mapping[str, Any] = metadata.get("info", {}).get("features") or {}
    names_by_column = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, Mapping) else None
        if isinstance(inner, Mapping) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            names_by_column[column] = list(inner["names"])
    return names_by_column


def _named(value: Any, names: list[str]) -> Any:
    """Return the name of the class that a number stands for; None if there is no such class."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if value is not None and 0 <= value < len(names) else None


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: dates in ISO 8601; bytes as text, None if not UTF-8."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return _decoded(value)
    return str(value)


def _decoded(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
