"""Files of tensors by module: written atomically, hashed, and read without executing anything."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from redheart.errors import UserError
from redheart.storage import files, tensor_files
from redheart.storage.tensor_files import Deferred, made

ModuleStates = Mapping[str, Mapping[str, Tensor]]
MaybeDeferred = Mapping[str, Mapping[str, Tensor | Deferred]]

# The errors that torch raises for a file that is foreign or would execute something, and those
# that its reader raises for a damaged file.
_UNREADABLE = (
    *(RuntimeError, UnpicklingError, EOFError, ValueError, OSError),
    *(LookupError, TypeError, AttributeError, AssertionError),
)


def hash_modules(states: MaybeDeferred) -> dict[str, str]:
    """Return a SHA-256 per module over its tensors' names, types, shapes and bytes."""
    return {module: _hash_state(state) for module, state in states.items()}


def _hash_state(state: Mapping[str, Tensor | Deferred]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = made(state[name]).detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(path: str | Path, value: Any) -> str:
    """Write nested dicts, lists, numbers and tensors as `torch.save` does, atomically.

    Returns
    -------
    The SHA-256 of the file, computed while the file was written.
    """
    with files.atomic(path) as stream, tensor_files.hashed(stream) as hashed:
        tensor_files.write(hashed, _interned(value))
    return hashed.digest.hexdigest()


def load_tensors(path: str | Path) -> Any:
    """Read a file of `save_tensors`; nothing in the file is ever executed.

    Raises
    ------
    UserError
        The file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: the file is missing") from None
    except _UNREADABLE as error:
        raise UserError(
            f"{path}: {_what_it_is(path, error)}; {files.how_to_rebuild(path)}; if it came from "
            "elsewhere, copy it again"
        ) from error


def _what_it_is(path: str | Path, error: Exception) -> str:
    """Say what an unreadable file is. Torch's own words advise to read it unsafely."""
    never = "Red Heart never unpickles such a file, since that can run any code"
    if isinstance(error, UnpicklingError) or "weights_only" in str(error):
        return f"holds more than tensors and plain values; {never}"
    try:
        with open(path, "rb") as stream:
            beginning = stream.read(2)
    except OSError as unreadable:
        return f"cannot be read ({unreadable.strerror})"
    if beginning[:1] == b"\x80":
        return f"is a bare pickle, as older versions of torch wrote; {never}"
    damaged = "is cut off or damaged, or an archive of something else"
    return damaged if beginning == b"PK" else "is no file of tensors"


def load_deferred(path: str | Path) -> Any:
    """Read a file of `save_tensors`; the bytes of a tensor are not read before it is made.

    Raises
    ------
    UserError
        The file is missing, damaged, or holds more than tensors and plain values.
    """
    return tensor_files.deferred(path, load_tensors(path))


def load_verified(path: str | Path) -> Any:
    """Read a `.pt` of a run or of a model that shipped, after checking its hash.

    The tensors are deferred: each is read when it is made.

    Raises
    ------
    UserError
        The file is missing, damaged, foreign, or holds more than tensors and plain values.
    """
    files.check_hash(path)
    return load_deferred(path)


def _interned(value: Any) -> Any:
    """Make equal texts one object, so that pickle writes a repeated text as a reference."""
    if isinstance(value, Mapping):
        return {_interned(key): _interned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_interned(item) for item in value]
    return sys.intern(value) if type(value) is str else value


@torch.no_grad()
def parameter_statistics(states: ModuleStates) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation, norm, sparsity and count of each module's weights.

    The weights are streamed: no module is ever copied into one tensor. Sparsity is the share of
    exact zeros.
    """
    return {module: _statistics(list(state.values())) for module, state in states.items()}


def _statistics(tensors: list[Tensor]) -> dict[str, float]:
    count = sum(t.numel() for t in tensors)
    total = sum(float(t.sum(dtype=torch.float64)) for t in tensors)
    square = sum(float(t.double().square().sum()) for t in tensors)
    zeros = sum(int((t == 0).sum()) for t in tensors)
    mean = total / count
    variance = max(0.0, square / count - mean * mean)
    return {
        "mean": mean,
        "std": variance**0.5,
        "norm": square**0.5,
        "sparsity": zeros / count,
        "count": count,
    }
