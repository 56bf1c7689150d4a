"""Files of tensors in the format of `torch.save`, written and read tensor by tensor."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from redheart.errors import UserError
from redheart.storage import files

# After so many bytes, the file is flushed to the disk, which would otherwise idle until the end.
FLUSHED_BYTES = 16_000_000
# The writing thread hashes fewer bytes itself: handing them to another thread would cost more.
SMALL_BYTES = 65_536


@dataclass(frozen=True)
class Deferred:
    """A tensor that is made each time it is needed, and takes no memory in between."""

    shape: tuple[int, ...]
    """Shape of the tensor."""
    dtype: torch.dtype
    """Type of its elements."""
    make: Callable[[], Tensor]
    """Makes the tensor."""


def made(tensor: Tensor | Deferred) -> Tensor:
    """Return the tensor itself, which is made now if it is deferred."""
    return tensor.make() if isinstance(tensor, Deferred) else tensor


def write(stream: Any, value: Any) -> None:
    """Write nested dicts, lists, numbers and tensors as `torch.save` does, one tensor at a time.

    The bytes are the same as torch's, except for the archive's CRC-32
    (`torch.serialization.set_crc32_options`). `torch.load` does not check it, and torch computes it
    before it writes, so that the disk would wait.

    A deferred tensor is made, and a tensor of a GPU is copied, when its turn comes; either is freed
    before the next. Only the visible elements of a view are written.

    Parameters
    ----------
    stream
        Any object with a method `write`.
    """
    content = io.BytesIO()
    pickler = _Pickler(content, protocol=2)
    pickler.dump(value)
    writer: Any = torch._C.PyTorchFileWriter(stream, False)
    records = {
        "data.pkl": content.getvalue(),
        ".format_version": b"1",
        ".storage_alignment": b"64",
        "byteorder": b"little",
    }
    try:
        for name, record in records.items():
            writer.write_record(name, record, len(record))
        for number, maybe_deferred in enumerate(pickler.tensors):
            tensor = made(maybe_deferred).detach().cpu().contiguous()
            if tensor.untyped_storage().nbytes() != tensor.nbytes:
                tensor = tensor.clone()
            writer.write_record(f"data/{number}", tensor.untyped_storage(), tensor.nbytes)
    finally:  # a writer that is not closed ends the process
        writer.write_end_of_file()


@dataclass(frozen=True)
class _Storage:
    tensor: Tensor | Deferred


class _Pickler(pickle.Pickler):
    """Writes a tensor as torch does: as the call that rebuilds it from a record of the file."""

    def __init__(self, stream: IO[bytes], protocol: int) -> None:
        super().__init__(stream, protocol)
        self.tensors: list[Tensor | Deferred] = []

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor | Deferred):
            return NotImplemented
        # The tuple is a new object: a tuple that pickle meets again is written as a reference.
        shape = tuple(int(size) for size in value.shape)
        stride = torch.empty(shape, device="meta").stride()
        hooks: OrderedDict[int, Any] = OrderedDict()
        arguments = (_Storage(value), 0, shape, stride, False, hooks)
        return torch._utils._rebuild_tensor_v2, arguments

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        kind = torch.storage._dtype_to_storage_type_map()[value.tensor.dtype]
        self.tensors.append(value.tensor)
        key, count = str(len(self.tensors) - 1), torch.Size(value.tensor.shape).numel()
        return ("storage", getattr(torch, kind), key, "cpu", count)


def deferred(path: str | Path, mapped: Any) -> Any:
    """Return the value that torch mapped from a file, with all tensors deferred.

    A tensor is read from the file into new memory when it is made. Pages of the mapping are not
    used, since they would stay in the process's memory. Nothing checks the bytes that are read:
    check the file by its hash.
    """
    number, first = next(((n, t) for n, t in enumerate(_tensors(mapped)) if t.numel()), (0, None))
    if first is None:
        return mapped
    file: Any = torch._C.PyTorchFileReader(str(path))
    start = first.data_ptr() - file.get_record_offset(f"data/{number}")

    def reader(tensor: Tensor) -> Tensor | Deferred:
        if not tensor.numel():
            return tensor
        offset, dtype, shape = tensor.data_ptr() - start, tensor.dtype, tuple(tensor.shape)
        return Deferred(shape, dtype, lambda: _read(path, offset, dtype, shape))

    return _map_tensors(mapped, reader)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in the order in which they were written."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


def _map_tensors(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_tensors(item, change) for key, item in value.items()}
    return [_map_tensors(item, change) for item in value] if isinstance(value, list) else value


def _read(path: str | Path, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    with open(path, "rb") as stream:
        stream.seek(offset)
        read_bytes = stream.readinto(tensor.flatten().view(torch.uint8).numpy().data)
    if read_bytes != tensor.nbytes:
        raise UserError(f"{path}: cut off while it was read; {files.how_to_rebuild(path)}")
    return tensor


class _HashedStream:
    """A file whose bytes other threads hash and flush to the disk while this thread writes them.

    The writer's bytes are never copied. One thread hashes them while this thread writes them, and
    both have ended before the writer goes on.
    """

    def __init__(self, stream: IO[bytes], pool: ThreadPoolExecutor) -> None:
        self.stream, self.pool = stream, pool
        self.digest = hashlib.sha256()
        self._unflushed = 0
        self._flushing: Future[None] | None = None

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        if len(view) < SMALL_BYTES:
            self.digest.update(view)
            self._pass_on(view)
            return len(view)
        hashing = self.pool.submit(self.digest.update, view)
        try:
            for start in range(0, len(view), FLUSHED_BYTES):
                self._pass_on(view[start : start + FLUSHED_BYTES])
        finally:  # the writer frees the bytes, whether the disk took them or not
            hashing.result()
        return len(view)

    def _pass_on(self, piece: memoryview) -> None:
        self.stream.write(piece)
        self._unflushed += len(piece)
        if self._unflushed > FLUSHED_BYTES and (not self._flushing or self._flushing.done()):
            self.wait_for_flush()
            self.stream.flush()
            self._flushing = self.pool.submit(os.fsync, self.stream.fileno())
            self._unflushed = 0

    def wait_for_flush(self) -> None:
        """Wait for the running flush and raise its error, which the system reports only once."""
        if self._flushing:
            self._flushing.result()


@contextmanager
def hashed(stream: IO[bytes]) -> Iterator[_HashedStream]:
    """Return a stream over `stream` whose `digest` is, at the end, that of all written bytes."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        hashing = _HashedStream(stream, pool)
        yield hashing
        hashing.wait_for_flush()
