"""Weights as safetensors: the same numbers, for us and for the package of that name."""

from __future__ import annotations

import pytest
import torch

from redheart.errors import UserError
from redheart.export.weights import read_weights, write_weights
from redheart.model.states import load_into, module_states


def flat(states):
    return {f"{module}.{name}": t for module, state in states.items() for name, t in state.items()}


@pytest.fixture
def states(members):
    return module_states(members[0])


def test_weights_come_back_as_they_were(states, members, tmp_path):
    count = write_weights(tmp_path / "w.safetensors", states)
    back = read_weights(tmp_path / "w.safetensors")
    assert count == sum(p.numel() for p in members[0].parameters())
    assert back.keys() == states.keys()
    assert all(torch.equal(tensor, flat(back)[name]) for name, tensor in flat(states).items())
    load_into(members[0], back)  # refuses what does not fit


def test_the_package_safetensors_reads_them(states, tmp_path):
    library = pytest.importorskip("safetensors.torch")
    write_weights(tmp_path / "w.safetensors", states)
    read = library.load_file(tmp_path / "w.safetensors")
    assert read.keys() == flat(states).keys()
    assert all(torch.equal(tensor, read[name]) for name, tensor in flat(states).items())


def test_equal_weights_are_equal_bytes_in_any_order(states, tmp_path):
    backwards = {m: dict(reversed(states[m].items())) for m in reversed(states)}
    write_weights(tmp_path / "a", states)
    write_weights(tmp_path / "b", backwards)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_half_precision_and_shared_tensors_are_written_out_in_full(tmp_path):
    shared = torch.tensor([[1.5, -2.0], [0.25, 3.0]], dtype=torch.bfloat16)
    states = {"a.b": {"c": shared, "d.e": shared.t()}, "a": {"x": torch.ones(())}}
    write_weights(tmp_path / "w", states)
    back = read_weights(tmp_path / "w")
    assert back["a.b"]["c"].dtype == torch.float32
    assert back["a.b"]["d.e"].tolist() == [[1.5, 0.25], [-2.0, 3.0]]
    assert back["a"]["x"].shape == ()


@pytest.mark.parametrize("kept", [0, 7, 100, -4])
def test_a_file_that_is_cut_off_is_refused(states, tmp_path, kept):
    path = tmp_path / "w.safetensors"
    write_weights(path, states)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="cut off"):
        read_weights(path)
