"""Answers as they are written: lines of JSON, a table, or words for a person at a terminal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Protocol

from redheart.tasks.task import Task

# A field of a record that has the name of a task is kept under its name with this before it.
GIVEN = "given_"
# Classes that words name, the most probable first, and characters of a text that they show.
CLASSES_SHOWN, TEXT_SHOWN = 4, 200


class Writer(Protocol):
    """Writes answers, in the order of the texts."""

    def write(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Write a record's fields and the answer for its text."""


class JsonLines:
    """An object a line: the record's fields, and a key for each task."""

    def __init__(self, stream: IO[str], is_ascii: bool = False) -> None:
        self.stream, self.is_ascii = stream, is_ascii

    def write(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Write one line."""
        row = {**kept(record, answer), **answer}
        self.stream.write(json.dumps(row, ensure_ascii=self.is_ascii, allow_nan=False) + "\n")


class Table:
    """CSV: a column for each field and each number of an answer, with dots into objects.

    The columns are those of the table that was read, or else those of the first record. A list is
    written as JSON, and null as an empty cell: as the tables that a run reads.

    Parameters
    ----------
    fields
        The fields of the table that is read, which must be there when the first row is written.
    """

    def __init__(self, stream: IO[str], fields: Sequence[str] = ()) -> None:
        self.writer = csv.writer(stream, lineterminator="\n")
        self.fields = fields
        self.header: list[str] = []
        self.told: set[str] = set()

    def write(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Write one row, the header before the first."""
        answered = dict(_flat(answer))
        fields = _flat(kept(record, answer))
        row = {f"{GIVEN}{name}" if name in answered else name: value for name, value in fields}
        if not self.header:
            outer = [name.partition(".")[0] for name in self.fields]
            names = kept_names([*outer, *record], answer)
            given = [_under(name, names) for name in self.fields]
            self.header = list(dict.fromkeys([*given, *row, *answered]))
            self.writer.writerow(self.header)
        row |= answered
        for name in sorted(row.keys() - self.header - self.told):
            self.told.add(name)
            print(
                f"warning: '{name}' is no field of the first record, so the table has no column "
                "for it and leaves it out; JSON Lines keep every field",
                file=sys.stderr,
            )
        self.writer.writerow([_cell(row.get(name)) for name in self.header])


class Words:
    """The text, and a line for each task: what a person reads."""

    def __init__(self, stream: IO[str], tasks: Sequence[Task]) -> None:
        self.stream = stream
        self.width = max((len(task.name) for task in tasks), default=0)

    def write(self, record: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Write one text and its answers."""
        self.stream.write(f"{shown(_beginning(record['text']))}\n")
        for name, of_task in answer.items():
            self.stream.write(f"  {name:{self.width}}  {shown(_said(of_task))}\n")


def kept(record: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of which no field has the name of a task: such a one has `given_` before."""
    if not record.keys() & answer.keys():
        return dict(record)
    names = kept_names(record, answer)
    return {names[name]: value for name, value in record.items()}


def kept_names(fields: Iterable[str], tasks: Iterable[str]) -> dict[str, str]:
    """Return field -> the name under which it is kept: neither a task's nor another field's."""
    names = {name: name for name in fields}
    taken, tasks = {*names, *tasks}, {*tasks}
    for name in names:
        while names[name] in tasks or (name in tasks and names[name] in taken):
            names[name] = f"{GIVEN}{names[name]}"
        taken.add(names[name])
    return names


def _under(column: str, names: Mapping[str, str]) -> str:
    """Return the name of a column of a table, whose part before the dot may be a task's name."""
    name, dot, inner = column.partition(".")
    return names.get(name, name) + dot + inner


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything in an object that is no object."""
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}", inner


def _cell(value: Any) -> Any:
    if isinstance(value, str | None):
        return value
    return json.dumps(value, ensure_ascii=False)


def _beginning(text: str) -> str:
    """Return the beginning of a text; dots show that it goes on."""
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}..."


def shown(text: str) -> str:
    """Return a text on one line, in which no character commands a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _said(answer: Mapping[str, Any]) -> str:
    if "values" in answer:
        return ", ".join(f"{name} {_said(value)}" for name, value in answer["values"].items())
    if "value" in answer:
        share = answer["coverage"]
        within = f" ({answer['low']:.4g} to {answer['high']:.4g}" if share is not None else ""
        return f"{answer['value']:.4g}{within}" + (f", {share:.0%})" if within else "")
    shares = sorted(answer["probabilities"].items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {share:.2f}" for name, share in shares[:CLASSES_SHOWN])
    named = [answer["label"]] if "label" in answer else answer["labels"]
    return f"{', '.join(named) or 'no label'} ({listed})"
