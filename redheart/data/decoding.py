"""Bytes as text, and what is wrong with those that are none."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any

Item = tuple[str, Any]


def tried(parse: Callable[..., Any], *given: Any) -> Any:
    """Return what is parsed, or the ValueError that says what is wrong with it."""
    try:
        return parse(*given)
    except ValueError as reason:
        return reason


def decoded(stream: IO[bytes]) -> io.TextIOWrapper:
    """Decode UTF-8; bytes that are none become surrogates, to be found where they stand."""
    return io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")


def refuse_undecoded(text: str) -> None:
    """Raise a ValueError for a text of which some bytes were no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise ValueError(f"not UTF-8 (byte 0x{byte:02x})") from None
