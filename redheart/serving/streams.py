"""Lines of a file or a pipe as they come, and what a pipe brings as a file."""

from __future__ import annotations

import select
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from redheart.data.decoding import NOT_UTF8, tried
from redheart.data.sources import UTF16, UTF32, parse_line
from redheart.errors import UserError

# Bytes that are read at once.
CHUNK = 1 << 16
BOM = b"\xef\xbb\xbf"

# In place of an item: the next one may be long in coming.
WAITING = object()

Item = tuple[str, Any]


def first_of(stream: IO[bytes]) -> bytes:
    """Return the first bytes of a stream, up to and with the first that is no white space."""
    beginning = b""
    while not bare(beginning) and (chunk := _read(stream)):
        beginning += chunk
    return beginning


def bare(content: bytes) -> bytes:
    """Return bytes without a byte order mark and without white space around them."""
    return content.removeprefix(BOM).strip()


def json_lines(stream: IO[bytes], beginning: bytes) -> Iterator[Item]:
    """Yield the place and the content of each JSON Line, and `WAITING` where a pipe is empty.

    The content of a broken line is a ValueError that says what is wrong with it.

    Parameters
    ----------
    beginning
        The bytes of the stream that were read before.
    """
    for number, line in _lines(stream, beginning):
        if line is None:
            yield "", WAITING
        elif bare(line):
            yield f"line {number}", tried(parse_line, line)


def plain_lines(stream: IO[bytes], beginning: bytes, name: str) -> Iterator[Item]:
    """Yield the place of each line that holds more than white space, and its text and number.

    Parameters
    ----------
    beginning
        The bytes of the stream that were read before.
    name
        What a message calls the stream.

    Raises
    ------
    UserError
        The stream is UTF-16 or holds other things than text.
    """
    if beginning.startswith((*UTF16, *UTF32)) or b"\0" in beginning[:CHUNK]:
        raise UserError(f"{name}: is no text in UTF-8; save it as such (the command `iconv`)")
    for number, line in _lines(stream, beginning):
        if line is None:
            yield "", WAITING
        elif bare(line):
            text = tried(_decoded, line.removesuffix(b"\r").removeprefix(BOM))
            item = text if isinstance(text, ValueError) else {"line": number, "text": text}
            yield f"line {number}", item


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = f"byte 0x{line[error.start]:02x} at byte {error.start + 1}"
        raise ValueError(f"{NOT_UTF8} ({at})") from None


def _lines(stream: IO[bytes], chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number, from 1; None for a line where a pipe has no more for now."""
    number, pieces = 0, list[bytes]()
    while chunk:
        pieces.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(pieces).split(b"\n")
            pieces = [rest]
            for line in lines:
                number += 1
                yield number, line
        if not _is_ready(stream):
            yield number, None
        chunk = _read(stream)
    if last := b"".join(pieces):
        yield number + 1, last


def _read(stream: IO[bytes]) -> bytes:
    """Return what a stream has, without waiting until it has more; b"" at its end."""
    read = getattr(stream, "read1", stream.read)
    content: bytes = read(CHUNK)
    return content


def _is_ready(stream: IO[bytes]) -> bool:
    """Tell whether reading on would bring something at once, as far as that can be known."""
    try:
        return bool(select.select([stream.fileno()], [], [], 0)[0])
    except (OSError, ValueError):
        return True


@contextmanager
def spooled(stream: IO[bytes], beginning: bytes, suffix: str) -> Iterator[Path]:
    """Write all that a pipe brings into a file, which is removed again."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(beginning)
        shutil.copyfileobj(stream, file)
        file.flush()
        yield Path(file.name)


@contextmanager
def renamed(path: Path, suffix: str) -> Iterator[Path]:
    """Give a file another name for as long as the block runs, which says how to read it."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"table{suffix}")
        link.symlink_to(path.resolve())
        yield link
