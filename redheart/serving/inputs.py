"""The texts to predict: records of any source, lines of plain text, or what a program pipes in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from redheart.data.absences import TEXT, hint_of, listed, names_of
from redheart.data.decoding import decoded, is_undecoded
from redheart.data.encodings import how_to_convert, probable
from redheart.data.quoting import rows
from redheart.data.records import check_text, written
from redheart.data.sources import read_items
from redheart.data.tables import SEPARATORS, put, separator_of, suffix_of
from redheart.errors import UserError
from redheart.json_values import with_nulls
from redheart.serving import streams
from redheart.serving.streams import WAITING, Item, bare
from redheart.spelling import nfc, with_nfc_names
from redheart.storage import files
from redheart.tasks.task import lookup

Format = Literal["json", "csv", "tsv", "plain"]
FORMATS: tuple[Format, ...] = ("json", "csv", "tsv", "plain")
STANDARD_INPUT = "-"
JSON_LINES, PLAIN = (".jsonl", ".ndjson"), ".txt"
TABLES = tuple(suffix[1:] for suffix in SEPARATORS)
# The first bytes of files that are no text, and of texts in other encodings.
NO_TEXT = (b"PK", b"PAR1", b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff")


class Given(NamedTuple):
    """A text to predict, or why there is none."""

    place: str
    """Where it stands, such as `line 3`; "": nothing is there yet, and it may be long in coming."""
    record: dict[str, Any]
    """The record with its fields, `text` among them; {} where there is none."""
    refusal: str = ""
    """Why it cannot be predicted; "" for a text that can."""
    is_mended: bool = False
    """Whether NaN or infinity, which JSON does not have, became null in another field."""
    remedy: str = "mend it"
    """What to do about a text that cannot be predicted."""


@dataclass(frozen=True)
class Input:
    """Where texts come from, and how they are read."""

    path: str = STANDARD_INPUT
    """A file, a pipe, a folder that `datasets` saved, or `-` for standard input."""
    format: Format | None = None
    """How it is read; None: by its name and its content."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Fields of the records, each with the column that it is taken from, as in {text: body}."""
    table_fields: list[str] = field(default_factory=list)
    """The fields of a table, in the order of its columns, known once its first row is read."""

    def refuse_missing(self) -> None:
        """Raise a UserError if there is no such file."""
        if self.path != STANDARD_INPUT and not Path(self.path).exists():
            raise files.unreadable(self.path, FileNotFoundError())

    def texts(self) -> Iterator[Given]:
        """Yield each text in order, and one without a place where a pipe has no more for now.

        A cell of a table stays the text that it is, and an empty cell is left out.

        Raises
        ------
        UserError
            The input cannot be read, or cannot be read further than some place.
        """
        for place, item in self._items():
            given = Given("", {}) if item is WAITING else _given(place, item, self.columns)
            if isinstance(item, ValueError) and is_undecoded(item) and Path(self.path).is_file():
                given = given._replace(remedy=self._conversion)
            yield given

    @cached_property
    def _conversion(self) -> str:
        """What to do about bytes that are not UTF-8: not all of the file need be such."""
        encoding = probable(Path(self.path))
        return how_to_convert(Path(self.path), encoding) if encoding else "mend it"

    def _items(self) -> Iterator[Item]:
        path = Path(self.path)
        if self.path == STANDARD_INPUT:
            if sys.stdin is None:
                raise UserError("standard input is closed; name a file of texts")
            yield from self._piped(sys.stdin.buffer, "standard input")
        elif path.exists() and not path.is_file() and not path.is_dir():
            try:
                with open(path, "rb") as stream:
                    yield from self._piped(stream, str(path))
            except OSError as error:
                raise files.unreadable(path, error) from None
        else:
            yield from self._filed(path)

    def _filed(self, path: Path) -> Iterator[Item]:
        """Yield the items of a file or of a folder of `datasets`."""
        if path.is_dir():
            yield from read_items(path)
            return
        suffix, named = suffix_of(path), self.format
        with files.opened(path) as stream:
            beginning = streams.first_of(stream)
            if not bare(beginning):
                return
            if named == "plain" or (named is None and suffix == PLAIN):
                yield from streams.plain_lines(stream, beginning, str(path))
                return
            if suffix in JSON_LINES and named in (None, "json") and _is_text(beginning):
                yield from streams.json_lines(stream, beginning)
                return
        if named in TABLES and suffix != f".{named}":
            yield from self._as_if(streams.renamed(path, f".{named}"), str(path))
            return
        if suffix not in SEPARATORS and not _is_json(beginning) and _is_text(beginning):
            raise _no_json(str(path))
        yield from self._read(path)

    def _piped(self, stream: IO[bytes], name: str) -> Iterator[Item]:
        """Yield the items of a pipe: lines as they come, other formats when all of it has come."""
        beginning = streams.first_of(stream)
        if not bare(beginning):
            return
        if self.format == "plain":
            yield from streams.plain_lines(stream, beginning, name)
        elif self.format in TABLES or not _is_text(beginning):
            suffix = f".{self.format}" if self.format else ""
            yield from self._as_if(streams.spooled(stream, beginning, suffix), name)
        elif self.format == "json" or _is_json(beginning):
            yield from streams.json_lines(stream, beginning)
        else:
            raise _no_json(name)

    def _as_if(self, named: AbstractContextManager[Path], name: str) -> Iterator[Item]:
        """Yield the items of a file that has a name for the moment; messages call it by another."""
        with named as path:
            try:
                yield from self._read(path)
            except UserError as error:
                raise UserError(str(error).replace(str(path), name)) from None

    def _read(self, path: Path) -> Iterator[Item]:
        """Yield the items of a file as a run reads them; of a table, note its fields first."""
        suffix = suffix_of(path)
        if suffix in SEPARATORS:
            with files.opened(path) as stream:
                beginning = streams.first_of(stream)
                stream.seek(0)
                if not _is_json(beginning):
                    header = next(rows(decoded(stream), separator_of(suffix, bare(beginning))))
                    self._note(header.cells)
        yield from read_items(path, _Everything())

    def _note(self, cells: Sequence[str] | ValueError) -> None:
        field_of = {nfc(column): name for name, column in self.columns.items()}
        for cell in () if isinstance(cells, ValueError) else cells:
            if name := nfc(cell.strip()):
                self.table_fields.append(field_of.get(name, name))


class _Everything:
    """A container of every name: all cells of a table stay the texts that they are."""

    def __contains__(self, name: object) -> bool:
        return True


def from_words(texts: Sequence[str]) -> Iterator[Given]:
    """Yield the texts of a command line."""
    for number, text in enumerate(texts, 1):
        yield _given(f"text {number}", {TEXT: text}, {})


def _is_json(beginning: bytes) -> bool:
    return bare(beginning).startswith((b"{", b"["))


def _is_text(beginning: bytes) -> bool:
    """Tell whether lines of text may follow: neither an array nor something packed."""
    return not bare(beginning).startswith((b"[", *NO_TEXT)) and b"\0" not in beginning[:4]


def _no_json(name: str) -> UserError:
    return UserError(
        f"{name}: begins with neither [ nor {{, so it is no JSON; say --plain for lines of text, "
        "--input-format csv or tsv for a table"
    )


# --- records ----------------------------------------------------------------------------------


def _given(place: str, item: Any, columns: Mapping[str, str]) -> Given:
    """Return an item's record, checked as a run checks its records."""
    try:
        if isinstance(item, ValueError):
            raise item
        if not isinstance(item, dict):
            raise ValueError(f'expected an object, {{"text": "..."}}, got {type(item).__name__}')
        record = _renamed(with_nfc_names(item), columns) if columns else item
        if record.get(TEXT) is None:
            raise ValueError(_without_text(record))
        check_text(record, sys.maxsize)
        _, is_mended = written(record)
        return Given(place, with_nulls(record) if is_mended else record, is_mended=is_mended)
    except RecursionError:
        return Given(place, {}, "nested too deeply")
    except ValueError as reason:
        return Given(place, {}, str(reason))


def _renamed(item: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Take fields from their columns, as `data.columns` of a run does."""
    columns = {nfc(name): nfc(column) for name, column in columns.items()}
    values = {name: lookup(item, column) for name, column in columns.items()}
    if TEXT in columns and values[TEXT] is None:  # a `text` of its own was not asked for
        names = sorted(names_of(item))
        column = columns[TEXT]
        has = f"; the record has {listed(names)}" if names else ""
        raise ValueError(f"no text in the column '{column}'{hint_of(column, names)}{has}")
    record = {name: value for name, value in item.items() if name not in columns.values()}
    for name, value in values.items():
        if value is not None:
            put(record, name, value)
    return record


def _without_text(record: Mapping[str, Any]) -> str:
    """Say that a record has no text, which fields it has, and how to name the one that is meant."""
    names = sorted(names_of(record))
    if not names:
        return "no text in the field 'text'"
    return (
        f"no text in the field 'text'{hint_of(TEXT, names)}; the record has {listed(names)}; "
        "name the column of the text, --column text=COLUMN"
    )
