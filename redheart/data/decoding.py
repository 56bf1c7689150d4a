"""Bytes as text, and which bytes are not UTF-8."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import IO, Any

Item = tuple[str, Any]

NOT_UTF8 = "not UTF-8"


class LostRows(ValueError):
    """What is wrong with an item that takes several rows of a table, and how many."""

    def __init__(self, reason: str, count: int) -> None:
        super().__init__(reason)
        self.count = count


class StandsTwice(ValueError):
    """A JSON object has two values for one name."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object of which no name stands twice: one of the two values would be lost."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise StandsTwice(f"the field '{twice}' stands twice in one object")
    return content


# Reads the JSON of a source.
JSON = json.JSONDecoder(object_pairs_hook=_once_each)


def tried(parse: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of `parse`, or the ValueError that it raised."""
    try:
        return parse(*arguments)
    except ValueError as reason:
        return reason


def is_undecoded(reason: ValueError) -> bool:
    """Tell whether an item was refused for bytes that are not UTF-8."""
    return str(reason).startswith(NOT_UTF8)


def decoded(stream: IO[bytes]) -> io.TextIOWrapper:
    """Decode UTF-8; other bytes become surrogates, so that `refuse_undecoded` finds their place."""
    return io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")


def refuse_undecoded(text: str) -> None:
    """Raise a ValueError for a text that `decoded` read from bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise ValueError(f"{NOT_UTF8} (byte 0x{byte:02x})") from None
