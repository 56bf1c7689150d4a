"""AdamW by torch's own fused kernel, without the second that `torch.optim` takes to start.

The first optimizer that torch makes in a process imports its compiler (0.9 s), which nothing here
uses; a leg of a small model trains in no more time. The steps are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redheart.model.shares import local, placed


class AdamW:
    """Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.

    Parameters
    ----------
    groups
        Each has `params`, and those of `lr`, `betas`, `eps` and `weight_decay` that differ from
        the defaults; further entries are left alone. `lr` may be set between steps.
    weight_decay
        The weight decay of groups that do not name one.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], weight_decay: float = 0.01) -> None:
        common = {"lr": 0.0, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = [{**common, **group} for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}
        # By parameter, the float32 weight of which it is a copy; empty: parameters are no copies.
        self.masters: dict[nn.Parameter, Tensor] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            gradients = {p: p.grad for p in group["params"] if p.grad is not None}
            if gradients:
                self._update(group, [*gradients], [*gradients.values()])

    def moments(self, parameter: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
        """Return a parameter and its moments in float32, all on one device."""
        state = self.state[parameter]
        return local(parameter.detach()), local(state["exp_avg"]), local(state["exp_avg_sq"])

    def state_dict(self) -> dict[str, Any]:
        """Return the groups' rates, and each parameter's moments and number of steps by place."""
        places = enumerate(self._parameters())
        state = {place: self.state[p] for place, p in places if p in self.state}
        return {"lr": [group["lr"] for group in self.param_groups], "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
        parameters = self._parameters()
        for group, rate in zip(self.param_groups, saved["lr"], strict=True):
            group["lr"] = rate
        self.state = {
            parameters[place]: {n: self._placed(parameters[place], n, t) for n, t in state.items()}
            for place, state in saved["state"].items()
        }

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _update(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor]
    ) -> None:
        """Update parameters of a group by their gradients."""
        states = [self._state_of(parameter) for parameter in parameters]
        fused_step(group, [*parameters], gradients, states)

    def _placed(self, parameter: nn.Parameter, name: str, value: Tensor) -> Tensor:
        """Return a saved state on its parameter's device, divided as the parameter is."""
        return placed(value, parameter)

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = new_state(parameter)
        return self.state[parameter]


def new_state(weight: Tensor) -> dict[str, Tensor]:
    """Return the state of a weight before its first step."""
    return {
        "step": torch.zeros((), device=weight.device),
        "exp_avg": torch.zeros_like(weight),
        "exp_avg_sq": torch.zeros_like(weight),
    }


def fused_step(
    group: Mapping[str, Any],
    weights: list[Tensor],
    gradients: list[Tensor],
    states: Sequence[Mapping[str, Tensor]],
) -> None:
    """Take a step with weights of one group, or with shares of them, in float32 on one device."""
    torch._foreach_add_([state["step"] for state in states], 1)
    beta1, beta2 = group["betas"]
    torch._fused_adamw_(
        [*map(local, weights)],
        [*map(local, gradients)],
        [local(state["exp_avg"]) for state in states],
        [local(state["exp_avg_sq"]) for state in states],
        [],
        [state["step"] for state in states],
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
