"""Tensors that no process shares: each function leaves them as they are, or copies them whole."""

from __future__ import annotations

import pytest
import torch

from redheart.model.shares import full_tensor, local, placed, put


def test_a_whole_tensor_is_its_own_share():
    tensor = torch.arange(6.0)
    assert full_tensor(tensor) is tensor
    assert local(tensor) is tensor


def test_a_full_tensor_is_put_into_its_target():
    target = torch.zeros(3, dtype=torch.bfloat16)
    put(target, torch.tensor([1.0, 2.0, 257.0]))
    assert target.tolist() == [1.0, 2.0, 256.0]  # rounded to the target's type


@pytest.mark.parametrize("value", [torch.tensor(7.0), torch.arange(4)], ids=["scalar", "vector"])
def test_a_tensor_is_placed_where_another_is(value):
    assert placed(value, torch.zeros(9)) is value
    there = placed(value, torch.zeros(9, device="meta"))
    assert (there.device.type, there.dtype, there.shape) == ("meta", value.dtype, value.shape)
