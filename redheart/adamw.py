"""AdamW by torch's own fused kernel, without the second that `torch.optim` takes to start.

The first optimizer that torch makes in a process imports its compiler (0.9 s), which nothing here
uses; a leg of a small model trains no longer than that. Bit for bit the steps are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redheart.ranks import local, placed


class AdamW:
    """Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.

    Parameters
    ----------
    groups
        Each with `params`, and what of `lr`, `betas`, `eps` and `weight_decay` differs from the
        defaults; further entries stay as they are. `lr` may be set between steps.
    weight_decay
        That of groups without their own.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], weight_decay: float = 0.01) -> None:
        common = {"lr": 0.0, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay}
        self.param_groups: list[dict[str, Any]] = [{**common, **group} for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            stepped = [p for p in group["params"] if p.grad is not None]
            if not stepped:
                continue
            states = [self._state_of(parameter) for parameter in stepped]
            torch._foreach_add_([state["step"] for state in states], 1)
            beta1, beta2 = group["betas"]
            torch._fused_adamw_(
                [local(p) for p in stepped],
                [local(p.grad) for p in stepped],
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

    def state_dict(self) -> dict[str, Any]:
        """Return the groups' rates, and each parameter's moments and number of steps by place."""
        places = enumerate(self._parameters())
        state = {place: self.state[p] for place, p in places if p in self.state}
        return {"lr": [group["lr"] for group in self.param_groups], "state": state}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        parameters = self._parameters()
        for group, rate in zip(self.param_groups, saved["lr"], strict=True):
            group["lr"] = rate
        self.state = {
            parameters[place]: {n: placed(t, parameters[place]) for n, t in state.items()}
            for place, state in saved["state"].items()
        }

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self.state[parameter]
