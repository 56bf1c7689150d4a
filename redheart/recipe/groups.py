"""The kinds of modules: their names, and which module belongs to which group and unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TRUNK = "trunk"


@dataclass(frozen=True)
class ModuleKind:
    """What all modules of one kind have in common."""

    name: str
    """The module's name; where each task has a module, the part of its name before the task's."""
    words: str
    """The name of the kind in tables."""
    each_task: bool = True
    """Whether each task has a module of this kind; otherwise the network has at most one."""
    group: str | None = None
    """The selection group of all modules of the kind; None: each is a group of its own."""
    unit: str | None = None
    """The unit in which these modules are stitched as one; None: each is a unit of its own."""
    clipping_unit: str | None = None
    """The unit in which these modules share a gradient norm; None: each has its own norm."""
    dense: bool = True
    """Whether a text uses all weights; otherwise it uses only the rows of its n-grams."""

    def of(self, task: str) -> str:
        """Return the name of a task's module of this kind."""
        return self.name + task


BACKBONE = ModuleKind(
    "backbone", "backbone", each_task=False, group="A", unit=TRUNK, clipping_unit=TRUNK
)
HEAD = ModuleKind("heads.", "heads", group="A", unit=TRUNK, clipping_unit=TRUNK)
NEURAL = ModuleKind("neural_", "neural analyzers", group="B")
DSP = ModuleKind("dsp", "dsp", each_task=False, group="C", unit="signal")
KALMAN = ModuleKind("kalman", "kalman", each_task=False, group="C", unit="signal")
ADVANCED = ModuleKind("advanced_", "advanced analyzers")
LEXICAL = ModuleKind("lexical_", "lexical branches", dense=False)
# All kinds, in canonical order.
KINDS = (BACKBONE, HEAD, NEURAL, DSP, KALMAN, ADVANCED, LEXICAL)


def kind_of(module: str) -> ModuleKind:
    """Return the kind of a module, given its name.

    Raises
    ------
    ValueError
        No kind of module has that name.
    """
    for kind in KINDS:
        if module == kind.name or (kind.each_task and module.startswith(kind.name)):
            return kind
    raise ValueError(f"no module is called '{module}'")


def contribution_group(module: str) -> str:
    """Return the selection group of a module.

    A: the backbone and the heads, chosen together; B: the neural analyzers; C: dsp and kalman;
    an advanced analyzer and a lexical branch are groups of their own, under their own names.
    """
    return kind_of(module).group or module


def clipping_unit(module: str) -> str:
    """Return the clipping unit of a module: gradients of one unit share a norm, clipped as one."""
    return kind_of(module).clipping_unit or module


def group_in_words(group: str) -> str:
    """Return the name of a group and, for a group of several modules, the kinds in it."""
    words = [kind.words for kind in KINDS if kind.group == group]
    return f"{group}: {' and '.join(words)}" if words else group


def groups(module_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the modules of each group, in their given order; a group without modules is absent."""
    return _gathered(module_names, contribution_group)


def units(module_names: Iterable[str], frozen_trunk: bool = False) -> dict[str, tuple[str, ...]]:
    """Return the modules of each unit that is stitched as one: task x module.

    The unit `trunk` is the backbone with its heads, since the heads learned from features that no
    other epoch has. If the backbone is frozen, it is alone, and every head is a unit of its own.
    The unit `signal` is dsp and kalman, since kalman reads the series of dsp. Every other module is
    a unit under its own name.
    """

    def unit(module: str) -> str:
        kind = kind_of(module)
        is_alone = kind is HEAD and frozen_trunk
        return module if is_alone or kind.unit is None else kind.unit

    return _gathered(module_names, unit)


def trunk_is_frozen(manifests: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether checkpoints hold no backbone, or all the same one, given their manifests."""
    hashes = [manifest["weights"].get(BACKBONE.name) for manifest in manifests]
    return None in hashes or (len(hashes) > 1 and len(set(hashes)) == 1)


def _gathered(
    module_names: Iterable[str], place: Callable[[str], str]
) -> dict[str, tuple[str, ...]]:
    members: dict[str, list[str]] = {}
    for module in module_names:
        members.setdefault(place(module), []).append(module)
    return {name: tuple(modules) for name, modules in members.items()}
