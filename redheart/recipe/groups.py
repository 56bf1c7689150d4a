"""Which module belongs to which selection group and unit, and which parameter to which module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

TRUNK = "trunk"


def contribution_group(module: str) -> str:
    """Return the selection group of a module.

    A: the backbone and the heads, chosen together; B: the neural analyzers; C: dsp and kalman;
    an advanced analyzer and a lexical branch are groups of their own, under their own names.

    Raises
    ------
    ValueError
        No module can have that name.
    """
    if module == "backbone" or module.startswith("heads."):
        return "A"
    if module.startswith("neural_"):
        return "B"
    if module in ("dsp", "kalman"):
        return "C"
    if module.startswith(("advanced_", "lexical_")):
        return module
    raise ValueError(f"no module is called '{module}'")


def groups(module_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the modules of each group, in the order given; a group without modules is absent."""
    return _gathered(module_names, contribution_group)


def units(module_names: Iterable[str], frozen_trunk: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the modules of each unit that is stitched as one: task x module.

    `trunk`: the backbone with its heads, which learned from features that no other epoch has,
    unless the backbone is frozen: then it is alone, and every head is a unit of its own. `signal`:
    kalman reads the series of dsp. Every other module is a unit under its own name.
    """

    def unit(module: str) -> str:
        if module == "backbone" or (module.startswith("heads.") and not frozen_trunk):
            return TRUNK
        return "signal" if module in ("dsp", "kalman") else module

    return _gathered(module_names, unit)


def trunk_is_frozen(manifests: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether checkpoints hold no backbone, or several the same one, given their manifests."""
    hashes = [manifest["weights"].get("backbone") for manifest in manifests]
    return None in hashes or (len(hashes) > 1 and len(set(hashes)) == 1)


def _gathered(
    module_names: Iterable[str], place: Callable[[str], str]
) -> dict[str, tuple[str, ...]]:
    members: dict[str, list[str]] = {}
    for module in module_names:
        members.setdefault(place(module), []).append(module)
    return {name: tuple(modules) for name, modules in members.items()}
