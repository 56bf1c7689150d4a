"""Reading and writing whole files: atomic, with the same bytes for the same content."""

from __future__ import annotations

import glob
import gzip
import hashlib
import json
import os
import secrets
import shlex
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from redheart.errors import UserError
from redheart.shapes import Shape, has_shape
from redheart.terminal import FULL

GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def opened(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a plain or gzip file for reading its unpacked bytes; the content tells which it is.

    Raises
    ------
    UserError
        The file cannot be opened, is a pipe or a device, or is damaged after its beginning.
    """
    try:
        refuse_pipe(path)
        with open(path, "rb") as stream:
            compressed = stream.read(2) == GZIP_MAGIC
            stream.seek(0)
            if not compressed:
                yield stream
                return
            with gzip.open(stream) as unpacked:
                yield unpacked  # type: ignore[misc]
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: the gzip file is cut off or damaged ({error}); copy it again"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def refuse_pipe(path: str | Path) -> None:
    """Raise a UserError for a pipe or a device.

    To open a pipe would wait for a writer; and what it yields can be read once only.
    """
    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise UserError(
            f"{path}: is a pipe or a device, not a file; write its content to a file first"
        )


def unreadable(path: str | Path, error: OSError) -> UserError:
    """Return what to tell the user of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: the file is missing; check the path")
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path}: is a directory; name a file")
    if isinstance(error, PermissionError):
        return UserError(f"{path}: no permission to read; allow it with chmod")
    reason = error.strerror or error
    return UserError(f"{path}: cannot be read ({reason}); copy it to a local file")


@contextmanager
def atomic(path: str | Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing so that it appears complete or not at all.

    The bytes go to a temporary file in the same folder, are flushed to the disk and renamed.

    Raises
    ------
    UserError
        The folder takes no file, or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a directory; name a file")
    if path.exists() and not path.is_file():  # renaming a file over /dev/null would replace it
        raise UserError(f"{path}: is no regular file, such as a device; name a file")
    temporary = unused_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its mode is what the umask allows.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if full := _full(error):
            raise UserError(
                f"{path}: cannot be written ({full.strerror}); make room and run it again"
            ) from None
        raise


def unused_name(path: Path) -> Path:
    """Return a hidden name beside `path`, for what gets its true name once it is complete.

    A name of `tempfile` would bring the mode 0600, and a rename would keep it.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def refuse_overwriting(source: str | Path, target: str | Path) -> None:
    """Refuse a target that is the source itself, or a file of the folder that is the source.

    Other names and links of the same file count as the same file.

    Raises
    ------
    UserError
        Writing the target would destroy the source.
    """
    source, target = Path(source), Path(target)
    if not source.exists():
        return
    true_source, true_target = (Path(os.path.realpath(path)) for path in (source, target))
    inside = source.is_dir() and true_target.is_relative_to(true_source)
    if inside or (target.exists() and target.samefile(source)):
        lies = "lies in the source" if inside else "is the source itself"
        raise UserError(f"{target}: {lies}, {source}, which would be lost; name another file")


def _full(error: BaseException | None) -> OSError | None:
    """Return the error that says that there is no room; later errors may have followed it.

    torch.save, for one, closes its archive after a failed write, and closing fails for another
    reason.
    """
    while error:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        error = error.__context__
    return None


@contextmanager
def writable(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block inside into one line that says that `path` cannot be written.

    Raises
    ------
    UserError
        The path is read-only, belongs to somebody else, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); make room, allow it, or choose another "
            "folder"
        ) from None


def expanded(path: Any) -> Any:
    """Return a path that the user wrote, with the home folder in place of a `~` at its beginning.

    Other values are returned as they are.

    Raises
    ------
    UserError
        The path names the home of a user whom this machine does not know.
    """
    if not isinstance(path, str | Path) or not str(path).startswith("~"):
        return path
    whole = os.path.expanduser(path)
    if str(whole).startswith("~"):
        raise UserError(f"{path}: no user of that name has a home here; for a file, write ./{path}")
    return type(path)(whole)


def remove_unfinished(path: str | Path) -> None:
    """Delete the temporary files of `path` that killed processes left.

    Call it only where no other process writes `path`.
    """
    path = Path(path)
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as stream:
        stream.write(text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_text(path, text + "\n")


def write_lines(path: str | Path, values: Iterable[Any]) -> None:
    """Write values as JSON, one a line, atomically; NaN and infinity are refused."""
    lines = (json.dumps(value, ensure_ascii=False, allow_nan=False) for value in values)
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_json(path: str | Path) -> Any:
    """Read a JSON file that an earlier step wrote.

    Raises
    ------
    UserError
        The file is missing, cannot be read or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: the file is missing") from None
    except OSError as error:
        raise unreadable(path, error) from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; delete it to rebuild it") from None
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise UserError(f"{path}: no valid JSON ({error}); delete it to rebuild it") from None


def read_shaped(path: str | Path, shape: Shape) -> Any:
    """Read a JSON file as `read_json` does, and refuse it unless it has a shape."""
    value = read_json(path)
    if not has_shape(value, shape):
        raise UserError(f"{path}: damaged, since its JSON lacks a value; {how_to_rebuild(path)}")
    return value


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_file(path: str | Path) -> Path:
    """Return the path of the SHA-256 beside a file, in the format of `sha256sum --check`."""
    return Path(f"{path}.sha256")


def write_hash(path: str | Path, sha256: str) -> None:
    """Write the SHA-256 that the content of `path` must have beside it."""
    write_text(hash_file(path), f"{sha256}  {Path(path).name}\n")


def recorded_hash(path: str | Path) -> str | None:
    """Return the hash beside a file; None: there is no such file; "": it is empty."""
    recorded = hash_file(path)
    if not recorded.is_file():
        return None
    return next(iter(recorded.read_text(encoding="utf-8", errors="replace").split()), "")


def how_to_rebuild(path: str | Path) -> str:
    """Return the end of a message about a file or folder of a run that cannot be used."""
    remove = "rm -r" if Path(path).is_dir() else "rm"
    return f"to rebuild it, `{remove} {shlex.quote(str(path))}` and run the same command again"


def check_hash(path: str | Path) -> None:
    """Check that the content of a file has the hash that is written beside it.

    Raises
    ------
    UserError
        The file or its hash is missing, or the file is damaged or another one.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: the file is missing")
    recorded, beside, again = recorded_hash(path), hash_file(path).name, how_to_rebuild(path)
    if recorded is None:
        raise UserError(f"{path}: not made by a run, for {beside} is missing; {again}")
    if recorded != sha256_file(path):
        raise UserError(f"{path}: damaged, or another file: {beside} differs; {again}")


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
