"""The optimizer: layer-wise rates, the cosine schedule, clipping per module, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from redheart.groups import parameters_by_module
from redheart.model.network import Network
from redheart.training_options import TrainOptions

Parameters = Mapping[str, Mapping[str, nn.Parameter]]


def rate_multipliers(network: Network, options: TrainOptions) -> dict[str, dict[str, float]]:
    """Return every parameter's learning rate as a multiple of the heads'.

    Layer i of the backbone's n has `layer_decay ** (n - 1 - i)`, embeddings count as layer 0;
    heads have 1, all other modules `analyzer_rate`.
    """
    backbone = network.backbone

    def multiplier(module: str, name: str) -> float:
        if module == "backbone":
            return float(options.layer_decay ** (backbone.depth - 1 - backbone.depth_of(name)))
        return 1.0 if module.startswith("heads.") else options.analyzer_rate

    return {
        module: {name: multiplier(module, name) for name in parameters}
        for module, parameters in parameters_by_module(network).items()
    }


def build_optimizer(network: Network, options: TrainOptions) -> torch.optim.AdamW:
    """Return AdamW with a parameter group for each multiplier, every parameter in exactly one."""
    multipliers = rate_multipliers(network, options)
    by_rate: dict[float, list[nn.Parameter]] = {}
    for module, parameters in parameters_by_module(network).items():
        for name, parameter in parameters.items():
            by_rate.setdefault(multipliers[module][name], []).append(parameter)
    groups = [{"params": by_rate[rate], "multiplier": rate} for rate in sorted(by_rate)]
    return torch.optim.AdamW(groups, lr=0.0, weight_decay=options.weight_decay, fused=True)


def learning_rate(peak: float, step: int, total_steps: int, final_rate: float) -> float:
    """Return the rate of optimizer step `step` (from 0): a cosine from the peak to its end.

    Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
    """
    progress = min(1.0, step / total_steps)
    return peak * (final_rate + (1 - final_rate) * (1 + math.cos(math.pi * progress)) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group its multiple of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]


def clipping_units(parameters: Parameters) -> dict[str, list[nn.Parameter]]:
    """Return the parameters that share a gradient norm: trunk with heads, each other module.

    A common norm would let one module's gradient shrink another's step.
    """
    units: dict[str, list[nn.Parameter]] = {}
    for module, named in parameters.items():
        unit = "trunk" if module == "backbone" or module.startswith("heads.") else module
        units.setdefault(unit, []).extend(named.values())
    return units


def clip(units: Mapping[str, Sequence[nn.Parameter]], largest: float) -> dict[str, Tensor]:
    """Clip each unit's gradients to norm `largest`; return the norms before, as scalars."""
    return {
        unit: nn.utils.clip_grad_norm_(parameters, largest, error_if_nonfinite=False)
        for unit, parameters in units.items()
    }


def update_ratio(optimizer: torch.optim.AdamW) -> float:
    """Return the norm of the last step's update relative to that of the weights before it.

    It is worked out from AdamW's own state (Loshchilov and Hutter 2019, arXiv 1711.05101,
    algorithm 2), tensor by tensor, so that no copy of the weights is needed.
    """
    update_square = weight_square = 0.0
    for parameter, group in _stepped(optimizer):
        state = optimizer.state[parameter]
        (beta1, beta2), step = group["betas"], float(state["step"])
        mean = state["exp_avg"].float() / (1 - beta1**step)
        spread = (state["exp_avg_sq"].float() / (1 - beta2**step)).sqrt() + group["eps"]
        adam = group["lr"] * mean / spread
        before = (parameter.detach().float() + adam) / (1 - group["lr"] * group["weight_decay"])
        update_square += float((parameter.detach().float() - before).square().sum())
        weight_square += float(before.square().sum())
    return math.sqrt(update_square / weight_square) if weight_square else 0.0


def _stepped(optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Parameter, dict]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and "exp_avg" in optimizer.state.get(parameter, {}):
                yield parameter, group


class MovingAverage:
    """The exponential moving average of all weights, in float32 whatever the weights are in."""

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self.decay = decay
        self.names = [(m, name) for m, named in parameters.items() for name in named]
        self.sources = [p for named in parameters.values() for p in named.values()]
        self.values = [p.detach().float().clone() for p in self.sources]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after optimizer step `step` (from 0).

        The decay is `min(decay, (1 + t) / (10 + t))`, so that early on the start is soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach().float() for p in self.sources]
        torch._foreach_lerp_(self.values, current, 1 - decay)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the average by module and parameter name."""
        modules: dict[str, dict[str, Tensor]] = {}
        for (module, name), value in zip(self.names, self.values, strict=True):
            modules.setdefault(module, {})[name] = value
        return modules

    @torch.no_grad()
    def load(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take up a saved average."""
        for (module, name), value in zip(self.names, self.values, strict=True):
            value.copy_(modules[module][name])
