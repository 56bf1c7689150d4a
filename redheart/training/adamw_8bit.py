"""AdamW with states of 8 bits and weights in bfloat16, for models that must be small in memory.

Dettmers et al. 2022, "8-bit optimizers via block-wise quantization", arXiv 2110.02861. Why not
torchao's: docs/decisions/008-8bit-states.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redheart.training.adamw import AdamW

# Values that share a scale.
BLOCK = 256
# Values that are decoded, updated and encoded at once, with temporaries of about 40 bytes a value.
# It is a multiple of BLOCK, so results depend on it only through the random numbers.
CHUNK = 1 << 20
# bfloat16 is the upper half of float32.
LOWER_HALF = 1 << 16


@cache
def codebook(signed: bool) -> tuple[float, ...]:
    """Return the 256 values that a code stands for, in ascending order, 1 the last.

    Dynamic tree quantization, section 1.3 and appendix F: each of seven decimal exponents has
    twice as many fractions as the one below it.
    """
    values = [0.0, 1.0]
    for exponent in range(7):
        count = 2**exponent if signed else 2 ** (exponent + 1)
        borders = torch.linspace(0.1, 1, count + 1, dtype=torch.float64)
        scaled = ((borders[:-1] + borders[1:]) / 2 * 10.0 ** (exponent - 6)).tolist()
        values += [*scaled, *(-value for value in scaled)] if signed else scaled
    return tuple(sorted(values))


def quantize(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Return uint8 codes of float32 values and the scale of each block: its largest magnitude.

    Parameters
    ----------
    values
        One dimension; the last block may be shorter than the others.
    """
    blocks = F.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    shares = blocks / scales.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    codes = torch.bucketize(shares, _borders(signed, values.device), out_int32=True)
    return codes.to(torch.uint8).flatten()[: len(values)], scales


def dequantize(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """Return the float32 values that `quantize` encoded, as nearly as the codes can hold them."""
    shares = _values(signed, codes.device).index_select(0, codes.int())
    blocks = F.pad(shares, (0, -len(codes) % BLOCK)).view(-1, BLOCK)
    return (blocks * scales[:, None]).flatten()[: len(codes)]


@cache
def _values(signed: bool, device: torch.device) -> Tensor:
    return torch.tensor(codebook(signed), device=device)


@cache
def _borders(signed: bool, device: torch.device) -> Tensor:
    """Return the middles between neighbouring values: a code is for numbers between two middles."""
    values = torch.tensor(codebook(signed), dtype=torch.float64)
    return ((values[:-1] + values[1:]) / 2).float().to(device)


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return float32 values in bfloat16, up or down by chance, so that the mean stays the same."""
    bits = torch.randint(
        0, LOWER_HALF, values.shape, generator=generator, dtype=torch.int32, device=values.device
    )
    bits += values.view(torch.int32)
    return (bits & -LOWER_HALF).view(torch.float32).to(torch.bfloat16)


class AdamW8bit(AdamW):
    """AdamW that keeps the moments of bfloat16 weights in 8 bits, and all others in float32.

    Parameters
    ----------
    seed
        The random numbers of rounding follow from this seed, a weight's place and its number of
        steps. So there is no random state to keep, and torch's random state does not change.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], weight_decay: float = 0.01, seed: int = 0
    ) -> None:
        super().__init__(groups, weight_decay)
        self.seed = seed
        self._places = {parameter: i for i, parameter in enumerate(self._parameters())}

    def moments(self, parameter: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
        """Return a parameter and its moments in float32, decoded where they must be."""
        if parameter.dtype == torch.float32:
            return super().moments(parameter)
        state = self.state[parameter]
        first = dequantize(state["exp_avg"], state["exp_avg_scale"], True)
        second = dequantize(state["exp_avg_sq"], state["exp_avg_sq_scale"], False)
        shape = parameter.shape
        return parameter.detach().float(), first.view(shape), second.view(shape)

    def _update(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor]
    ) -> None:
        pairs = list(zip(parameters, gradients, strict=True))
        if full := [pair for pair in pairs if pair[0].dtype == torch.float32]:
            super()._update(group, *map(list, zip(*full, strict=True)))
        for parameter, gradient in pairs:
            if parameter.dtype != torch.float32:
                self._update_compact(group, parameter, gradient)

    def _update_compact(
        self, group: Mapping[str, Any], parameter: nn.Parameter, gradient: Tensor
    ) -> None:
        state = self._state_of(parameter)
        state["step"] += 1
        step = int(state["step"])
        generator = torch.Generator(parameter.device)
        generator.manual_seed(_seed(self.seed, self._places[parameter], step))
        weights, gradients = parameter.view(-1), gradient.view(-1)
        for begin in range(0, len(weights), CHUNK):
            values = slice(begin, begin + CHUNK)
            blocks = slice(begin // BLOCK, (begin + CHUNK) // BLOCK)
            part = {n: t[blocks if n.endswith("scale") else values] for n, t in _tensors(state)}
            updated = _updated(group, step, weights[values], gradients[values], part)
            weights[values] = round_stochastically(updated, generator)

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter.dtype == torch.float32 or parameter in self.state:
            return super()._state_of(parameter)
        count, device = parameter.numel(), parameter.device
        # The code of 0 is 127: below it are 127 signed values, above it the same 127 and 1.
        zero = codebook(True).index(0.0)
        self.state[parameter] = {
            "step": torch.zeros(()),
            "exp_avg": torch.full((count,), zero, dtype=torch.uint8, device=device),
            "exp_avg_scale": torch.zeros(-(-count // BLOCK), device=device),
            "exp_avg_sq": torch.zeros(count, dtype=torch.uint8, device=device),
            "exp_avg_sq_scale": torch.zeros(-(-count // BLOCK), device=device),
        }
        return self.state[parameter]

    def _placed(self, parameter: nn.Parameter, name: str, value: Tensor) -> Tensor:
        # Python reads the number of steps, and would wait for a GPU.
        if name == "step" and parameter.dtype != torch.float32:
            return value
        return super()._placed(parameter, name, value)


def _tensors(state: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in state.items() if name != "step"]


def _updated(
    group: Mapping[str, Any],
    step: int,
    weights: Tensor,
    gradients: Tensor,
    state: Mapping[str, Tensor],
) -> Tensor:
    """Return the weights after a step, in float32; the states are updated in place."""
    beta1, beta2 = group["betas"]
    gradient = gradients.float()
    first = dequantize(state["exp_avg"], state["exp_avg_scale"], True)
    first.lerp_(gradient, 1 - beta1)
    _store(state, "exp_avg", first, True)
    second = dequantize(state["exp_avg_sq"], state["exp_avg_sq_scale"], False)
    second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    _store(state, "exp_avg_sq", second, False)
    spread = second.div_(1 - beta2**step).sqrt_().add_(group["eps"])
    updated = weights.float().mul_(1 - group["lr"] * group["weight_decay"])
    return updated.addcdiv_(first, spread, value=-group["lr"] / (1 - beta1**step))


def _store(state: Mapping[str, Tensor], name: str, values: Tensor, signed: bool) -> None:
    codes, scales = quantize(values, signed)
    state[name].copy_(codes)
    state[f"{name}_scale"].copy_(scales)


def _seed(seed: int, place: int, step: int) -> int:
    digest = hashlib.sha256(f"{seed}/{place}/{step}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
