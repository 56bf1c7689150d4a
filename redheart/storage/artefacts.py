"""What the steps of a run made: the hash of each file, and where the store keeps its content.

The record is a file of the run, so that it goes where the run's folder goes. By it, a file that was
edited or damaged after its step made it is found before anything is built upon it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from redheart.errors import UserError
from redheart.storage import files, run_files
from redheart.storage.hashes import Hashes, stamp
from redheart.storage.store import HASHED, Store

# Sentences name at most this many files.
SHOWN = 4
# Where the rows of what was made here lie, by run: beside what Snakemake remembers of its jobs.
WITNESSES = Path(".snakemake/redheart")


class Made(NamedTuple):
    """A file that a step made."""

    sha256: str
    """The hash of its content."""
    key: str = ""
    """The store's key of the action that made it; empty: the store does not hold the file."""
    name: str = ""
    """The name of the file in the store's entry."""


class Artefacts:
    """The record of a run: `results/<run>/artefacts.json`. Files are named by path below the run.

    Processes of one run write it at the same time, so what changes it takes the store, for a lock.
    """

    def __init__(self, run: str | Path, witnesses: str | Path | None = None) -> None:
        self.run = Path(run)
        self.path = self.run / run_files.ARTEFACTS
        self.witness = witnesses and Path(witnesses, f"{self.run.name}.json")
        self.made: dict[str, Made] = {}
        """What was made."""
        self.left_over: list[str] = []
        """Files that are no longer of the plan, as the last run of the whole plan saw it."""
        self.not_recorded: list[str] = []
        """Files of the plan without a record, once the plan is compared."""
        self._read()

    # --- what is found --------------------------------------------------------------------------

    def changed(self, hashes: Hashes, paths: Iterable[str | Path] | None = None) -> list[str]:
        """Return the recorded files, or those of `paths`, that are there with another content."""
        names = self.made if paths is None else self.made.keys() & map(self._name, paths)
        return [name for name in sorted(names) if not self._is_as_made(name, hashes)]

    def missing(self) -> list[str]:
        """Return the recorded files of the plan that are not there."""
        of_plan = self.made.keys() - self.left_over
        return sorted(name for name in of_plan if not (self.run / name).exists())

    def strangers(self) -> list[str]:
        """Return the recorded files that were not made here, but brought here with their record.

        Snakemake knows no parameters of theirs, or those of other files, so it would not see that
        the config or the code has changed since.
        """
        seen = self._seen()
        return [
            name
            for name, made in sorted(self.made.items())
            if (self.run / name).is_file() and seen.get(name) != made
        ]

    def unknown(self) -> list[str]:
        """Return the files in the run's folder that no step recorded, logs and diaries aside."""
        hash_files = (files.hash_file(name).as_posix() for name in self.made)
        known = {*self.made, *hash_files, *self.left_over}
        return sorted(
            name
            for name in self._files(self.run)
            if name not in known and name.split("/")[0] not in run_files.NO_ARTEFACTS
        )

    def _is_as_made(self, name: str, hashes: Hashes) -> bool:
        """Tell whether a file is as its step made it, or is not there."""
        path, sha256 = self.run / name, self.made[name].sha256
        if not path.is_file():
            return not (path.is_dir() or path.is_symlink())
        if path.suffix == HASHED and files.recorded_hash(path) != sha256:
            return False
        try:
            return hashes.of(path) == sha256
        except OSError:
            return False

    # --- what is told ---------------------------------------------------------------------------

    def lost(self) -> str:
        """Return a line if there is a run and no record of it; otherwise an empty text."""
        if self.not_recorded:
            what = f"no record of {_counted(self.not_recorded)}"
        elif self.made or not (self.run / run_files.CONFIG).is_file():
            return ""
        else:
            what = "no record of what the steps made (damaged, deleted, or of an earlier version)"
        return (
            f"{self.path}: {what}, so edits go unnoticed; `rm -r {self.run}` and the same command "
            "again take all from the store and record it"
        )

    def no_longer_planned(self) -> str:
        """Return a line about the files that are no longer of the plan; empty if there are none."""
        if not self.left_over:
            return ""
        return (
            f"{self.run}: no longer of the plan: {_counted(self.left_over)}; "
            f"`redheart prune {self.run}` removes them"
        )

    # --- what is put right ----------------------------------------------------------------------

    def recall(self, store: Store) -> None:
        """Take back into a lost record what is known here of the files that are there."""
        seen = self._seen()
        if lost := [n for n in seen.keys() - self.made.keys() if (self.run / n).is_file()]:
            self.add({self.run / name: seen[name] for name in lost}, store)

    def dismiss_strangers(self, store: Store) -> str:
        """Remove the files that were not made here, if the store can give them back to their steps.

        Returns
        -------
        What to tell; empty: all files were made here.
        """
        names = self.strangers()
        if not names:
            return ""
        what = f"{self.run}: not made here, or Snakemake forgot them: {_counted(names)}"
        # What is not of the store takes no time to make.
        of_store = [self.made[name] for name in names if self.made[name].key]
        if not all(store.is_intact(made.key, [made.name]) for made in of_store):
            return (
                f"{what}; the store lacks some of them, so they are left, and a change of config "
                f"or code since goes unseen; `rm -r {self.run}` makes all anew"
            )
        for name in names:
            (self.run / name).unlink()
        return f"{what}; their steps take them from the store again"

    def mend(
        self, store: Store, hashes: Hashes, paths: Iterable[str | Path] | None = None
    ) -> Iterator[str]:
        """Put right each file that is not as its step made it; yield a line about each."""
        for name in self.changed(hashes, paths):
            yield self._mend(name, store, can_restore=True)

    def put_right(self, store: Store, hashes: Hashes) -> Iterator[str]:
        """Put right the content and the times of all files, before Snakemake looks at their times.

        To Snakemake, the time stamp of a file tells which jobs came before it and which after. So
        only a file whose time is remembered is restored here; others are left to their steps.
        """
        times = {name: hashes.time_of(self.run / name, m.sha256) for name, m in self.made.items()}
        for name in self.changed(hashes):
            yield self._mend(name, store, can_restore=times[name] is not None)
        now = time.time_ns()
        for name in self.made:
            path = self.run / name
            if path.is_file():
                present = stamp(path).mtime_ns
                # With a time in the future, Snakemake would end each job that reads the file.
                wanted = min(now, times[name] or present)
                if wanted != present:
                    hashes.set_time(path, wanted)

    def _mend(self, name: str, store: Store, can_restore: bool) -> str:
        """Take a file from the store, or else remove it; return a line that says which."""
        path, made = self.run / name, self.made[name]
        if path.is_dir():
            raise UserError(f"{path}: a folder where a step made a file; move the folder away")
        what = f"{path}: is not as its step made it (edited or damaged)"
        if can_restore and made.key and store.is_intact(made.key, [made.name]):
            store.place(made.key, made.name, path)
            return f"{what}; restored"
        path.unlink()
        return f"{what}; removed, so that its step makes it again"

    # --- what is written down -------------------------------------------------------------------

    def add(self, made: Mapping[str | Path, Made], store: Store) -> None:
        """Record files that a step has made, by path."""
        with store.locked(self._lock, ""):
            self._read()
            new = {self._name(path): entry for path, entry in made.items()}
            self.made |= new
            self.left_over = [name for name in self.left_over if name not in new]
            self._write()
            if self.witness:
                files.write_json(self.witness, {"made": _rows(self._seen() | new)})

    def compare_with_plan(self, planned: Iterable[str], store: Store) -> None:
        """Note which files are no longer of the plan, given the paths of all files that are."""
        of_plan = set(map(self._name, planned))
        with store.locked(self._lock, ""):
            self._read()
            logs = (name for folder in run_files.LOGS for name in self._files(self.run / folder))
            there = {name for name in (*self.made, *logs) if (self.run / name).is_file()}
            self.made = {n: made for n, made in self.made.items() if n in of_plan | there}
            self.left_over = sorted(there - of_plan)
            self._write()
        self.not_recorded = sorted(of_plan & {*self.unknown()})

    def prune(self, store: Store) -> list[str]:
        """Remove the files that are no longer of the plan; return those that were there."""
        with store.locked(self._lock, ""):
            self._read()
            removed = [name for name in self.left_over if (self.run / name).is_file()]
            for name in removed:
                with files.writable(self.run / name):
                    (self.run / name).unlink()
                    files.hash_file(self.run / name).unlink(missing_ok=True)
            self.made = {n: made for n, made in self.made.items() if n not in self.left_over}
            self.left_over = []
            self._write()
        return removed

    @property
    def _lock(self) -> str:
        return files.sha256_text(f"the record {os.path.realpath(self.path)}")

    def _name(self, path: str | Path) -> str:
        return Path(os.path.relpath(path, self.run)).as_posix()

    def _files(self, folder: Path) -> Iterator[str]:
        return map(self._name, filter(Path.is_file, folder.rglob("*")))

    def _seen(self) -> dict[str, Made]:
        try:
            return _made_of(_content(self.witness)) if self.witness else {}
        except DAMAGED:
            return {}

    def _read(self) -> None:
        content = _content(self.path)
        try:
            self.made = _made_of(content)
            self.left_over = [*map(_inside, content["left_over"])]
        except DAMAGED:
            # A damaged record must not block a run; `lost` tells of it.
            self.made, self.left_over = {}, []

    def _write(self) -> None:
        files.write_json(self.path, {"made": _rows(self.made), "left_over": self.left_over})


def run_id(run: str | Path) -> str:
    """Return the name under which the store knows a run; who works there holds its lock."""
    return files.sha256_text(os.path.realpath(run))


def verify(run: str | Path) -> Iterator[str]:
    """Check every file of a run by its hash; yield what to tell.

    Raises
    ------
    UserError
        The run has no record, or files are missing or not as their steps made them.
    """
    artefacts = Artefacts(run)
    if not artefacts.made:
        raise UserError(artefacts.lost() or f"{run}: no run; name a run's folder, or its name")
    changed, missing = artefacts.changed(Hashes()), artefacts.missing()
    yield from (f"{artefacts.run / name}: is not as its step made it" for name in changed)
    yield from (f"{artefacts.run / name}: is missing" for name in missing)
    if unknown := artefacts.unknown():
        yield f"{artefacts.run}: no step has recorded {_counted(unknown)}"
    if line := artefacts.no_longer_planned():
        yield line
    count, wrong = len(artefacts.made), len(changed) + len(missing)
    if wrong:
        raise UserError(
            f"{wrong} of {count} files of {artefacts.run} are not as their steps made them; the "
            "workflow puts right what was changed; a missing file is made where it is the target"
        )
    yield f"{artefacts.run}: {count} files, each as its step made it"


def prune(run: str | Path) -> Iterator[str]:
    """Remove the files that are no longer of a run's plan; yield their paths."""
    artefacts = Artefacts(run)
    config = artefacts.run / run_files.CONFIG
    try:
        path = Path(files.read_json(config)["store"]["path"])
    except (KeyError, TypeError):
        raise UserError(f"{config}: names no store; {files.how_to_rebuild(config)}") from None
    # The config names the store from the working folder, in which `results/` lies.
    store = Store(artefacts.run.absolute().parents[1] / path)
    if not store.root.is_dir():
        raise UserError(
            f"{store.root}: no store there, by {config}; start from the folder where the workflow "
            f"runs: `redheart prune {run_files.RESULTS}/{artefacts.run.name}`"
        )
    with store.locked(run_id(run), f"prunes {artefacts.run}"):
        yield from (str(artefacts.run / name) for name in artefacts.prune(store))


def _counted(names: Sequence[str]) -> str:
    first = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
    return f"{len(names)} file{'s' * (len(names) > 1)} ({first})"


def _rows(made: Mapping[str, Made]) -> dict[str, list[str]]:
    return {name: list(made[name]) for name in sorted(made)}


def _made_of(content: Mapping[str, Any]) -> dict[str, Made]:
    return {_inside(name): _made(*row) for name, row in content["made"].items()}


def _inside(name: str) -> str:
    """Return the name of a file below the run; a record from elsewhere may name any file at all."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ValueError(name)
    return name


def _made(sha256: str, key: str, name: str) -> Made:
    if not re.fullmatch("[0-9a-f]{64}|", key) or "/" in name:
        raise ValueError(key, name)
    return Made(f"{sha256}", key, name)


# What a damaged record raises.
DAMAGED = (AttributeError, KeyError, TypeError, ValueError)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = files.read_json(path)
    except (UserError, OSError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
