"""The hashes of a folder that travels: a file that `sha256sum --check` reads, and what differs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from redheart.errors import UserError
from redheart.storage import files

CHECKSUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")

Difference = Literal["changed", "missing", "not listed"]


def write_checksums(target: str | Path, paths: Iterable[str | Path]) -> None:
    """Write the SHA-256 of each file, by its path below the folder of `target`, in sorted order.

    A hash that is written beside a file is taken for the file's.
    """
    folder, lines = Path(target).parent, []
    for path in sorted(map(Path, paths)):
        sha256 = files.recorded_hash(path) or files.sha256_file(path)
        lines.append(f"{sha256}  {path.relative_to(folder).as_posix()}\n")
    files.write_text(target, "".join(lines))


def differences(folder: Path, needed: Iterable[str] = ()) -> dict[str, Difference] | None:
    """Return what is not as `write_checksums` saw it: file -> how it differs.

    Other files in the folder do not count, unless they are `needed`: those must be listed.

    Returns
    -------
    None for a folder without hashes; an empty dict if all is as it was.

    Raises
    ------
    UserError
        A file cannot be read, or the file of the hashes is none.
    """
    listed = read_checksums(folder)
    if listed is None:
        return None
    found = {
        name: _difference(folder / name, listed.get(name)) for name in sorted({*listed, *needed})
    }
    return {name: difference for name, difference in found.items() if difference}


def _difference(path: Path, sha256: str | None) -> Difference | None:
    if not path.is_file():
        return "missing"
    if sha256 is None:
        return "not listed"
    try:
        return None if files.sha256_file(path) == sha256 else "changed"
    except OSError as error:
        raise files.unreadable(path, error) from None


def read_checksums(folder: Path) -> dict[str, str] | None:
    """Return the SHA-256 of each listed file of a folder; None where no file lists them.

    Raises
    ------
    UserError
        A line holds no hash, or a name that leads out of the folder.
    """
    path, listed = folder / CHECKSUMS, {}
    if not path.exists():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the folder again") from None
    for number, line in enumerate(lines, 1):
        match = LINE.fullmatch(line)
        if not match or match[2].startswith("/") or ".." in match[2].split("/"):
            raise UserError(
                f"{path}: line {number} is no SHA-256 and name of a file of this folder, so the "
                "folder cannot be checked; copy it again"
            )
        listed[match[2]] = match[1]
    return listed
