"""What the config names and no record has: fields, classes, a value to stratify by.

Such a name is most likely misspelt. The source is refused, with the nearest name that the records
do have. `data.allow` lists the names for which it is meant. A class that no record has is only told
where the labels hold no name but those of the classes: then none of these is misspelt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from redheart.data.records import wrapped
from redheart.errors import UserError, nearest
from redheart.spelling import nfc
from redheart.tasks.task import Record, Task, class_named, lookup

TEXT = "text"
# A message lists so many names, each cut to so many characters.
NAMES_SHOWN, NAME_CHARACTERS = 20, 40
# In the only column of a table, marks that were most likely meant to separate several.
UNSEPARATED = re.compile(r"[|,;=\t]")
# Names of classes that the config lacks are gathered up to this number.
MOST_STRANGERS = 1000


class Absences:
    """The names of the config that no record has had so far, and the names that records have."""

    def __init__(
        self, tasks: Sequence[Task], stratify_by: str | None = None, allow: Iterable[str] = ()
    ) -> None:
        self.tasks, self.allow = tasks, frozenset(map(nfc, allow))
        self.stratify_by = None if stratify_by is None else nfc(stratify_by)
        # Fields without a value so far.
        fields = {TEXT, *(task.field for task in tasks)}
        self.fields = fields | ({self.stratify_by} if self.stratify_by else set())
        self.names: set[str] = set()
        # Whether an object holds all records in a list; then that is what the message is about.
        self.has_wrapped = False
        self.strangers: dict[str, set[str]] = {task.name: set() for task in tasks}
        # By task, which outputs have had a value, one above 0, and one that is 0.
        self.known, self.above, self.zero = (
            {task.name: np.zeros(task.width, dtype=bool) for task in tasks} for _ in range(3)
        )

    def see(self, record: Record) -> None:
        """Take note of a record's names, whether or not it is accepted."""
        if self.fields:
            self.fields = {name for name in self.fields if _is_empty(lookup(record, name))}
            self.names.update(names_of(record))
            self.has_wrapped = self.has_wrapped or bool(wrapped(record))
        for task in self.tasks:
            strangers = self.strangers[task.name]
            if task.classes and len(strangers) < MOST_STRANGERS:
                strangers.update(_strangers(task, lookup(record, task.field)))

    def count(self, task: Task, target: np.ndarray) -> None:
        """Take note of the target of an accepted record."""
        self.known[task.name] |= ~np.isnan(target)
        self.above[task.name] |= target > 0
        self.zero[task.name] |= target == 0

    def refuse_without_text(self, path: Any, is_table: bool) -> None:
        """Raise a UserError if no record has a text: its column has another name."""
        if TEXT not in self.fields or not self.names or self.has_wrapped:
            return
        names = sorted(self.names)
        if is_table and len(names) == 1 and UNSEPARATED.search(names[0]):
            raise UserError(
                f"{path}: line 1 makes a single column, {listed(names)}; put commas, semicolons or "
                "tabs between the cells of a .csv, and tabs between those of a .tsv"
            )
        missing = [TEXT, *sorted({task.field for task in self.tasks} & self.fields)]
        columns = {TEXT: "COLUMN"}
        columns |= {field: near for field in missing if (near := nearest(field, names))}
        written = ", ".join(f"{field}: {_as_yaml(column)}" for field, column in columns.items())
        no_header = is_table and columns[TEXT] == "COLUMN"
        hint = "; if line 1 is a record, put a line with the columns' names above it"
        raise UserError(
            f"{path}: no record has a text in 'text'{hint_of(TEXT, names)}; the source has "
            f"{listed(names)}; name the column in the config, data: {{columns: {{{written}}}}}"
            f"{hint if no_header else ''}"
        )

    def refuse(self, path: Any) -> None:
        """Raise a UserError for everything that no accepted record has."""
        problems = [*self._missing_labels()]
        if problems:
            raise UserError(
                f"{path}: {'; '.join(problems)}; the records have the fields "
                f"{listed(sorted(self.names))}"
            )
        problems = [*self._missing_stratum(), *self._missing_classes()]
        if problems:
            raise UserError(f"{path}: {'; '.join(problems)}")

    def told(self) -> Iterator[str]:
        """Yield a line for each task about the classes that no record has, and none misspells."""
        for task in self.tasks:
            if (absent := self._absent(task)) and not self.strangers[task.name]:
                yield (
                    f"task '{task.name}': no record has a label of {listed(absent)}, which will "
                    "hardly ever be predicted"
                )

    def _missing_labels(self) -> Iterator[str]:
        names = sorted(self.names)
        for task in self.tasks:
            if not self.known[task.name].any():
                yield (
                    f"task '{task.name}': no record has a label in "
                    f"'{task.field}'{hint_of(task.field, names)}"
                )

    def _missing_stratum(self) -> Iterator[str]:
        field = self.stratify_by
        if field in self.fields and field not in self.allow:
            names = sorted(self.names)
            yield (
                f"stratify_by: no record has a value in '{field}'{hint_of(str(field), names)}; "
                f"the records have the fields {listed(names)}; name one of them, or null for none"
            )

    def _missing_classes(self) -> Iterator[str]:
        for task in self.tasks:
            value = "value" if task.kind == "regression" else "label"
            strangers = sorted(self.strangers[task.name])
            absent = self._absent(task)
            if absent and strangers:
                hints = [f"'{name}'{hint_of(name, strangers)}" for name in absent[:NAMES_SHOWN]]
                yield (
                    f"task '{task.name}': no record has a {value} of {', '.join(hints)}; mend the "
                    f"name, or {_allowing(task, absent)} if it is meant"
                )
            if task.kind == "multilabel" and task.name not in self.allow:
                yield from self._never_zero(task)

    def _absent(self, task: Task) -> list[str]:
        """Return the classes of a task that no record has, without those that are allowed."""
        if task.name in self.allow or not task.classes or task.width == 1 < len(task.classes):
            return []
        present = self.known if task.kind == "regression" else self.above
        return self._not_allowed(task, ~present[task.name])

    def _never_zero(self, task: Task) -> Iterator[str]:
        ones = self._not_allowed(task, self.above[task.name] & ~self.zero[task.name])
        if ones:
            yield (
                f"task '{task.name}': {listed(ones)} is 1 in every record that has a value for it; "
                "an empty cell and null are no 0 but an unknown label: write the 0, or "
                f"{_allowing(task, ones)} if it is meant"
            )

    def _not_allowed(self, task: Task, are_meant: np.ndarray) -> list[str]:
        pairs = zip(task.classes, are_meant.tolist(), strict=True)
        return [name for name, is_meant in pairs if is_meant and name not in self.allow]


def names_of(record: Record) -> Iterator[str]:
    """Yield the names of all fields that hold a value; a field in an object has a dotted name."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value if value[inner] is not None)
        if value is not None:
            yield name


def listed(names: Sequence[str]) -> str:
    """Return names as a message shows them: not too many, and none too long."""
    shown = [
        name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 3]}..."
        for name in names[:NAMES_SHOWN]
    ]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def hint_of(name: str, names: Sequence[str]) -> str:
    """Return the nearest other name as the question of a message; "" if no name is near."""
    near = nearest(name, [other for other in names if other != name])
    return f" (did you mean '{near}'?)" if near else ""


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _strangers(task: Task, value: Any) -> Iterator[str]:
    """Yield what a label names that is no class of its task."""
    names = value if isinstance(value, Mapping | list) else [value]
    yield from (
        str(name)
        for name in names
        if isinstance(name, str) and class_named(task.classes, name) is None
    )


def _allowing(task: Task, names: Sequence[str]) -> str:
    names = names if len(names) <= NAMES_SHOWN else [task.name]
    return f"set data: {{allow: [{', '.join(map(_as_yaml, names))}]}}"


def _as_yaml(name: str) -> str:
    """Return a name as it stands in a config: in quotes where YAML could misread it."""
    return name if re.fullmatch(r"[A-Za-z]{4,}\w*", name) else json.dumps(name, ensure_ascii=False)
