"""A run's diary: which results were computed or restored, and why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart.storage import files
from redheart.storage.store import Outcome, Store


class Ledger:
    """A run's diary: for every action whether it was computed or restored, and why."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines, oldest first."""
        return files.read_lines(self.path)

    def add(self, outcome: Outcome, target: str, store: Store, **facts: Any) -> None:
        """Append a line about an outcome; `facts` are further columns."""
        line = {
            "step": outcome.action.step,
            "target": target,
            "outcome": outcome.outcome,
            "why": self._why(outcome, target, store),
            "seconds": round(outcome.seconds, 3),
            "key": outcome.action.key,
            **facts,
        }
        files.append_line(self.path, line)

    def _why(self, outcome: Outcome, target: str, store: Store) -> str:
        action = outcome.action
        keys = [
            line["key"]
            for line in self.lines()
            if line["step"] == action.step and line["target"] == target
        ]
        if not keys:
            return "first time in this run"
        if keys[-1] == action.key:
            missing = "its result had left the store"
            return "nothing changed" if outcome.outcome == "restored" else missing
        earlier = store.ingredients(keys[-1])
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
