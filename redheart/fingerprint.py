"""Code fingerprints: which change of the library makes which step's results invalid.

A fingerprint is a hash over the syntax trees, without docstrings and comments, of the library
modules that a step is built from and all that they import. A comment or a reformatting changes
nothing; a changed formula does.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

# They carry values from one place to another and have no say in what those values are.
PLUMBING = frozenset(
    f"redheart.{name}"
    for name in (
        *("archive", "cli", "config", "errors", "event_files", "files", "fingerprint", "launch"),
        *("legs", "memory", "memory_plan", "meter", "options", "plan", "progress", "snapshots"),
        *("space", "steps", "store"),
    )
)


def fingerprint(roots: Iterable[str]) -> str:
    """Return the hash (hex) of the modules `roots` and everything of the library behind them.

    Parameters
    ----------
    roots
        Module names such as `redheart.dedup`.
    """
    digest = hashlib.sha256()
    for module in closure(roots):
        digest.update(f"{module}\0{_tree_hash(module)}\n".encode())
    return digest.hexdigest()


def closure(roots: Iterable[str]) -> list[str]:
    """Return the library modules reachable from `roots` by imports, sorted; no plumbing."""
    seen: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        module = waiting.pop()
        if module not in seen and module not in PLUMBING:
            seen.add(module)
            waiting.extend(_imports(module))
    return sorted(seen)


def module_path(module: str) -> Path | None:
    """Return the file of a library module, or None where there is no such module."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = module_path(module)
    if path is None:
        raise ValueError(f"{module} is no module of the library")
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _tree_hash(module: str) -> str:
    tree = _WithoutDocstrings().visit(ast.parse(ast.unparse(_tree(module))))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the library modules that a module names in any import, at any depth."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(
        name for name in found if name.startswith("redheart.") and module_path(name) is not None
    )
