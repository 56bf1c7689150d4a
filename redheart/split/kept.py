"""Parts that are given: of an earlier split, so that a corpus can grow, or of a published one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from redheart.data.sources import read_items
from redheart.errors import UserError
from redheart.split.parts import PARTS
from redheart.storage import files, run_files
from redheart.tasks.task import Record

COLUMNS = ("id", "part")


def read_kept(path: str | Path) -> dict[str, str]:
    """Return the part of each id that a file lists: a table or JSON Lines with `id` and `part`.

    Raises
    ------
    UserError
        The file cannot be read, an item has no id, no part or an unknown one, or an id is listed
        twice.
    """
    kept: dict[str, str] = {}
    for place, item in read_items(path, as_text=COLUMNS):
        identity, part = (item.get(c) if isinstance(item, dict) else None for c in COLUMNS)
        if identity is None or part not in PARTS:
            raise UserError(
                f"{path}: {place}: expected an id and a part ({', '.join(PARTS)}), got {item}"
            )
        if kept.setdefault(str(identity), part) != part:
            raise UserError(
                f"{path}: {place}: record '{identity}' is in {part} here and in "
                f"{kept[str(identity)]} above; leave one of the two"
            )
    return kept


def kept_indices(records: Sequence[Record], kept: Mapping[str, str]) -> dict[int, int]:
    """Return the part, as a number, of each record that has one given; by index of the record."""
    given = {i: kept.get(str(record["id"])) for i, record in enumerate(records)}
    return {i: PARTS.index(part) for i, part in given.items() if part}


def refuse_torn(
    records: Sequence[Record], links: Iterable[tuple[int, int]], kept: Mapping[int, int]
) -> None:
    """Raise a UserError if near-duplicates are given different parts."""
    for i, j in links:
        if i in kept and j in kept and kept[i] != kept[j]:
            raise UserError(
                f"split.keep: near-duplicates are kept in {PARTS[kept[i]]} and {PARTS[kept[j]]}: "
                f"records '{records[i]['id']}' and '{records[j]['id']}'; take one of them out of "
                "the file, or raise split.audit_threshold"
            )


def write_parts(folder: str | Path, stream: IO[str]) -> None:
    """Write the parts of a finished split as a table that `read_kept` reads.

    Parameters
    ----------
    folder
        That of the run.

    Raises
    ------
    UserError
        There is no split in the folder.
    """
    paths = {part: Path(folder) / run_files.records(part) for part in PARTS}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise UserError(f"{missing[0]}: is not there; name a run's folder, such as results/demo")
    rows = chain.from_iterable(
        ((record["id"], part) for record in files.read_json(path)) for part, path in paths.items()
    )
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(rows))
