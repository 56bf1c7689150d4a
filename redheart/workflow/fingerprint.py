"""Code fingerprints: which change of the library makes which step's results invalid.

A fingerprint is a hash over the syntax trees of a step's script, without docstrings and comments.
In them, each name of the library is replaced by the hash of its definition, and so on down: see
docs/decisions/002-code-fingerprint.md.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]
SCRIPTS = PACKAGE.parent / "scripts"


class Reference(NamedTuple):
    """The definition or module that a name in the code stands for."""

    module: str
    """A module of the library, or another one."""
    name: str
    """A definition in the module; empty: the whole module."""


# What only moves bytes, measures, or speaks to the user, by module. The name of such a definition
# counts in a fingerprint; its code, and all code behind it, does not. So an edit of it computes
# nothing anew, and it must be one that no result depends on: tests/workflow/test_plumbing.py.
PLUMBING = frozenset(
    Reference(module, name)
    for module, names in {
        "redheart.errors": "UserError did_you_mean explained",
        "redheart.machine.memory_plan": "MemoryPlan UNLIMITED choose",
        "redheart.machine.meter": "Meter",
        "redheart.machine.tiers": "Kept keeps_of",
        "redheart.storage.diary": "append_line",
        "redheart.storage.files": "atomic check_hash how_to_rebuild",
        "redheart.storage.store": "Outcome Store",
        "redheart.training.launch": "read_failures told written_down",
        "redheart.training.legs": "thin_states",
        "redheart.training.progress": "training_progress",
        "redheart.training.snapshots": "Snapshots answering",
        "scripts.job": "Job",
    }.items()
    for name in names.split()
)


def fingerprint(roots: Iterable[str]) -> str:
    """Return the hash (hex) of the code `roots` and of all library code that they refer to.

    Parameters
    ----------
    roots
        Modules and scripts, such as `redheart.duplicates.removal` and `scripts.split_records`, or
        definitions in them, such as `scripts.train_leg:train`.
    """
    return _hash(sorted(map(_meaning, _parsed(roots))))


def closure(roots: Iterable[str]) -> list[str]:
    """Return the modules and scripts whose definitions count in the fingerprint of `roots`."""
    visited: set[Reference] = set()
    waiting = _parsed(roots)
    while waiting:
        reference = waiting.pop()
        if reference not in visited and _counts(reference):
            visited.add(reference)
            waiting.extend(_references(reference))
    return sorted({reference.module for reference in visited})


def module_path(module: str) -> Path | None:
    """Return the file of a library module or script, or None where there is no such module."""
    package, *inner = module.split(".")
    folder = {PACKAGE.name: PACKAGE, SCRIPTS.name: SCRIPTS}.get(package)
    if folder is None:
        return None
    base = folder.joinpath(*inner)
    return next(filter(Path.is_file, (base.with_suffix(".py"), base / "__init__.py")), None)


def _parsed(roots: Iterable[str]) -> list[Reference]:
    references = [Reference(*root.partition(":")[::2]) for root in roots]
    for module, name in references:
        if name and name not in _module(module).bound:
            raise ValueError(f"{module} defines no '{name}'")
        _module(module)
    return references


# --- meanings: the hash of a definition, from the hashes of the definitions it refers to --------


@cache
def _meaning(reference: Reference) -> str:
    """Return the hash of a definition or module; if its code does not count, only its name."""
    if not _counts(reference):
        return reference.name if reference in PLUMBING else ":".join(reference)
    # A definition that refers to itself, directly or not, would need its own hash first. So the
    # definitions of such a ring are hashed together.
    ring = [inner for inner in _reached(reference) if reference in _reached(inner)]
    return _hash([reference.name, sorted(_content(inner, ring) for inner in ring or [reference])])


def _counts(reference: Reference) -> bool:
    return reference not in PLUMBING and module_path(reference.module) is not None


def _content(reference: Reference, ring: list[Reference]) -> str:
    text, references = _definition(reference)
    return _hash([text, [inner.name if inner in ring else _meaning(inner) for inner in references]])


@cache
def _reached(reference: Reference) -> frozenset[Reference]:
    """Return all definitions that a definition or module refers to, directly or through others."""
    reached: set[Reference] = set()
    waiting = [reference]
    while waiting:
        new = set(filter(_counts, _references(waiting.pop()))) - reached
        reached |= new
        waiting.extend(new)
    return frozenset(reached)


def _references(reference: Reference) -> tuple[Reference, ...]:
    """Return the references in a definition; for a module, the definitions that it consists of."""
    return _definition(reference)[1]


@cache
def _definition(reference: Reference) -> tuple[str, tuple[Reference, ...]]:
    """Return the code that binds a name, with its references blanked, and the references in order.

    Statements that bind nothing belong to every definition of their module. For a whole module, the
    order in which it binds its names does not count.
    """
    module = _module(reference.module)
    blanked = _Blanked(module)
    statements = module.bound[reference.name] if reference.name else module.calls
    statements = [*statements, *module.unbound]
    text = "\n".join(ast.unparse(blanked.visit(ast.parse(s))) for s in statements)
    names = () if reference.name else sorted(module.bound)
    parts = (Reference(reference.module, name) for name in names)
    return text, (*blanked.order, *parts, *_acting(reference.module))


@cache
def _acting(module: str) -> tuple[Reference, ...]:
    """Return the modules that do more than bind names when a module is imported, by its imports."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        names = waiting.pop().split(".")
        packages = {".".join(names[:depth]) for depth in range(1, len(names) + 1)}
        new = {name for name in packages - reached if module_path(name)}
        reached |= new
        waiting += [r.module for name in new for rs in _module(name).imported.values() for r in rs]
    acting = (name for name in sorted(reached - {module}) if _module(name).unbound)
    return tuple(Reference(name, "") for name in acting)


class _Blanked(ast.NodeTransformer):
    """Takes out docstrings, imports and every name that stands for a definition elsewhere.

    A local variable that has the name of a definition is treated as that definition. This can add a
    needless reference, and misses none.
    """

    def __init__(self, module: _Module) -> None:
        self.module = module
        self.order: tuple[Reference, ...] = ()

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        return None

    visit_ImportFrom = visit_Import

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        # The limits beside the type in `Annotated[int, AtLeast(1)]` check configs and change no
        # result.
        is_limited = isinstance(node.value, ast.Name) and node.value.id == "Annotated"
        if is_limited and isinstance(node.slice, ast.Tuple):
            return self.visit(node.slice.elts[0])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._blank(node, self.module.resolved(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            references = self.module.through(node.value.id, node.attr)
            if references:
                return self._blank(node, references)
        return self.generic_visit(node)

    def _blank(self, node: ast.expr, references: tuple[Reference, ...]) -> ast.expr:
        self.order += references
        return ast.Name("_") if references else node


# --- modules: which statement binds a name, and what an imported name stands for ----------------


class _Module:
    """A module of the library as statements and imports."""

    def __init__(self, name: str) -> None:
        path = module_path(name)
        if path is None:
            raise ValueError(f"{name} is no module of the library")
        self.name = name
        self.bound: dict[str, list[str]] = {}
        """The top-level statements that bind each name, by name."""
        self.unbound: list[str] = []
        """The statements that bind no name, and so may change the meaning of any other."""
        self.calls: list[str] = []
        """Calls that run a script: they use its bound names and change none of them."""
        self.imported: dict[str, tuple[Reference, ...]] = {}
        """The definitions or modules of each imported name, wherever the module imports it."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unbound: list[ast.stmt] = []
        for statement in filter(_runs, tree.body):
            names = sorted(set(_names_bound(statement)))
            for bound in names:
                self.bound.setdefault(bound, []).append(ast.unparse(statement))
            if not names:
                unbound.append(statement)
        for statement in unbound:
            is_call = path.parent == SCRIPTS and self._is_call(statement)
            (self.calls if is_call else self.unbound).append(ast.unparse(statement))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for local, reference in _imports(tree, package):
            earlier = self.imported.get(local, ())
            self.imported[local] = tuple(sorted({*earlier, reference}))

    def _is_call(self, statement: ast.stmt) -> bool:
        names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        return isinstance(statement, ast.Expr) and not names.isdisjoint(self.bound)

    def resolved(self, name: str) -> tuple[Reference, ...]:
        """Return the definition that a name stands for: none, or several where imports differ."""
        if name in self.bound:
            return (Reference(self.name, name),)
        return tuple(map(_origin, self.imported.get(name, ())))

    def through(self, name: str, attribute: str) -> tuple[Reference, ...]:
        """Return the meaning of `name.attribute` where `name` is a module of the library."""
        modules = self.imported.get(name, ()) if name not in self.bound else ()
        # After `import redheart.data.tables`, the name `redheart` stands for the whole module.
        if any(r.name or module_path(r.module) is None or name == PACKAGE.name for r in modules):
            return ()
        return tuple(_origin(_imported(r.module, attribute)) for r in modules)


_module = cache(_Module)


def _origin(reference: Reference) -> Reference:
    """Follow an imported name to the module that defines it."""
    if not reference.name or not _counts(reference):
        return reference
    module = _module(reference.module)
    if reference.name in module.bound:
        return reference
    (origin,) = module.imported.get(reference.name) or (Reference(reference.module, ""),)
    return _origin(origin)


def _runs(statement: ast.stmt) -> bool:
    """Tell whether a top-level statement is more than an import or a docstring."""
    if isinstance(statement, ast.Expr):
        return not isinstance(statement.value, ast.Constant)
    return not isinstance(statement, ast.Import | ast.ImportFrom) and not _for_types(statement)


def _for_types(statement: ast.AST) -> bool:
    """Tell whether a statement is `if TYPE_CHECKING:`, whose body is never run."""
    test = getattr(statement, "test", None)
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
        return
    # The variable of a comprehension is bound inside of it alone.
    loops = (node for node in ast.walk(statement) if isinstance(node, ast.comprehension))
    inside = {variable for loop in loops for variable in ast.walk(loop.target)}
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node not in inside:
            yield node.id


def _imports(tree: ast.AST, package: str) -> Iterator[tuple[str, Reference]]:
    """Yield the local name and the meaning of every import in a module of a package.

    Imports at any depth count, except those for types.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = _absolute(alias.name, 0, package)
                yield alias.asname or alias.name.partition(".")[0], Reference(module, "")
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node.module, node.level, package)
            for alias in node.names:
                for name in _all_names(module) if alias.name == "*" else [alias.name]:
                    yield alias.asname or name, _imported(module, name)
        elif not _for_types(node):
            yield from _imports(node, package)


def _absolute(module: str | None, level: int, package: str) -> str:
    """Return the full name of a module that a package imports with `level` dots before it."""
    around = package.split(".")
    if level:
        return ".".join([*around[: len(around) + 1 - level], *filter(None, [module])])
    beside = f"{package}.{module}"  # a script imports another script by its bare name
    return beside if package == SCRIPTS.name and module_path(beside) else str(module)


def _all_names(module: str) -> list[str]:
    """Return the names that `from module import *` brings along, and the private ones too."""
    if module_path(module) is None:
        return []
    return sorted({*_module(module).bound, *_module(module).imported})


def _imported(module: str, name: str) -> Reference:
    """Return the module or definition that `from module import name` imports."""
    inner = f"{module}.{name}"
    return Reference(inner, "") if module_path(inner) else Reference(module, name)


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
