"""A run's diary: which results were computed or restored, and why."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart.errors import UserError
from redheart.storage import diary
from redheart.storage.store import Outcome, Store

# What every line has, and what it may have and is read too.
LINE = {
    **{"step": str, "target": str, "outcome": str, "why": str, "seconds": int | float},
    **{"key?": str, "peak_memory_bytes?": int | float, "tokens?": int},
    "epochs?": [
        {"epoch": int, "seconds": int | float, "peak_memory_bytes": int, "tokens?": int | float}
    ],
}


class Ledger:
    """A run's diary: for every action whether it was computed or restored, and why."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, oldest first; damaged ones are named on stderr and passed over."""
        return diary.read_lines(self.path, LINE)

    def add(self, outcome: Outcome, target: str, store: Store, **facts: Any) -> None:
        """Append a line about an outcome; `facts` are further columns.

        If the diary takes no line, this is told, and the build goes on.
        """
        line = {
            "step": outcome.action.step,
            "target": target,
            "outcome": outcome.outcome,
            "why": self._why(outcome, target, store),
            "seconds": round(outcome.seconds, 3),
            "key": outcome.action.key,
            **facts,
        }
        try:
            diary.append_line(self.path, line)
        except UserError as error:
            print(f"warning: {error}; the build goes on without a line there", file=sys.stderr)

    def _why(self, outcome: Outcome, target: str, store: Store) -> str:
        action = outcome.action
        keys = [
            line.get("key")
            for line in self.lines()
            if line["step"] == action.step and line["target"] == target
        ]
        if not keys:
            return "first time in this run"
        if keys[-1] == action.key:
            missing = "its result had left the store"
            return "nothing changed" if outcome.outcome == "restored" else missing
        earlier = store.ingredients(keys[-1]) if keys[-1] else None
        changed = differences(earlier, action.ingredients) if earlier else ["unknown"]
        return "changed: " + ", ".join(changed)


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Return the dotted paths at which two JSON values differ."""
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        return [] if first == second else [path]
    paths = []
    for key in sorted(set(first) | set(second)):
        below = f"{path}.{key}" if path else str(key)
        in_both = key in first and key in second
        paths += differences(first[key], second[key], below) if in_both else [below]
    return paths
