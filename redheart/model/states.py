"""The weights of a network by module: how they are read from it and loaded into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from redheart.errors import UserError
from redheart.model.network import Network
from redheart.model.shares import put
from redheart.storage.tensor_files import made
from redheart.storage.tensors import MaybeDeferred

if TYPE_CHECKING:
    from torch.nn import Parameter


def module_states(network: Network) -> dict[str, dict[str, Tensor]]:
    """Return the network's weights by module and parameter name, on their device, not copied."""
    return {
        module: {name: parameter.detach() for name, parameter in parameters.items()}
        for module, parameters in parameters_by_module(network).items()
    }


@torch.no_grad()
def load_into(network: Network, states: MaybeDeferred) -> None:
    """Copy weights by module into a network.

    Raises
    ------
    UserError
        A module or parameter is missing, unknown or of another shape.
    """
    modules = parameters_by_module(network)
    if set(modules) != set(states):
        differing = sorted(set(modules) ^ set(states))
        raise UserError(f"these weights belong to another model: modules {differing} differ")
    for module, parameters in modules.items():
        if set(parameters) != set(states[module]):
            raise UserError(f"these weights belong to another model: module {module} differs")
        for name, parameter in parameters.items():
            value = states[module][name]
            if value.shape != parameter.shape:
                raise UserError(
                    f"{module}.{name}: expected shape {tuple(parameter.shape)}, "
                    f"got {tuple(value.shape)}"
                )
            put(parameter, made(value))


def parameters_by_module(network: Network) -> dict[str, dict[str, Parameter]]:
    """Return every parameter of a network under its module and its name in that module.

    Raises
    ------
    ValueError
        A parameter that can learn belongs to no module, or any parameter belongs to two modules.
    """
    owner: dict[int, str] = {}
    modules: dict[str, dict[str, Parameter]] = {}
    for module, part in network.modules_by_name().items():
        modules[module] = dict(part.named_parameters())
        for name, parameter in modules[module].items():
            first = owner.setdefault(id(parameter), module)
            if first != module:
                raise ValueError(f"{name} belongs to two modules: {first} and {module}")
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and id(parameter) not in owner:
            raise ValueError(f"{name} belongs to no module")
    return modules
