"""A run's folder in one file, and back: zstd over bytes that are sorted by their place in a number.

The file is a zip archive. Its members are not deflated: each is a sequence of blocks. A block has a
head, which tells the assumed width of its numbers and the length of the block. `manifest.json` has
each file's size, SHA-256 and time stamp. In a block of numbers of two or four bytes, all first
bytes come first, then all second bytes. This packs better, since exponents repeat, while the lowest
bits of weights are noise.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from redheart.errors import UserError
from redheart.shapes import has_shape
from redheart.storage import files

LEVEL = 1
# One block is read, split and compressed at once, so memory holds no more of a file. The size is a
# multiple of all widths.
BLOCK_BYTES = 4_000_000
# So many bytes of a block are compressed with each width, to find how wide its numbers are.
SAMPLE_BYTES = 40_000
WIDTHS = (1, 2, 4)
MANIFEST = "manifest.json"
ENTRY = {"path": str, "bytes": int, "sha256": str, "mtime_ns": int}
HEAD = struct.Struct("<BI")


def archive_run(folder: Path, target: str | Path) -> tuple[int, int]:
    """Write all files below `folder` to one file, block by block.

    Returns
    -------
    The size of all files and the size of the archive, in bytes.

    Raises
    ------
    UserError
        The folder holds no files, or something that the archive would lose; the target lies in it;
        a file cannot be read, or differs from the hash beside it; or zstandard is not installed.
    """
    compressor = _zstandard().ZstdCompressor(level=LEVEL)
    paths = _paths(folder)
    if not paths:
        raise UserError(f"{folder}: no files there; name a run's folder, such as results/demo")
    if Path(target).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{target}: lies in the folder to archive; name a file outside of it")
    if Path(target).is_file() and not zipfile.is_zipfile(target):
        raise UserError(f"{target}: is there already and is no archive; name another file")
    manifest = []
    with files.atomic(target) as stream, zipfile.ZipFile(stream, "w") as archive:
        for path in paths:
            name = path.relative_to(folder).as_posix()
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                manifest.append({"path": name, **_pack(path, member, compressor)})
        archive.writestr(zipfile.ZipInfo(MANIFEST), json.dumps(manifest, indent=1))
    return sum(entry["bytes"] for entry in manifest), Path(target).stat().st_size


def restore_run(source: str | Path, folder: Path) -> int:
    """Unpack a file of `archive_run` into a new folder: all files or none.

    Returns
    -------
    The number of files.

    Raises
    ------
    UserError
        The folder exists already; the file is missing, damaged or no archive; the disk has no room
        for what it holds; or zstandard is not installed.
    """
    zstandard = _zstandard()
    if not Path(source).is_file():
        what = "is no file; name an archive" if Path(source).exists() else "the file is missing"
        raise UserError(f"{source}: {what}")
    if folder.exists():
        raise UserError(f"{folder}: is there already; name a new folder, or move it away")
    with files.writable(folder):
        work = files.unused_name(folder)
        work.mkdir(parents=True)
    damaged = (
        *(zipfile.BadZipFile, zstandard.ZstdError, struct.error, EOFError, OSError),
        *(LookupError, ValueError, TypeError, NotImplementedError, RuntimeError, ArithmeticError),
    )
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = _manifest(archive)
            _refuse_too_large(source, folder, sum(entry["bytes"] for entry in manifest))
            for entry in manifest:
                with archive.open(entry["path"]) as member:
                    _unpack(member, work, entry, zstandard)
        with files.writable(folder):
            work.rename(folder)
    except damaged as error:
        raise UserError(
            f"{source}: damaged, or no archive of a run ({error}); copy it again"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return len(manifest)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise UserError(
            "archives take the package zstandard; install it (`pip install zstandard`)"
        ) from None
    return zstandard


def _paths(folder: Path) -> list[Path]:
    """Return all files below a folder; refuse what would be missing after the way back."""
    paths = sorted(folder.rglob("*"))
    for path in paths:
        # Neither a name without UTF-8 nor that of the archive's own list would come back.
        name = path.relative_to(folder).as_posix()
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if name == MANIFEST or shown != name:
            raise UserError(f"{folder}: an archive cannot hold the name {shown}; rename it")
        if not path.is_file() and (path.is_symlink() or not path.is_dir()):
            raise UserError(
                f"{path}: is a link or a device, which an archive cannot hold; put a true file or "
                "folder in its place, or take it out"
            )
        if not os.access(path, os.R_OK if path.is_file() else os.R_OK | os.X_OK):
            raise UserError(f"{path}: no permission to read; allow it with chmod")
    return [path for path in paths if path.is_file()]


def _manifest(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """Return the list of an archive's files, which all lie in the folder that it makes.

    Members that the zip format itself compresses are refused: they could grow without limit.
    """
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise ValueError("its members are compressed in another way")
    manifest: list[dict[str, Any]] = json.loads(archive.read(MANIFEST))
    if not manifest or not has_shape(manifest, [ENTRY]):
        raise ValueError("its list of files is none")
    names = [entry["path"] for entry in manifest]
    for name in names:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or str(place) != name or name == ".":
            raise ValueError(f"{name!r} lies outside, or is no plain name of a file")
    folders = {str(folder) for name in names for folder in PurePosixPath(name).parents}
    if len(set(names)) < len(names) or not folders.isdisjoint(names):
        raise ValueError("two files have the same place")
    return manifest


def _refuse_too_large(source: str | Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(
            f"{source}: unpacks to {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; make "
            "room, or name a folder on another disk"
        )


def _pack(path: Path, member: IO[bytes], compressor: Any) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
            digest.update(block)
            size += len(block)
            width = best_width(block, compressor)
            packed = compressor.compress(split(block, width))
            member.write(HEAD.pack(width, len(packed)) + packed)
    sha256 = digest.hexdigest()
    if files.recorded_hash(path) not in (None, sha256):
        raise UserError(
            f"{path}: damaged, or another file: {files.hash_file(path).name} differs; "
            f"{files.how_to_rebuild(path)}"
        )
    return {"bytes": size, "sha256": sha256, "mtime_ns": path.stat().st_mtime_ns}


def _unpack(member: IO[bytes], folder: Path, entry: dict[str, Any], zstandard: Any) -> None:
    """Write a member to its place in the folder, and check it by its size and its hash."""
    place, left = entry["path"], entry["bytes"]
    target, digest = folder / place, hashlib.sha256()
    with files.atomic(target) as stream:
        for block in _blocks(member, zstandard):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{place} is larger than the list says")
            digest.update(block)
            stream.write(block)
    if left or digest.hexdigest() != entry["sha256"]:
        raise ValueError(f"{place} differs from its hash")
    os.utime(target, ns=(entry["mtime_ns"], entry["mtime_ns"]))


def _blocks(member: IO[bytes], zstandard: Any) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor()
    while head := member.read(HEAD.size):
        width, length = HEAD.unpack(head)
        packed = member.read(length)
        if width not in WIDTHS or zstandard.frame_content_size(packed) > BLOCK_BYTES:
            raise ValueError("no block of an archive")
        yield joined(decompressor.decompress(packed), width)


def best_width(block: bytes, compressor: Any) -> int:
    """Return the width of numbers with which a sample of the block packs best."""
    sample = block[:SAMPLE_BYTES]
    return min(WIDTHS, key=lambda width: len(compressor.compress(split(sample, width))))


def split(block: bytes, width: int) -> bytes:
    """Sort bytes by their place in numbers of `width` bytes; an incomplete number stays last."""
    if width == 1:
        return block
    whole_bytes = len(block) // width * width
    numbers = np.frombuffer(block, np.uint8, whole_bytes).reshape(-1, width)
    return numbers.T.tobytes() + block[whole_bytes:]


def joined(block: bytes, width: int) -> bytes:
    """Undo `split`."""
    if width == 1:
        return block
    whole_bytes = len(block) // width * width
    planes = np.frombuffer(block, np.uint8, whole_bytes).reshape(width, -1)
    return planes.T.tobytes() + block[whole_bytes:]
