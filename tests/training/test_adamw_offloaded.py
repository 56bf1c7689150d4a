"""AdamW in main memory: torch's own is the oracle, bit for bit; float32 weights behind bfloat16."""

from __future__ import annotations

import pytest
import torch
from optimizer_problem import problem, train
from torch import nn

from redheart.training.adamw_offloaded import OffloadedAdamW, on_host

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="takes a GPU")


def test_the_steps_are_torch_s_bit_for_bit():
    ours, groups, gradients = problem()
    train(OffloadedAdamW(groups, 0.05), ours, gradients)
    theirs, groups, gradients = problem()
    train(torch.optim.AdamW(groups, weight_decay=0.05, fused=True), theirs, gradients)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_gradients_may_be_added_up():
    torch.manual_seed(0)
    inputs = torch.randn(12, 5)
    weights = []
    for kind in (OffloadedAdamW, torch.optim.AdamW):
        torch.manual_seed(1)
        layer = nn.Linear(5, 2)
        optimizer = kind([{"params": list(layer.parameters()), "lr": 0.1}])
        for _ in range(3):
            optimizer.zero_grad()
            for batch in inputs.split(3):
                layer(batch).square().sum().backward()
            optimizer.step()
        weights.append(layer.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-6, atol=1e-7)


def in_bfloat16(seed=0):
    """The problem with all weights in bfloat16, and the float32 weights behind them."""
    weights, groups, gradients = problem(seed)
    masters = [nn.Parameter(w.detach().bfloat16().float()) for w in weights]
    for weight in weights:
        weight.data = weight.data.bfloat16()
    rounded = [[g.bfloat16() for g in step] for step in gradients]
    return weights, groups, rounded, masters


def test_weights_in_bfloat16_are_roundings_of_float32_ones():
    weights, groups, gradients, masters = in_bfloat16()
    optimizer = OffloadedAdamW(groups, 0.05)
    train(optimizer, weights, gradients)
    _, groups, _ = problem()
    for group, group_masters in zip(groups, (masters[:2], masters[2:]), strict=True):
        group["params"] = group_masters
    plain = [[g.float() for g in step] for step in gradients]
    train(torch.optim.AdamW(groups, weight_decay=0.05, fused=True), masters, plain)
    for weight, master in zip(weights, masters, strict=True):
        assert torch.equal(optimizer.masters[weight], master)
        assert torch.equal(weight, master.bfloat16())


def test_a_saved_state_goes_on_bit_for_bit_with_what_bfloat16_cannot_hold():
    uninterrupted, groups, gradients, _ = in_bfloat16()
    train(OffloadedAdamW(groups), uninterrupted, gradients)
    ours, groups, gradients, _ = in_bfloat16()
    first = OffloadedAdamW(groups)
    train(first, ours, gradients[:6])
    second = OffloadedAdamW(groups)
    second.load_state_dict(first.state_dict())
    train(second, ours, gradients[6:])
    assert all(torch.equal(a, b) for a, b in zip(ours, uninterrupted, strict=True))


def test_weights_that_were_loaded_are_those_that_step():
    weights, groups, gradients = problem()
    optimizer = OffloadedAdamW(groups)
    with torch.no_grad():
        weights[0].fill_(2.0)
    optimizer.load_state_dict(optimizer.state_dict())
    train(optimizer, weights, gradients[:1])
    assert (weights[0] - 2.0).abs().max() < 0.1


def test_what_lies_in_main_memory_is_handed_out_as_it_is():
    tensors = [torch.ones(2), torch.zeros(3)]
    assert all(a is b for a, b in zip(on_host(tensors), tensors, strict=True))


@needs_gpu
def test_what_lies_on_a_gpu_arrives_whole():
    tensors = [torch.randn(n, device="cuda") for n in (5, 1_000_000, 3, 70_000)]
    tensors.append(torch.randn(9, 9, device="cuda").bfloat16())
    for arrived, tensor in zip(on_host(tensors), tensors, strict=True):
        assert arrived.device.type == "cpu"
        assert torch.equal(arrived, tensor.cpu())


@needs_gpu
def test_a_gpus_weights_follow_those_in_main_memory():
    weights, groups, gradients = problem()
    for weight in weights:
        weight.data = weight.data.cuda()
    optimizer = OffloadedAdamW(groups, 0.05)
    train(optimizer, weights, [[g.cuda() for g in step] for step in gradients])
    theirs, groups, gradients = problem()
    train(torch.optim.AdamW(groups, weight_decay=0.05, fused=True), theirs, gradients)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(weights, theirs, strict=True))
