"""A content-addressed store of step outputs: compute once, restore for ever.

Snakemake decides which steps to look at; the store decides which of them to compute. An action's
key is a hash over everything that its result depends on, and nothing else; its value is its output
files. The idea is that of Bazel's action cache and DVC's run cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from redheart.errors import UserError, explained
from redheart.shapes import has_shape
from redheart.storage import diary, files

# Smaller files are copied, larger ones are hard-linked. Snakemake compares the checksums of files
# below this size, and touches every output after a job. The links of a file share one time stamp,
# so a small file must not be a link.
LINK_FROM_BYTES = 100_000_000
# Outputs with this ending get a file with their hash beside them, which every reader checks.
HASHED = ".pt"
# The shapes of an entry's description, and of a line about accepted code.
ENTRY = {"ingredients": dict, "outputs": dict}
ACCEPTED = {"step": str, "code": str, "counts_as": str}


@dataclass(frozen=True)
class Action:
    """One computation, named by all that its result depends on."""

    step: str
    """Name of the step."""
    params: Mapping[str, Any]
    """Settings of the step: its own subset of the config; JSON."""
    code: str
    """Fingerprint of the code behind the step."""
    uses: Mapping[str, Any]
    """The values that the step reads: hashes of input files, or single values; JSON."""

    @property
    def ingredients(self) -> dict[str, Any]:
        """Everything that the key covers."""
        return {"step": self.step, "params": self.params, "code": self.code, "uses": self.uses}

    @property
    def key(self) -> str:
        """SHA-256 over the ingredients, in hex."""
        return files.sha256_text(files.canonical(self.ingredients))


@dataclass(frozen=True)
class Outcome:
    """What became of an action."""

    action: Action
    """The action."""
    outcome: Literal["computed", "restored"]
    """Whether its outputs were made now or taken from the store."""
    seconds: float
    """Wall time of the computation or the restoration."""


class Store:
    """A folder of results under their keys; several runs and processes may share it."""

    def __init__(self, root: str | Path, link_from_bytes: int = LINK_FROM_BYTES) -> None:
        self.root = Path(root)
        self.link_from_bytes = link_from_bytes

    def run(
        self,
        action: Action,
        outputs: Mapping[str, str | Path],
        compute: Callable[[Path], Mapping[str, str] | None],
        anew: bool = False,
    ) -> Outcome:
        """Bring an action's outputs to their places; compute them only if the store lacks them.

        Parameters
        ----------
        outputs
            File name inside the store's entry -> path that the file gets.
        compute
            Writes a file under each of these names into the folder that it is called with. It may
            return the SHA-256 of the files that it hashed while it wrote them. When it raises,
            nothing is stored.
        anew
            Forget what the store has of the action, and compute.
        """
        started = time.monotonic()
        with self.locked(action.key, "makes the same"):
            is_stored = not anew and self.is_intact(action.key, outputs)
            if not is_stored:
                shutil.rmtree(self.folder(action.key), ignore_errors=True)
                self._compute(action, outputs, compute)
            for name, target in outputs.items():
                self.place(action.key, name, Path(target))
        seconds = time.monotonic() - started
        return Outcome(action, "restored" if is_stored else "computed", seconds)

    def folder(self, key: str) -> Path:
        """Return the folder of an entry."""
        return self.root / "entries" / key[:2] / key

    def state_path(self, key: str) -> Path:
        """Return the path of a leg's training state, which may have been deleted to save space."""
        return self.root / "states" / key[:2] / f"{key}.pt"

    def snapshot_path(self, key: str) -> Path:
        """Return the path of a training's snapshots; each snapshot adds its hash to the name."""
        return self.state_path(key).with_suffix(".snapshot")

    def ingredients(self, key: str) -> dict[str, Any] | None:
        """Return the ingredients that made an entry; None if it is not in the store."""
        entry = self._entry(key)
        return entry["ingredients"] if entry else None

    def outputs(self, key: str) -> dict[str, str]:
        """Return the hash of each file of an entry by name; none if it is not in the store."""
        entry = self._entry(key)
        return entry["outputs"] if entry else {}

    def is_intact(self, key: str, names: Iterable[str]) -> bool:
        """Tell whether an entry holds these files with their original content."""
        entry = self._entry(key)
        if entry is None and self.folder(key).exists():
            print(f"{self.folder(key)}/entry.json: damaged; all is made again", file=sys.stderr)
        recorded = entry["outputs"] if entry else {}
        for name in names:
            file = self.folder(key) / name
            if name not in recorded or not file.is_file():
                return False
            if files.sha256_file(file) != recorded[name]:
                print(f"{file}: damaged; it is made again", file=sys.stderr)
                return False
        return entry is not None

    def latest_code(self, step: str) -> str | None:
        """Return the fingerprint with which a step last computed."""
        path = self.root / "latest" / step
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def accept(self, step: str, code: str, counts_as: str, why: str) -> None:
        """Write down that a fingerprint of a step counts as an older one."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"step": step, "code": code, "counts_as": counts_as, "why": why, "when": now}
        diary.append_line(self.root / "accepted.jsonl", line)

    def accepted(self) -> dict[tuple[str, str], str]:
        """Return the older fingerprint of each accepted one, by step and accepted fingerprint."""
        lines = diary.read_lines(self.root / "accepted.jsonl", ACCEPTED)
        return {(line["step"], line["code"]): line["counts_as"] for line in lines}

    def _entry(self, key: str) -> dict[str, Any] | None:
        """Return the description of an entry; None where there is none that can be read."""
        try:
            entry = files.read_json(self.folder(key) / "entry.json")
        except UserError:
            return None
        return entry if has_shape(entry, ENTRY) else None

    def _compute(
        self,
        action: Action,
        outputs: Mapping[str, Any],
        compute: Callable[[Path], Mapping[str, str] | None],
    ) -> None:
        work = self.root / "work" / action.key
        # A process that died left this folder. It no longer holds the lock.
        shutil.rmtree(work, ignore_errors=True)
        files.remove_unfinished(self.state_path(action.key))
        with files.writable(self.root):
            work.mkdir(parents=True)
        try:
            with explained():
                early_hashes = compute(work) or {}
            if forgotten := sorted(name for name in outputs if not (work / name).is_file()):
                raise FileNotFoundError(f"the step {action.step} wrote no {forgotten}")
            hashes = {
                name: early_hashes.get(name) or files.sha256_file(work / name)
                for name in sorted(outputs)
            }
            for name in hashes:
                (work / name).chmod(0o444)
            entry = {"ingredients": action.ingredients, "outputs": hashes}
            files.write_json(work / "entry.json", entry)
            # It is written inside the work folder, so that a kill leaves no part of it elsewhere.
            files.write_text(work / "code", action.code)
            final, latest = self.folder(action.key), self.root / "latest" / action.step
            with files.writable(self.root):
                latest.parent.mkdir(parents=True, exist_ok=True)
                final.parent.mkdir(parents=True, exist_ok=True)
                (work / "code").rename(latest)
                work.rename(final)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def place(self, key: str, name: str, target: Path) -> None:
        """Bring a file of an entry to its place; it appears complete or not at all."""
        source = self.folder(key) / name
        with files.writable(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        files.remove_unfinished(target)
        if source.stat().st_size < self.link_from_bytes or not _link(source, target):
            with open(source, "rb") as reading, files.atomic(target) as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
        if target.suffix == HASHED:
            files.write_hash(target, self.outputs(key)[name])

    @contextmanager
    def locked(self, key: str, doing: str) -> Iterator[None]:
        """Hold a key's lock; the kernel frees it when its holder dies, so none goes stale.

        Parameters
        ----------
        doing
            What the holder does, for the line that tells another process why it waits; empty: the
            wait is too short to tell.
        """
        path = self.root / "locks" / key
        with files.writable(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with open(path, "a+", encoding="utf-8", errors="replace") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                if doing:
                    print(f"waiting for process {holder}, which {doing}", file=sys.stderr)
                fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(0)
            with files.writable(self.root):
                # Without a buffer, close() does not retry the bytes that a full disk refused.
                os.write(stream.fileno(), f"{os.getpid()} on {os.uname().nodename}".encode())
            yield


def _link(source: Path, target: Path) -> bool:
    """Hard-link `target` to `source`, replacing it; False where the file system cannot."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, temporary)
    except OSError:
        return False
    os.replace(temporary, target)
    # A rename of one link over another of the same file does nothing and leaves both.
    temporary.unlink(missing_ok=True)
    return True
