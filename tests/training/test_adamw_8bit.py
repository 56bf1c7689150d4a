"""AdamW in 8 bits: torchao's code and its steps, AdamW in double precision, and its own repetition."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from redheart.training import adamw_8bit
from redheart.training.adamw import AdamW
from redheart.training.adamw_8bit import (
    AdamW8bit,
    codebook,
    dequantize,
    quantize,
    round_stochastically,
)


@pytest.mark.parametrize("signed", [True, False])
def test_a_code_stands_for_256_values_from_the_smallest_to_1(signed):
    values = codebook(signed)
    assert len(set(values)) == 256
    assert values == tuple(sorted(values))
    assert values[-1] == 1
    assert 0 in values
    assert values[0] == pytest.approx(-0.9929688, abs=1e-6) if signed else values[0] == 0


@pytest.mark.parametrize("signed", [True, False])
def test_the_values_are_torchao_s(signed):
    library = pytest.importorskip("torchao.optim.quant_utils", reason="torchao is an oracle")
    assert codebook(signed) == pytest.approx(library.create_dynamic_map(signed), abs=1e-7)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [1, 255, 256, 257, 1000])
def test_a_value_has_the_code_of_the_nearest_one_in_its_block(signed, count):
    generator = torch.Generator().manual_seed(count)
    values = torch.randn(count, generator=generator) * 10 ** torch.randn(count, generator=generator)
    values = values if signed else values.abs()
    codes, scales = quantize(values, signed)
    decoded = dequantize(codes, scales, signed)
    for begin in range(0, count, 256):
        block = values[begin : begin + 256].double().numpy()
        scale = np.abs(block).max()
        nearest = np.array(codebook(signed)) * scale
        error = np.abs(block[:, None] - nearest).min(axis=1)
        ours = np.abs(block - decoded[begin : begin + 256].double().numpy())
        np.testing.assert_allclose(ours, error, atol=1e-6 * scale)
    assert (codes.dtype, len(codes), len(scales)) == (torch.uint8, count, math.ceil(count / 256))


@pytest.mark.parametrize("signed", [True, False])
def test_zeros_stay_zeros(signed):
    assert not dequantize(*quantize(torch.zeros(300), signed), signed).any()


def test_rounding_keeps_the_mean_and_goes_to_a_neighbour():
    generator = torch.Generator().manual_seed(0)
    for value in (1.0 + 2**-10, -3.3, 1e-30, 0.0, 1.5):
        many = torch.full((40_000,), value)
        rounded = round_stochastically(many, generator).float()
        below, above = rounded.min().item(), rounded.max().item()
        assert below <= many[0].item() <= above
        assert above - below <= abs(value) * 2**-7
        assert rounded.mean().item() == pytest.approx(value, rel=1e-4, abs=1e-35)


def problem(seed=0):
    """A bfloat16 matrix of more than a block, one of less, and a float32 bias, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    large = torch.randn(33, 41, generator=generator).bfloat16()
    weights = [nn.Parameter(large), nn.Parameter(torch.randn(5, 3, generator=generator).bfloat16())]
    weights.append(nn.Parameter(torch.randn(41, generator=generator)))
    return weights, generator


def train(optimizer, weights, gradients):
    for step_gradients in gradients:
        for weight, gradient in zip(weights, step_gradients, strict=True):
            weight.grad = gradient.to(weight.dtype)
        optimizer.step()


def draw(weights, generator, steps):
    return [[torch.randn(w.shape, generator=generator) for w in weights] for _ in range(steps)]


def test_what_is_in_float32_steps_as_adamw_does():
    weights, generator = problem()
    gradients = draw(weights, generator, 5)
    plain = nn.Parameter(weights[2].detach().clone())
    train(AdamW([{"params": [plain], "lr": 0.1}]), [plain], [[g[2]] for g in gradients])
    train(AdamW8bit([{"params": weights, "lr": 0.1}]), weights, gradients)
    assert torch.equal(weights[2], plain)


def test_a_step_is_near_that_in_double_precision():
    """An update is about the size of the rate; codes and rounding change it by a few hundredths."""
    weights, generator = problem()
    gradients = draw(weights, generator, 20)
    double = [nn.Parameter(w.detach().double()) for w in weights]
    groups = [{"params": double, "lr": 0.05, "weight_decay": 0.1}]
    oracle = torch.optim.AdamW(groups)
    train(oracle, double, gradients)
    train(AdamW8bit([{**groups[0], "params": weights}]), weights, gradients)
    moved = (double[0] - problem()[0][0].double()).norm()
    assert (weights[0].double() - double[0]).norm() / moved < 0.05


def test_a_small_rate_still_moves_weights_on_average():
    """Rounding to the nearest bfloat16 would swallow a step of a thousandth of a weight."""
    weight = nn.Parameter(torch.ones(64, 64).bfloat16())
    optimizer = AdamW8bit([{"params": [weight], "lr": 1e-3, "weight_decay": 0.0}])
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert weight.float().mean().item() == pytest.approx(0.95, abs=2e-3)


def test_it_is_as_near_as_torchao_s():
    library = pytest.importorskip("torchao.optim", reason="torchao is an oracle")
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(64, 256, generator=generator)
    gradients = [[torch.randn(64, 256, generator=generator)] for _ in range(10)]
    double, ours, theirs = (
        nn.Parameter(start.to(d)) for d in (torch.double, *[torch.bfloat16] * 2)
    )
    settings = {"lr": 0.02, "weight_decay": 0.01}
    train(torch.optim.AdamW([double], **settings), [double], gradients)
    train(AdamW8bit([{"params": [ours], **settings}]), [ours], gradients)
    train(library.AdamW8bit([theirs], bf16_stochastic_round=True, **settings), [theirs], gradients)
    error = {n: (w.double() - double).norm().item() for n, w in (("ours", ours), ("ao", theirs))}
    assert error["ours"] < 1.1 * error["ao"]


def test_a_saved_state_goes_on_bit_for_bit_and_leaves_torch_s_generator_alone():
    uninterrupted, generator = problem()
    gradients = draw(uninterrupted, generator, 8)
    random_state = torch.get_rng_state()
    train(AdamW8bit([{"params": uninterrupted, "lr": 0.1}], seed=3), uninterrupted, gradients)
    assert torch.equal(torch.get_rng_state(), random_state)
    halves, _ = problem()
    first = AdamW8bit([{"params": halves, "lr": 0.1}], seed=3)
    train(first, halves, gradients[:4])
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second = AdamW8bit([{"params": halves, "lr": 0.1}], seed=3)
    second.load_state_dict(torch.load(stream, weights_only=True))
    train(second, halves, gradients[4:])
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, halves, strict=True))
    reseeded, _ = problem()
    train(AdamW8bit([{"params": reseeded, "lr": 0.1}], seed=4), reseeded, gradients)
    assert not torch.equal(reseeded[0], uninterrupted[0])


def test_states_take_two_bytes_a_weight_and_a_thirty_second():
    weight = nn.Parameter(torch.ones(64, 64).bfloat16())
    weight.grad = torch.ones_like(weight)
    optimizer = AdamW8bit([{"params": [weight], "lr": 1e-3}])
    optimizer.step()
    moments = [value for name, value in optimizer.state[weight].items() if name != "step"]
    assert sum(value.nbytes for value in moments) == 64 * 64 * (2 + 1 / 32)


def test_pieces_of_a_large_weight_are_updated_as_the_whole_is(monkeypatch):
    whole, generator = problem()
    gradients = draw(whole, generator, 3)
    monkeypatch.setattr(adamw_8bit, "round_stochastically", lambda values, _: values.bfloat16())
    train(AdamW8bit([{"params": whole, "lr": 0.1}]), whole, gradients)
    pieces, _ = problem()
    monkeypatch.setattr(adamw_8bit, "CHUNK", 512)
    train(AdamW8bit([{"params": pieces, "lr": 0.1}]), pieces, gradients)
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))
