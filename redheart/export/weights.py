"""Weights as safetensors: one plain file that nothing in it can execute.

The format is that of the package safetensors: eight bytes with the length of a JSON header, the
header, then the bytes of all tensors. This writer streams: one tensor is in memory at a time.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from redheart.errors import UserError
from redheart.storage import files
from redheart.storage.tensor_files import made
from redheart.storage.tensors import MaybeDeferred

ALIGNMENT = 8
# The key of the header that names the module of each tensor: a module's name may hold dots too.
MODULES = "modules"


def write_weights(path: Path, states: MaybeDeferred) -> int:
    """Write weights by module as float32, in sorted order, and return their number.

    A tensor's name is that of its module, a dot, and that of the parameter.
    """
    tensors = {
        f"{module}.{name}": state[name]
        for module, state in sorted(states.items())
        for name in sorted(state)
    }
    modules = [module for module, state in sorted(states.items()) for _ in state]
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    metadata = {"format": "pt", MODULES: json.dumps(modules)}
    text = files.canonical({"__metadata__": metadata, **header}).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with files.atomic(path) as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            values = made(tensor).detach().cpu().to(torch.float32).contiguous()
            stream.write(values.numpy().astype("<f4", copy=False).data)
    return end // 4


def read_weights(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Read what `write_weights` wrote: module -> parameter -> float32 tensor, mapped from the file.

    Raises
    ------
    UserError
        The file is cut off, or is no such file.
    """
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, path.stat().st_size)))
        modules = json.loads(header.pop("__metadata__")[MODULES])
        flat = np.memmap(path, "<f4", "c", 8 + length)
        return _by_module(header, modules, torch.from_numpy(flat))
    except OSError as error:
        raise files.unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, struct.error) as error:
        raise UserError(f"{path}: no weights of Red Heart, or cut off ({error})") from None


def _by_module(
    header: Mapping[str, Mapping[str, list[int]]], modules: list[str], flat: torch.Tensor
) -> dict[str, dict[str, torch.Tensor]]:
    states: dict[str, dict[str, torch.Tensor]] = {}
    in_order = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    for (name, about), module in zip(in_order, modules, strict=True):
        begin, end = (offset // 4 for offset in about["data_offsets"])
        parameter = name.removeprefix(f"{module}.")
        states.setdefault(module, {})[parameter] = flat[begin:end].reshape(about["shape"])
    return states
