"""Text in Markdown that never acts as markup, whatever it holds."""

from __future__ import annotations

import re

# A single underscore between letters is no Markdown mark, so `best_single` stays readable.
MARKS = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")
BACKTICKS = re.compile(r"`+")


def plain(text: str) -> str:
    """Return one line that shows a text as it is: no mark, no HTML, no new cell of a table."""
    return MARKS.sub(r"\\\g<0>", " ".join(text.split()))


def code(text: str) -> str:
    """Return a text as code; the marks around it are more backticks than the text has in a row."""
    text = " ".join(text.split())
    longest = max(map(len, BACKTICKS.findall(text)), default=0)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{'`' * (longest + 1)}{space}{text}{space}{'`' * (longest + 1)}"
