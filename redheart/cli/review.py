"""The command that goes through suspected labels with a person, and writes what they decide.

Each decision is written to the file at once, so an interrupted review loses none, and the next one
goes on behind it.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.csv_lines import escaped, restored
from redheart.errors import UserError
from redheart.storage import files, run_files

DEFAULT_FILE = "fixes.csv"
TEST = "test"
# Columns of a table to fill in. `data.corrections` reads the first three of them.
TO_FILL_IN = ("id", "field", "value", "part", "label", "model_says", "confidence", "text")
KEEP, DROP, MODEL, QUIT = ("", "k"), "d", "m", "q"
COLUMNS = TO_FILL_IN[:3]
DROPPED = "drop"


def add(commands: Any) -> None:
    """Add this command to the parser's."""
    review = commands.add_parser(
        "review",
        help="decide on suspected labels, for data.corrections",
        epilog="example: redheart review demo --file fixes.csv",
    )
    review.add_argument("run_folder", type=_found, metavar="RUN", help="its folder, or its name")
    review.add_argument("--csv", metavar="FILE", help="write a table to fill in, and ask nothing")
    review.add_argument(
        "--file", help=f"where decisions go; default: the run's data.corrections, or {DEFAULT_FILE}"
    )
    review.add_argument("--test", action="store_true", help="also the suspected records of test")
    review.set_defaults(run=_review)


def _found(run: str) -> Path:
    return run_files.find_run(files.expanded(run))


@dataclass(frozen=True)
class Suspect:
    """A suspected label, as a person is asked about it."""

    row: Mapping[str, Any]
    """Its row in the table of suspects, or in the report; there `named` says that it is no more."""
    task: Any
    """The task."""
    cell: str
    """What the record has in the field now, as the file of corrections holds it."""


def _review(arguments: argparse.Namespace) -> None:
    config = files.read_json(arguments.run_folder / run_files.CONFIG)
    suspects = read_suspects(arguments.run_folder, config, arguments.test)
    if arguments.csv:
        write_table(Path(arguments.csv), suspects)
        named = sum("named" not in suspect.row for suspect in suspects)
        print(
            f"{arguments.csv}: {named:,} labels that are called wrong, and the "
            f"{len(suspects) - named:,} most suspicious others; fill in `value`, with `drop` for a "
            "record that goes"
        )
        _tell_how_to_go_on(arguments.csv)
        return
    path = Path(arguments.file or config["data"].get("corrections") or DEFAULT_FILE)
    done, left = decide(path, suspects, _ask)
    print(f"{path}: {done:,} decided now, {left:,} left")
    if done:
        _tell_how_to_go_on(path)


def _tell_how_to_go_on(path: str | Path) -> None:
    print(
        f"next: `data: {{corrections: {path}}}` in the config, and run it again; with "
        "`redheart parts RUN > parts.csv` and `split: {keep: parts.csv}` no record changes its part"
    )


def read_suspects(run: Path, config: Mapping[str, Any], with_test: bool) -> list[Suspect]:
    """Return the labels that a run names, and then the other most suspicious ones of its report.

    Raises
    ------
    UserError
        The run has not searched for them.
    """
    from redheart.data.corrections import as_cell
    from redheart.tasks.task import lookup, parse_tasks

    path = run / "tables" / "suspects.csv"
    if not path.is_file():
        raise UserError(f"{path}: is not there; run it to the end, with data_map.enabled: true")
    with open(path, encoding="utf-8", newline="") as stream:
        rows = [{k: restored(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    content = files.read_shaped(run / run_files.SUSPECTS, {"tasks": dict})
    for task in content["tasks"].values():
        rows += [{**row, "named": ""} for row in task["records"] if not row["suspected"]]
    rows = [row for row in rows if with_test or row["part"] != TEST]
    tasks = {task.field: task for task in reversed(parse_tasks(config["tasks"]))}
    records = {
        record["id"]: record
        for part in sorted({row["part"] for row in rows})
        for record in files.read_json(run / run_files.records(part))
    }
    return [
        Suspect(row, task, as_cell(task, lookup(records[row["id"]], task.field)))
        for row in rows
        for task in [tasks[row["field"]]]
    ]


def write_table(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write a table to fill in; a file that is there may hold a person's work, and is left alone.

    Raises
    ------
    UserError
        There is such a file.
    """
    if path.exists():
        raise UserError(f"{path}: is there already, and may be filled in; name another file")
    with files.writable(path), open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, TO_FILL_IN, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for suspect in suspects:
            # `data.corrections` looks for the ids and fields as they are.
            shown = {key: escaped(suspect.row[key]) for key in ("label", "model_says", "text")}
            writer.writerow({**suspect.row, **shown, "value": ""})


def decide(
    path: Path, suspects: Sequence[Suspect], ask: Callable[[Suspect, str], str]
) -> tuple[int, int]:
    """Ask about every label that the file does not decide yet, and add each answer to the file.

    Parameters
    ----------
    ask
        Suspect, place (`3 of 17`) -> answer: nothing or `k` keeps the label, a number or a value
        changes it, `d` drops the record, `m` takes what the model says, `q` ends the review.

    Returns
    -------
    How many are decided now, and how many are left.
    """
    _refuse_unwritable(path)
    decided, dropped = _decided(path, {s.task.field for s in suspects if DROPPED in s.task.classes})
    waiting = [
        suspect
        for suspect in suspects
        if (suspect.row["id"], suspect.row["field"]) not in decided
        and suspect.row["id"] not in dropped
    ]
    done = 0
    for number, suspect in enumerate(waiting, start=1):
        if suspect.row["id"] in dropped:
            done += 1
            continue
        answer = _answer(suspect, f"{number:,} of {len(waiting):,}", ask)
        if answer is None:
            break
        _append(path, answer)
        done += 1
        if not answer[1]:
            dropped.add(answer[0])
    return done, len(waiting) - done


def _answer(
    suspect: Suspect, place: str, ask: Callable[[Suspect, str], str]
) -> tuple[str, str, str] | None:
    """Return the line for the file, or None at the end of the review."""
    identity, field = suspect.row["id"], suspect.row["field"]
    while True:
        try:
            said = ask(suspect, place).strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return None
        if said == QUIT:
            return None
        if said == DROP:
            return identity, "", DROPPED
        if said in KEEP:
            return identity, field, suspect.cell
        try:
            return identity, field, _value(suspect, said)
        except ValueError as reason:
            print(f"  {reason}")


def _value(suspect: Suspect, said: str) -> str:
    """Return the cell that an answer means; raise a ValueError for one that is no label."""
    from redheart.data.corrections import SEPARATOR, value_of
    from redheart.tasks.task import read_target

    task = suspect.task
    if said == MODEL:
        if task.kind not in ("multiclass", "multilabel"):
            raise ValueError("the model says only a part of such a label; write the whole value")
        said = suspect.row["model_says"]
    elif said.isdigit() and task.kind == "multiclass" and said not in task.classes:
        said = _numbered(task, said)
    elif task.kind == "multilabel" and all(word.isdigit() for word in said.split()):
        said = SEPARATOR.join(_numbered(task, word) for word in said.split())
    if task.kind == "multilabel" and not said:
        said = "[]"
    read_target(task, {task.field: value_of(task, said)})
    return said


def _numbered(task: Any, word: str) -> str:
    if not 1 <= int(word) <= len(task.classes):
        raise ValueError(f"there is no label {word}; expected 1 to {len(task.classes)}")
    name: str = task.classes[int(word) - 1]
    return name


def _decided(path: Path, drop_is_class: Container[str]) -> tuple[set[tuple[str, str]], set[str]]:
    """Return what the file decides: pairs of id and field, and ids of dropped records."""
    from redheart.data.sources import read_items

    decided, dropped = set(), set()
    if not _is_new(path):
        for place, item in read_items(path, as_text=COLUMNS):
            if not isinstance(item, dict) or "id" not in item:
                raise UserError(f"{path}: {place}: expected an id, a field and a value, got {item}")
            identity, field, value = (item.get(name) for name in COLUMNS)
            if field is None or (value == DROPPED and field not in drop_is_class):
                dropped.add(str(identity))
            elif value is not None:
                decided.add((str(identity), str(field)))
    return decided, dropped


def _is_new(path: Path) -> bool:
    return not path.exists() or (path.is_file() and not path.stat().st_size)


def _refuse_unwritable(path: Path) -> None:
    """Raise a UserError for a file that takes no decisions, before a person makes any.

    Raises
    ------
    UserError
        It is no table, lacks a column, or cannot be written.
    """
    from redheart.data.corrections import layout
    from redheart.data.tables import SEPARATORS

    if path.suffix.lower() not in SEPARATORS:
        raise UserError(f"{path}: decisions are lines of a table; --file fixes.csv names another")
    is_there, is_new = path.exists(), _is_new(path)
    with files.writable(path):
        with open(path, "ab"):
            pass
        if not is_there:
            path.unlink()
    columns = COLUMNS if is_new else layout(path)[0]
    if lacking := [name for name in COLUMNS if name not in columns]:
        raise UserError(
            f"{path}: its first line names no column '{lacking[0]}', so it takes no decisions; add "
            f"the columns {', '.join(COLUMNS)}, or name another file with --file"
        )


def _append(path: Path, line: tuple[str, str, str]) -> None:
    """Add a line in the order of the file's columns, and see it on the disk before the next."""
    from redheart.data.corrections import layout
    from redheart.data.tables import SEPARATORS

    is_new = _is_new(path)
    columns, separator = ([*COLUMNS], SEPARATORS[path.suffix.lower()]) if is_new else layout(path)
    with files.writable(path), open(path, "a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream, columns, delimiter=separator, lineterminator="\n", restval=""
        )
        if is_new:
            writer.writeheader()
        elif not path.read_bytes().endswith(b"\n"):
            stream.write("\n")  # an editor left the last line open
        writer.writerow(dict(zip(COLUMNS, line, strict=True)))
        stream.flush()
        os.fsync(stream.fileno())


def _ask(suspect: Suspect, place: str) -> str:
    row, task = suspect.row, suspect.task
    print(f"\n{place}: {_shown(row['id'])} ({row['part']}), {_shown(row['field'])}")
    print(f"  {_shown(row['text'])}")
    print(f"  label: {_shown(row['label'])}, confidence {float(row['confidence']):.2f}")
    print(f"  the model says: {_shown(row['model_says'])}")
    if task.kind in ("multiclass", "multilabel"):
        print("  " + "  ".join(f"{n} {_shown(c)}" for n, c in enumerate(task.classes, start=1)))
        other = "number" if task.kind == "multiclass" else "numbers"
        print(f"  Enter keeps, {other} or m (model) changes, d drops the record, q quits: ", end="")
    else:
        print("  Enter keeps, a value changes, d drops the record, q quits: ", end="")
    sys.stdout.flush()
    return input()


def _shown(text: str) -> str:
    """Return a text on one line, without characters that would command the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
