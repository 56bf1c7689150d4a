"""The optimizer: rates by module, the cosine schedule, clipping per module, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redheart.adamw import AdamW
from redheart.groups import parameters_by_module
from redheart.model.network import Network
from redheart.tasks import Task
from redheart.tensor_files import Deferred, made
from redheart.training_options import TrainOptions

Parameters = Mapping[str, Mapping[str, nn.Parameter]]

# Rate of a lexical branch's bias as a multiple of its n-grams'.
BIAS_SHARE = 0.04


def rate_multipliers(network: Network, options: TrainOptions) -> dict[str, dict[str, float]]:
    """Return every parameter's learning rate as a multiple of the heads'.

    Layer i of the backbone's n has `layer_decay ** (n - 1 - i)`, embeddings count as layer 0;
    heads have 1, all other modules `analyzer_rate`; but 0 the lexical branches, whose rate is
    their own.
    """
    backbone = network.backbone

    def multiplier(module: str, name: str) -> float:
        if module == "backbone":
            return float(options.layer_decay ** (backbone.depth - 1 - backbone.depth_of(name)))
        if module.startswith("lexical_"):
            return 0.0
        return 1.0 if module.startswith("heads.") else options.analyzer_rate

    return {
        module: {name: multiplier(module, name) for name in parameters}
        for module, parameters in parameters_by_module(network).items()
    }


def build_optimizer(network: Network, options: TrainOptions) -> AdamW:
    """Return AdamW with every parameter in exactly one group.

    There is one group for each multiplier of the learning rate and two for each lexical branch.
    The rate of a group is `multiplier` times the common one plus `own_rate`.
    """
    multipliers = rate_multipliers(network, options)
    by_rate: dict[float, list[nn.Parameter]] = {}
    for module, parameters in parameters_by_module(network).items():
        for name, parameter in parameters.items():
            by_rate.setdefault(multipliers[module][name], []).append(parameter)
    by_rate.pop(0.0, None)
    groups: list[dict[str, Any]] = [
        {"params": by_rate[rate], "multiplier": rate, "own_rate": 0.0} for rate in sorted(by_rate)
    ]
    tasks = {f"lexical_{task.name}": task for task in network.tasks}
    for module, branch in network.modules_by_name().items():
        if module in tasks:
            groups.extend(_lexical_groups(branch, tasks[module], options))
    return AdamW(groups, options.weight_decay)


def _lexical_groups(branch: nn.Module, task: Task, options: TrainOptions) -> list[dict[str, Any]]:
    """Return the groups of a lexical branch's weights and of its bias.

    A linear model is best fitted by plain gradient descent, whose steps leave rare n-grams small:
    with eps 1, large beside the gradients of n-grams, AdamW is that, with momentum. In units of
    the loss's curvature one rate and one decay suit all kinds of tasks. The bias, on a feature of
    1 where others are a few hundredths, takes smaller steps, and no decay.
    """
    curvature = (2.0 if task.kind == "regression" else 0.25) * (task.weight or 1.0)
    if task.kind in ("regression", "multilabel"):
        curvature /= task.width  # their losses are means over outputs
    own_rate = options.lexical_rate / curvature
    common = {"multiplier": 0.0, "eps": 1.0}
    decay = options.lexical_decay * curvature
    return [
        {**common, "params": [branch.weight], "own_rate": own_rate, "weight_decay": decay},
        {**common, "params": [branch.bias], "own_rate": BIAS_SHARE * own_rate, "weight_decay": 0.0},
    ]


def schedule(step: int, total_steps: int, final_rate: float) -> float:
    """Return the share of the peak rate at optimizer step `step` (from 0): a cosine from 1.

    Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5, without restarts.
    """
    progress = min(1.0, step / total_steps)
    return final_rate + (1 - final_rate) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: AdamW, peak: float, share: float) -> None:
    """Give every parameter group a share of its own peak, given the common one."""
    for group in optimizer.param_groups:
        group["lr"] = share * (peak * group["multiplier"] + group["own_rate"])


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


@torch.no_grad()
def update_ratios(
    optimizer: AdamW, units: Mapping[str, Sequence[nn.Parameter]]
) -> dict[str, float]:
    """Return the norm of the last step's update relative to that of the weights before it.

    By unit, and `all`, which tells about the common learning rate, so it leaves out parameters
    that have their own. 0 where nothing was updated.

    It is worked out from AdamW's own state (Loshchilov and Hutter 2019, arXiv 1711.05101,
    algorithm 2), tensor by tensor, so that no copy of the weights is needed.
    """
    unit_of = {parameter: unit for unit, members in units.items() for parameter in members}
    squares = {name: [0.0, 0.0] for name in (*units, "all")}
    for parameter, group in _stepped(optimizer):
        update, weight = _last_update(parameter.float(), group, optimizer.state[parameter])
        for name in (unit_of[parameter], *(() if group.get("own_rate") else ("all",))):
            squares[name][0] += update
            squares[name][1] += weight
    return {name: math.sqrt(u / w) if w else 0.0 for name, (u, w) in squares.items()}


def _last_update(
    after: Tensor, group: Mapping[str, Any], state: Mapping[str, Tensor]
) -> tuple[float, float]:
    """Return the squared norms of a tensor's last update and of its weights before it."""
    (beta1, beta2), step = group["betas"], float(state["step"])
    spread = (state["exp_avg_sq"].float() / (1 - beta2**step)).sqrt_().add_(group["eps"])
    scale = group["lr"] / (1 - beta1**step)
    before = torch.addcdiv(after, state["exp_avg"].float(), spread, value=scale)
    before /= 1 - group["lr"] * group["weight_decay"]
    weight = float(torch.linalg.vector_norm(before)) ** 2
    return float(torch.linalg.vector_norm(before.sub_(after))) ** 2, weight


def _stepped(optimizer: AdamW) -> Iterator[tuple[nn.Parameter, dict]]:
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
    def load(self, modules: Mapping[str, Mapping[str, Tensor | Deferred]]) -> None:
        """Take up a saved average."""
        for (module, name), value in zip(self.names, self.values, strict=True):
            value.copy_(made(modules[module][name]))
