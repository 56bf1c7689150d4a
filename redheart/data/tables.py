"""Tables as text: rows of CSV and TSV as items."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from redheart.data.decoding import Item, LostRows, decoded, is_undecoded, refuse_undecoded, tried
from redheart.data.encodings import how_to_convert, probable
from redheart.data.quoting import Unclosed, is_plain, rows
from redheart.errors import UserError
from redheart.spelling import nfc

# The separator of a table, by the suffix of its name; a CSV's may be another.
SEPARATORS = {".csv": ",", ".tsv": "\t"}

# The first characters of JSON numbers, lists and objects.
VALUE = tuple("-0123456789[{")


def separator_of(suffix: str, beginning: bytes) -> str:
    """Return a table's separator; a CSV from a country with a decimal comma has semicolons."""
    header = beginning.partition(b"\n")[0].decode("utf-8", "replace")
    return max(",;\t", key=header.count) if suffix == ".csv" else SEPARATORS[suffix]


def suffix_of(path: Path) -> str:
    """Return the suffix of a file's name that may make it a table, whatever packs it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def row_items(
    path: Path, stream: IO[bytes], separator: str, as_text: Container[str]
) -> Iterator[Item]:
    """Yield the place and the content of each row of a table."""
    text = decoded(stream)
    every_row = rows(text, separator, is_plain(path, text, separator))
    first = next(every_row)
    names = tried(_column_names, first.cells)
    if isinstance(names, ValueError):
        if is_undecoded(names):
            how = how_to_convert(path, probable(path))
            raise UserError(f"{path}: line {first.line}: the header: {names}; {how}")
        raise UserError(f"{path}: line {first.line}: the header: {names}; mend it")
    for row in every_row:
        if isinstance(row.cells, Unclosed):
            raise UserError(
                f"{path}: line {row.line}: a quote is opened and not closed ({row.cells}); close it"
            )
        item = tried(_row, names, row.cells, as_text)
        if isinstance(item, ValueError) and len(row.lines) > 1:
            item = LostRows(str(item), len(row.lines))
        yield f"line {row.line}", item


def _column_names(header: Sequence[str] | ValueError) -> list[str]:
    """Check a header; a column without a name, as pandas writes its index, is left out later."""
    if isinstance(header, ValueError):
        raise header
    refuse_undecoded("\n".join(header))
    names = [nfc(name.strip()) for name in header]
    for name in filter(None, names):
        if names.count(name) > 1:
            raise ValueError(f"several columns are named '{name}'")
        if inner := [column for column in names if column.startswith(f"{name}.")]:
            raise ValueError(f"'{name}' cannot hold a value and '{inner[0]}' too")
    return names


def _row(
    names: Sequence[str], cells: Sequence[str] | ValueError, as_text: Container[str]
) -> dict[str, Any]:
    if isinstance(cells, ValueError):
        raise cells
    if len(cells) != len(names):
        raise ValueError(f"expected {len(names)} cells, as in the header, got {len(cells)}")
    refuse_undecoded("\n".join(cells))
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        if name and cell:
            put(row, name, cell if name in as_text else _cell(cell))
    return row


def put(item: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making the objects on the way."""
    *outer, last = path.split(".")
    for key in outer:
        if item.get(key) is None:
            item[key] = {}
        item = item[key]
        if not isinstance(item, dict):
            raise ValueError(f"field '{key}': expected an object, to hold '{path}'")
    item[last] = value


def _cell(cell: str) -> Any:
    """Return the value of a cell that is a JSON number, list or object; any other cell as it is."""
    if not cell.lstrip().startswith(VALUE):
        return cell
    try:
        return json.loads(cell, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return cell


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
