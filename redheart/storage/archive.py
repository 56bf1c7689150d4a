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
from redheart.storage import files

LEVEL = 1
# One block is read, split and compressed at once, so memory holds no more of a file. The size is a
# multiple of all widths.
BLOCK_BYTES = 4_000_000
# So many bytes of a block are compressed with each width, to find how wide its numbers are.
SAMPLE_BYTES = 40_000
WIDTHS = (1, 2, 4)
MANIFEST = "manifest.json"
HEAD = struct.Struct("<BI")


def archive_run(folder: Path, target: str | Path) -> tuple[int, int]:
    """Write all files below `folder` to one file, block by block.

    Returns
    -------
    The size of all files and the size of the archive, in bytes.

    Raises
    ------
    UserError
        The folder holds no files, the target lies in it, a file differs from the hash beside it, or
        zstandard is not installed.
    """
    compressor = _zstandard().ZstdCompressor(level=LEVEL)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        raise UserError(f"{folder}: no files there; name a run's folder, such as results/demo")
    if Path(target).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{target}: lies in the folder to archive; name a file outside of it")
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
        The folder exists already; the file is missing, damaged or no archive; or zstandard is not
        installed.
    """
    zstandard = _zstandard()
    if not Path(source).is_file():
        raise UserError(f"{source}: the file is missing")
    if folder.exists():
        raise UserError(f"{folder}: is there already; name a new folder, or move it away")
    with files.writable(folder):
        work = files.unused_name(folder)
        work.mkdir(parents=True)
    damaged = (
        *(zipfile.BadZipFile, zstandard.ZstdError, struct.error, EOFError, OSError),
        *(LookupError, ValueError, TypeError, NotImplementedError, RuntimeError),
    )
    try:
        with zipfile.ZipFile(source) as archive:
            manifest = json.loads(archive.read(MANIFEST))
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
    """Write a member to its place in the folder, and check it by the hash in the manifest."""
    place = PurePosixPath(entry["path"])
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"{place} lies outside")
    target, digest = folder / place, hashlib.sha256()
    with files.atomic(target) as stream:
        for block in _blocks(member, zstandard):
            digest.update(block)
            stream.write(block)
    if digest.hexdigest() != entry["sha256"]:
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
