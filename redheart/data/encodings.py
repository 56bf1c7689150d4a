"""Which encoding a file that is not UTF-8 probably has, and the command that converts it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from redheart.storage.files import GZIP_MAGIC, opened

# Bytes of lines with other characters than ASCII's that are looked at.
SAMPLE_BYTES = 1 << 18


class Encoding(NamedTuple):
    """An encoding, and by what its texts are known."""

    name: str
    """Its name for `iconv`."""
    language: str
    """What is written in it."""
    least_byte: int
    """No byte of its common characters is less."""
    letters: re.Pattern[str]
    """The runs of letters that make up such a text."""
    least_share: float
    """Least share of these letters among all characters but ASCII's."""


# Whole words. Greek in CP1253 would be Cyrillic words with capitals inside.
CYRILLIC = re.compile(r"\b[А-Яа-яЁё][а-яё]+\b")
# In the order in which they are tried. Bytes of one often decode in another, to letters that no
# text is made of: so the common letters of the language must make up much of a text.
ENCODINGS = (
    Encoding("CP949", "Korean", 0xA1, re.compile("[가-힣]"), 0.8),
    Encoding("CP932", "Japanese", 0, re.compile("[ぁ-んァ-ヶー]"), 0.3),
    Encoding("GB18030", "Chinese", 0xA1, re.compile("[一-鿿]"), 0.7),
    Encoding("CP1251", "Cyrillic", 0, CYRILLIC, 0.85),
    Encoding("KOI8-R", "Cyrillic", 0, CYRILLIC, 0.85),
    # Whole words of such letters are of another alphabet.
    Encoding(
        "CP1252",
        "Western European",
        0,
        re.compile("(?<![À-ÿ])[À-ÖØ-öø-ÿ]{1,2}(?![À-ÿ])|[‘’“”–—…€]"),
        0.7,
    ),
)


def probable(path: Path) -> Encoding | None:
    """Return the encoding that a file probably has; None where none of the known ones fits."""
    sample = b"".join(_sampled(path))
    return next((encoding for encoding in ENCODINGS if _fits(encoding, sample)), None)


def how_to_convert(path: Path, encoding: Encoding | None) -> str:
    """Return the end of a message about a file that is not UTF-8: what it may be, what to do."""
    name = encoding.name if encoding else "ENCODING"
    with open(path, "rb") as stream:
        is_packed = stream.read(2) == GZIP_MAGIC
    plain = path.with_suffix("") if is_packed and path.suffix == ".gz" else path
    target = shlex.quote(str(plain.with_suffix(f".utf8{plain.suffix}")))
    source = shlex.quote(str(path))
    command = f"iconv -f {name} -t UTF-8 {'' if is_packed else f'{source} '}> {target}"
    if is_packed:
        command = f"gunzip -c {source} | {command}"
    told = f"it is probably {name} ({encoding.language})" if encoding else "find out its encoding"
    return f"{told}; convert it with `{command}`, and name the new file"


def _sampled(path: Path) -> Iterator[bytes]:
    size = 0
    with opened(path) as stream:
        for line in stream:
            if not line.isascii():
                yield line
                size += len(line)
                if size > SAMPLE_BYTES:
                    return


def _fits(encoding: Encoding, sample: bytes) -> bool:
    try:
        text = sample.decode(encoding.name)
    except UnicodeDecodeError:
        return False
    others = [character for character in text if not character.isascii()]
    letters = [
        character
        for run in encoding.letters.findall(text)
        for character in run
        if min(character.encode(encoding.name)) >= encoding.least_byte
    ]
    return bool(others) and len(letters) >= encoding.least_share * len(others)
