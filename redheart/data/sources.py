"""Any source as a stream of items: JSON, JSON Lines, CSV, TSV, Parquet, a folder of `datasets`."""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from redheart.data import arrow
from redheart.data.decoding import (
    JSON,
    NOT_UTF8,
    Item,
    StandsTwice,
    decoded,
    refuse_undecoded,
    tried,
)
from redheart.data.tables import SEPARATORS, row_items, separator_of, suffix_of
from redheart.errors import UserError
from redheart.storage.files import opened

# Bytes or characters that are read at once.
CHUNK = 1 << 16

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
ZIP_MAGIC = b"PK\x03\x04"

# In characters. No word, escape or sign of an exponent of JSON is longer.
LONGEST_WORD = 16
# The only other error of Python's reader of JSON: it reads no longer number.
LONG_NUMBER = "a number of more than 4,300 digits; write it as a text"
JSON_SPACE = re.compile(r"[ \t\n\r]*")


def read_items(path: str | Path, as_text: Container[str] = ()) -> Iterator[Item]:
    """Yield the place (`line 3`) and the content of each item of a source, in its order.

    The content of the file decides its format; only the suffixes `.csv` and `.tsv` of its name
    count. In a CSV or TSV, a cell that is a JSON number, list or object is read as that value, an
    empty cell is left out, and a dot in a column's name makes an object. If an item is broken but
    the items behind it can be read, its content is a ValueError that says what is wrong with it.

    Parameters
    ----------
    as_text : columns of CSV and TSV whose cells stay as they are.

    Raises
    ------
    UserError
        The source cannot be read, or cannot be read further than some place.
    """
    path = Path(path)
    if path.is_dir():
        yield from arrow.dataset_items(path)
        return
    with opened(path) as stream:
        beginning = _beginning(stream)
        suffix = suffix_of(path)
        if not beginning:
            raise UserError(f"{path}: the file is empty; it must hold records")
        if beginning.startswith(ZIP_MAGIC):
            raise UserError(
                f"{path}: is a ZIP file, such as a workbook of Excel; save its sheet as CSV in "
                "UTF-8, or unpack it"
            )
        if beginning.startswith((*UTF16, *UTF32)) or b"\0" in beginning[:4]:
            name = "UTF-32" if beginning.startswith(UTF32) else "UTF-16"
            raise UserError(f"{path}: is {name}, not UTF-8; save it as UTF-8 (the command `iconv`)")
        if beginning.startswith(arrow.PARQUET_MAGIC):
            yield from arrow.parquet_items(path, stream)
        elif beginning.startswith(b"["):
            yield from _array_items(path, stream)
        elif beginning.startswith(b"{"):
            yield from _line_items(path, stream)
        elif suffix in SEPARATORS:
            yield from row_items(path, stream, separator_of(suffix, beginning), as_text)
        else:
            raise UserError(
                f"{path}: line 1 begins with neither [ nor {{, so it is no JSON; give a table a "
                "name that ends in .csv or .tsv"
            )


def input_files(path: str | Path) -> list[str]:
    """Return the files of a source: the source itself, or the files of a folder.

    Raises
    ------
    UserError
        One of the files cannot be opened, or the folder is no data set.
    """
    paths = arrow.dataset_files(Path(path)) if Path(path).is_dir() else [str(path)]
    for name in paths:
        with opened(name):
            pass
    return paths


def parse_line(line: bytes) -> Any:
    """Parse one JSON Line; a ValueError says in words what is wrong with it."""
    line = line.removeprefix(codecs.BOM_UTF8).rstrip()
    try:
        return JSON.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{NOT_UTF8} (byte 0x{line[error.start]:02x} at byte {error.start + 1})"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at column {error.colno} ({error.msg})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except StandsTwice:
        raise
    except ValueError:
        raise ValueError(LONG_NUMBER) from None


def _bare(content: bytes) -> bytes:
    """Strip white space and a byte order mark (joined files hold several)."""
    return content.removeprefix(codecs.BOM_UTF8).strip()


def _beginning(stream: IO[bytes]) -> bytes:
    """Return the first chunk that is more than white space, stripped, and rewind."""
    beginning = b""
    while not beginning and (chunk := stream.read(CHUNK)):
        beginning = _bare(chunk)
    stream.seek(0)
    return beginning


def _line_items(path: Path, stream: IO[bytes]) -> Iterator[Item]:
    _refuse_spread_object(path, stream)
    for number, line in enumerate(stream, start=1):
        if _bare(line):
            yield f"line {number}", tried(parse_line, line)


def _refuse_spread_object(path: Path, stream: IO[bytes]) -> None:
    """Refuse a file whose first object spans several lines: every line would be rejected."""
    lines = filter(None, map(_bare, stream))
    first, second = itertools.islice(itertools.chain(lines, (b"", b"")), 2)
    stream.seek(0)
    try:
        json.loads(first.decode("utf-8"))
        return
    except json.JSONDecodeError as error:
        ends_between_tokens = error.pos >= len(error.doc)
    except (ValueError, RecursionError):
        return
    if ends_between_tokens and second and (first.endswith(b"[") or not second.startswith(b"{")):
        raise UserError(
            f"{path}: begins with a JSON object over several lines; expected an array of records "
            "or JSON Lines, one object a line (the command `jq -c` makes them)"
        )


def _array_items(path: Path, stream: IO[bytes]) -> Iterator[Item]:
    window = _Window(path, decoded(stream))
    window.take("[")
    for number in itertools.count(1):
        if number == 1 and window.peek() == "]":
            break
        yield f"item {number}", window.item()
        if window.peek() == "]":
            break
        window.take(",")
    window.take("]")
    if window.peek():
        window.refuse("Extra data", window.at)


class _Window:
    """The piece of an array's text in memory; it grows until it holds a whole item."""

    def __init__(self, path: Path, stream: IO[str]) -> None:
        self.path, self.stream = path, stream
        self.text, self.at = "", 0
        # Where the piece begins: lines before it, and characters before it in its first line.
        self.lines, self.characters = 0, 0

    def peek(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            match = JSON_SPACE.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._grow():
                return ""

    def take(self, expected: str) -> None:
        """Go past a character that must come next."""
        if self.peek() != expected:
            self.refuse(f"Expecting '{expected}' delimiter", self.at)
        self.at += 1

    def item(self) -> Any:
        """Return the next value, or a ValueError if its text is not UTF-8."""
        self.peek()
        while True:
            try:
                value, end = JSON.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # The end of the piece may cut a string, a word or an escape.
                is_cut = error.msg.startswith("Unterminated") or self._is_near(error.pos)
                if not (is_cut and self._grow()):
                    self.refuse(error.msg, error.pos)
            except (ValueError, RecursionError) as error:
                reason = "nested too deeply" if isinstance(error, RecursionError) else LONG_NUMBER
                reason = str(error) if isinstance(error, StandsTwice) else reason
                raise UserError(
                    f"{self.path}: unreadable JSON ({reason}); use JSON Lines"
                ) from None
            else:
                # The end of the piece may cut a number.
                if not (self._is_near(end) and self._grow()):
                    reason = tried(refuse_undecoded, self.text[self.at : end])
                    self.at = end
                    return reason or value

    def refuse(self, problem: str, position: int) -> NoReturn:
        """Stop with line and column: the items behind a broken place cannot be told apart."""
        read = self.text[:position]
        line = self.lines + read.count("\n") + 1
        start = -self.characters if "\n" not in read else read.rindex("\n") + 1
        raise UserError(
            f"{self.path}: broken JSON at line {line} column {position - start + 1} ({problem}); "
            "mend it, or use JSON Lines, where a broken line costs one record"
        )

    def _is_near(self, position: int) -> bool:
        """Tell whether the end of the piece may cut off the token at a position."""
        return position + LONGEST_WORD >= len(self.text)

    def _grow(self) -> bool:
        """Drop the text that is done and read on; the rest at least doubles. False at the end."""
        done, left = self.text[: self.at], self.text[self.at :]
        chunk = self.stream.read(max(CHUNK, len(left)))
        if not chunk:
            return False
        self.lines += done.count("\n")
        newline = done.rfind("\n")
        self.characters = len(done) - newline - 1 + (self.characters if newline < 0 else 0)
        self.text, self.at = left + chunk, 0
        return True
