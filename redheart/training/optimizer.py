"""The optimizer: rates by module, the cosine schedule, clipping per module, the moving average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redheart.machine.ranks import Ranks, SingleProcess
from redheart.machine.tiers import USUAL, Tier
from redheart.model.network import Network
from redheart.model.shares import local, put
from redheart.model.states import parameters_by_module
from redheart.recipe.groups import BACKBONE, HEAD, LEXICAL, clipping_unit, kind_of
from redheart.recipe.training_options import TrainOptions
from redheart.storage.tensor_files import Deferred, made
from redheart.tasks.task import Task
from redheart.training.adamw import AdamW
from redheart.training.adamw_8bit import AdamW8bit
from redheart.training.adamw_offloaded import OffloadedAdamW, on_host

Parameters = Mapping[str, Mapping[str, nn.Parameter]]

# The learning rate of a lexical branch's bias, as a multiple of the rate of its n-grams.
BIAS_SHARE = 0.04


def rate_multipliers(network: Network, options: TrainOptions) -> dict[str, dict[str, float]]:
    """Return every parameter's learning rate as a multiple of the heads' rate.

    Layer i of the backbone's n layers has `layer_decay ** (n - 1 - i)`; embeddings count as layer
    0. Heads have 1. Lexical branches have 0, since they have a rate of their own. All other modules
    have `analyzer_rate`.
    """
    backbone = network.backbone

    def multiplier(module: str, name: str) -> float:
        kind = kind_of(module)
        if kind is BACKBONE:
            return float(options.layer_decay ** (backbone.depth - 1 - backbone.depth_of(name)))
        if kind is LEXICAL:
            return 0.0
        return 1.0 if kind is HEAD else options.analyzer_rate

    return {
        module: {name: multiplier(module, name) for name in parameters}
        for module, parameters in parameters_by_module(network).items()
    }


def build_optimizer(
    network: Network, options: TrainOptions, tier: Tier = USUAL, seed: int = 0
) -> AdamW:
    """Return AdamW over all parameters, in the variant that a tier of memory needs.

    There is one group for each multiplier of the learning rate and two for each lexical branch.
    The rate of a group is `multiplier` times the common rate plus `own_rate`.
    """
    groups = _parameter_groups(network, options)
    if tier.states_on_cpu and not tier.weights_on_cpu:
        return OffloadedAdamW(groups, options.weight_decay)
    if tier.states == "8bit":
        return AdamW8bit(groups, options.weight_decay, seed)
    return AdamW(groups, options.weight_decay)


def _parameter_groups(network: Network, options: TrainOptions) -> list[dict[str, Any]]:
    """Return groups that hold every parameter exactly once."""
    multipliers = rate_multipliers(network, options)
    by_rate: dict[float, list[nn.Parameter]] = {}
    for module, parameters in parameters_by_module(network).items():
        for name, parameter in parameters.items():
            by_rate.setdefault(multipliers[module][name], []).append(parameter)
    by_rate.pop(0.0, None)
    groups: list[dict[str, Any]] = [
        {"params": by_rate[rate], "multiplier": rate, "own_rate": 0.0} for rate in sorted(by_rate)
    ]
    tasks = {LEXICAL.of(task.name): task for task in network.tasks}
    for module, branch in network.modules_by_name().items():
        if module in tasks:
            groups.extend(_lexical_groups(branch, tasks[module], options))
    return groups


def _lexical_groups(branch: nn.Module, task: Task, options: TrainOptions) -> list[dict[str, Any]]:
    """Return the groups of a lexical branch's weights and of its bias.

    Plain gradient descent fits a linear model best: its steps leave the weights of rare n-grams
    small. With eps 1, which is large beside the gradients of n-grams, AdamW is gradient descent
    with momentum. In units of the loss's curvature one rate and one decay suit all kinds of tasks.
    The bias takes smaller steps, since its feature is 1 and those of n-grams are a few hundredths.
    It has no decay.
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
    """Set every group's learning rate to a share of its peak; `peak` is the common peak."""
    for group in optimizer.param_groups:
        group["lr"] = share * (peak * group["multiplier"] + group["own_rate"])


def clipping_units(parameters: Parameters) -> dict[str, list[nn.Parameter]]:
    """Return the parameters that share a gradient norm: trunk with heads, any other module alone.

    A common norm would let one module's gradient shrink another's step.
    """
    units: dict[str, list[nn.Parameter]] = {}
    for module, named in parameters.items():
        units.setdefault(clipping_unit(module), []).extend(named.values())
    return units


@torch.no_grad()
def clip(
    units: Mapping[str, Sequence[nn.Parameter]], largest: float, ranks: Ranks | None = None
) -> dict[str, Tensor]:
    """Clip each unit's gradients to norm `largest`; return the norms before it, float32 scalars.

    This is `nn.utils.clip_grad_norm_`, for shares of gradients too.
    """
    gradients = [[local(p.grad) for p in unit if p.grad is not None] for unit in units.values()]
    device = next(p.device for unit in units.values() for p in unit)
    norms = torch.stack([_norm(unit).to(device) for unit in gradients])
    norms = (ranks or SingleProcess()).norms(norms)
    for unit, norm in zip(gradients, norms, strict=True):
        if unit:
            torch._foreach_mul_(unit, torch.clamp(largest / (norm + 1e-6), max=1.0))
    return dict(zip(units, norms, strict=True))


def _norm(gradients: list[Tensor]) -> Tensor:
    if not gradients:
        return torch.zeros(())
    norms = torch._foreach_norm(gradients, 2, dtype=torch.float32)
    return torch.linalg.vector_norm(torch.stack(norms))


@torch.no_grad()
def update_ratios(
    optimizer: AdamW, units: Mapping[str, Sequence[nn.Parameter]], ranks: Ranks | None = None
) -> dict[str, float]:
    """Return the norm of the last step's update relative to the norm of the weights before it.

    There is a ratio for each unit, and `all`. `all` is about the common learning rate, so it leaves
    out parameters that have a rate of their own. A ratio is 0 where nothing was updated.

    The update follows from AdamW's state (Loshchilov and Hutter 2019, arXiv 1711.05101,
    algorithm 2), tensor by tensor, so no copy of the weights is needed.
    """
    unit_of = {parameter: unit for unit, members in units.items() for parameter in members}
    squares = {name: [0.0, 0.0] for name in (*units, "all")}
    for parameter, group in _stepped(optimizer):
        update, weight = _last_update(optimizer, parameter, group)
        for name in (unit_of[parameter], *(() if group.get("own_rate") else ("all",))):
            squares[name][0] += update
            squares[name][1] += weight
    sums = (ranks or SingleProcess()).sum(torch.tensor([*squares.values()], dtype=torch.float64))
    pairs = zip(squares, sums.tolist(), strict=True)
    return {name: math.sqrt(u / w) if w else 0.0 for name, (u, w) in pairs}


def _last_update(
    optimizer: AdamW, parameter: nn.Parameter, group: Mapping[str, Any]
) -> tuple[float, float]:
    """Return the squared norms of a tensor's last update and of its weights before that."""
    (beta1, beta2), step = group["betas"], float(optimizer.state[parameter]["step"])
    updated, first, second = optimizer.moments(parameter)
    spread = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
    scale = group["lr"] / (1 - beta1**step)
    previous = torch.addcdiv(updated, first, spread, value=scale)
    previous /= 1 - group["lr"] * group["weight_decay"]
    weight = float(torch.linalg.vector_norm(previous)) ** 2
    return float(torch.linalg.vector_norm(previous.sub_(updated))) ** 2, weight


def _stepped(optimizer: AdamW) -> Iterator[tuple[nn.Parameter, dict]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and "exp_avg" in optimizer.state.get(parameter, {}):
                yield parameter, group


class MovingAverage:
    """The exponential moving average of all weights, in float32 whatever their type."""

    def __init__(
        self,
        parameters: Parameters,
        decay: float,
        on_cpu: bool = False,
        masters: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        """Begin at the weights.

        Parameters
        ----------
        on_cpu
            Whether to keep and compute the average in main memory, wherever the weights are.
        masters
            By parameter, the float32 weight of which it is a copy; others are no copies.
        """
        self.decay = decay
        self.names = [(m, name) for m, named in parameters.items() for name in named]
        originals: Mapping[Any, Tensor] = masters or {}
        flat = (parameter for named in parameters.values() for parameter in named.values())
        self.sources = [originals.get(parameter, parameter) for parameter in flat]
        self.on_cpu = on_cpu
        self.values = [
            torch.empty_like(p, dtype=torch.float32, device="cpu" if on_cpu else p.device).copy_(p)
            for p in map(Tensor.detach, self.sources)
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after optimizer step `step` (from 0).

        The decay is `min(decay, (1 + t) / (10 + t))`, so the average soon forgets the weights that
        it began at.
        """
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        sources, values = [*map(local, self.sources)], [*map(local, self.values)]
        pairs = list(zip(sources, values, strict=True))
        if all(s.dtype == v.dtype and s.device == v.device for s, v in pairs):
            torch._foreach_lerp_(values, sources, share)
            return
        # Tensor by tensor: all at once would need a second copy of all weights for a moment.
        arriving = on_host(sources) if self.on_cpu else sources
        for value, source in zip(values, arriving, strict=True):
            value.lerp_(source.detach().to(value.device, torch.float32), share)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the average by module and parameter name."""
        modules: dict[str, dict[str, Tensor]] = {}
        for (module, name), value in zip(self.names, self.values, strict=True):
            modules.setdefault(module, {})[name] = value
        return modules

    @torch.no_grad()
    def load(self, modules: Mapping[str, Mapping[str, Tensor | Deferred]]) -> None:
        """Load a saved average."""
        for (module, name), value in zip(self.names, self.values, strict=True):
            put(value, made(modules[module][name]))
