"""One spelling of each text: Unicode lets `é` and `한` be one character or several (NFC, NFD).

Both spellings look the same, and the tokenizer and the lexicon read them as the same: in NFC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any


def nfc(text: str) -> str:
    """Return a text in NFC, in which a letter with its marks is one character where it can be."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def with_nfc_names(value: Any) -> Any:
    """Return a nested value in which every name of a field is in NFC; texts stay as they are.

    Raises
    ------
    ValueError
        An object has a field in both spellings.
    """
    if isinstance(value, list):
        return [with_nfc_names(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    named = {nfc(name): with_nfc_names(inner) for name, inner in value.items()}
    if len(named) < len(value):
        twice = next(name for name in value if nfc(name) != name and nfc(name) in value)
        raise ValueError(f"field '{nfc(twice)}' stands twice, in NFC and in another spelling")
    return named
