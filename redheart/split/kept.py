"""Given parts: those of an earlier split, so that a corpus can grow, or of a published split."""

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
    part_by_id: dict[str, str] = {}
    for place, item in read_items(path, as_text=COLUMNS):
        identity, part = (item.get(c) if isinstance(item, dict) else None for c in COLUMNS)
        if identity is None or part not in PARTS:
            raise UserError(
                f"{path}: {place}: expected an id and a part ({', '.join(PARTS)}), got {item}"
            )
        if part_by_id.setdefault(str(identity), part) != part:
            raise UserError(
                f"{path}: {place}: record '{identity}' is in {part} here and in "
                f"{part_by_id[str(identity)]} above; leave one of the two"
            )
    return part_by_id


def kept_indices(records: Sequence[Record], part_by_id: Mapping[str, str]) -> dict[int, int]:
    """Return record index -> part, as a number, for each record whose part is given."""
    parts = {i: part_by_id.get(str(record["id"])) for i, record in enumerate(records)}
    return {i: PARTS.index(part) for i, part in parts.items() if part}


def refuse_torn(
    records: Sequence[Record], links: Iterable[tuple[int, int]], listed_parts: Mapping[int, int]
) -> None:
    """Raise a UserError if near-duplicates are given different parts."""
    for i, j in links:
        if i in listed_parts and j in listed_parts and listed_parts[i] != listed_parts[j]:
            raise UserError(
                f"split.keep: near-duplicates are kept in {PARTS[listed_parts[i]]} and "
                f"{PARTS[listed_parts[j]]}: records '{records[i]['id']}' and '{records[j]['id']}'; "
                "take one of them out of the file, or raise split.audit_threshold"
            )


def write_parts(folder: str | Path, stream: IO[str]) -> None:
    """Write the parts of a finished split as a table that `read_kept` reads.

    Parameters
    ----------
    folder
        The run's folder.

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
        ((record["id"], part) for record in files.read_shaped(path, [{"id": str}]))
        for part, path in paths.items()
    )
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(rows))
