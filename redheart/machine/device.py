"""The device and the precision of computation, without torch's import where possible."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.errors import UserError
from redheart.recipe.training_options import TrainOptions

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def device_type(options: TrainOptions) -> str:
    """Return `cuda` or `cpu`: the device that the options name, or else what the machine has."""
    if options.device != "auto":
        return options.device
    cpu_build = "+cpu" in metadata.version("torch")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0") in ("", "-1")
    return "cuda" if Path("/dev/nvidiactl").exists() and not (cpu_build or hidden) else "cpu"


def environment(options: TrainOptions, devices: int = 1) -> dict[str, Any]:
    """Return the facts of the machine that change the bits of training; a leg's key holds them.

    Where one device trains, the facts do not name the number of devices.
    """
    kind = device_type(options)
    version = ".".join(metadata.version("torch").split(".")[:2])
    threads = options.cpu_threads if kind == "cpu" else None
    several = {"devices": devices} if devices > 1 else {}
    return {"device": kind, "torch": version, "threads": threads, **several}


def precision(options: TrainOptions) -> str:
    """Return fp32, bf16 or fp16: the precision that the options name, or one for the device."""
    if options.precision != "auto":
        return options.precision
    return "bf16" if device_type(options) == "cuda" else "fp32"


def open_device(options: TrainOptions) -> torch.device:
    """Return the device to compute on, with the thread count and the kind of algorithms set.

    Raises
    ------
    UserError
        The options ask for a GPU, or the machine seems to have one, but torch cannot use it.
    """
    import torch

    torch.set_num_threads(options.cpu_threads)
    # The call imports torch's compiler, for a second, whichever value it sets.
    if options.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(options.deterministic)
    if options.deterministic:
        # cuBLAS reads this at its first use; without it, cuBLAS adds up in no fixed order.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    kind = device_type(options)
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "torch cannot use the GPU of this machine; set train.device: cpu or mend it"
        )
    return torch.device(kind)


def autocast(options: TrainOptions) -> AbstractContextManager[Any]:
    """Return the context in which a forward pass runs at the chosen precision."""
    import torch

    name = precision(options)
    dtype = getattr(torch, DTYPES[name])
    return torch.autocast(device_type(options), dtype=dtype, enabled=name != "fp32")
