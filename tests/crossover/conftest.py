"""Checkpoints as a training saves them."""

from __future__ import annotations

import pytest

from redheart.model.states import module_states
from redheart.storage import files
from redheart.storage.tensors import save_tensors


@pytest.fixture
def saved(members, tmp_path):
    """Two checkpoints of two networks, at epochs 2 and 4."""
    paths = []
    for epoch, network in zip((2, 4), members, strict=True):
        states = module_states(network)
        paths.append(str(tmp_path / f"epoch_{epoch:03d}.pt"))
        save_tensors(paths[-1], {"epoch": epoch, "weights": states, "ema": states})
        files.write_hash(paths[-1], files.sha256_file(paths[-1]))
    return paths
