"""The house: where a module may stand, what it may import, and that every page says so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "redheart"

# From the ground up. A module imports from its own folder or from a lower line.
LINES = (
    ("csv_lines", "errors", "json_values", "limits", "markdown", "shapes", "spelling", "terminal"),
    ("tasks",),
    ("storage", "recipe", "sweet_spots", "suspects"),
    ("data", "duplicates", "encoding"),
    ("split", "model"),
    ("machine",),
    ("evaluation", "training"),
    ("sweep", "crossover"),
    ("selection", "workflow"),
    ("assessment", "serving", "figures"),
    ("report", "export", "comparing"),
    ("cli",),
)
LINE_OF = {name: number for number, names in enumerate(LINES) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
WITHOUT_TORCH = ("recipe", "sweet_spots", "suspects", "workflow", "crossover.stitch_recipe")


def imported(path):
    """The modules of the library that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import; write where it is"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return sorted(names & set(MODULES))


def folder(module):
    return module.split(".")[1]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "redheart.__init__"])
def test_imports_lead_to_a_lower_line(module):
    for other in imported(MODULES[module]):
        if folder(other) != folder(module):
            above, below = LINE_OF[folder(module)], LINE_OF[folder(other)]
            assert below < above, f"{module} imports {other}, which stands no lower"


def test_no_modules_import_each_other_in_a_ring():
    tuple(TopologicalSorter({m: imported(path) for m, path in MODULES.items()}).static_order())


@pytest.mark.parametrize("path", sorted({path.parent for path in MODULES.values()}), ids=str)
def test_a_folder_is_seen_at_a_glance(path):
    assert len([file for file in path.glob("*.py") if file.stem != "__init__"]) <= 11


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_read_in_one_go(module):
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= 350


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/__init__.py")), ids=lambda p: p.parent.name)
def test_a_folder_says_what_it_is_for_and_hands_nothing_on(path):
    (only,) = ast.parse(path.read_text("utf-8")).body
    assert isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant)


def test_the_page_of_the_house_draws_these_lines():
    page = (ROOT / "docs" / "decisions" / "011-the-house.md").read_text("utf-8")
    drawn = [re.split(r"\s{3,}", line)[0].split() for line in page.split("```")[1].splitlines()]
    assert tuple(map(tuple, filter(any, drawn))) == LINES[::-1]


def test_every_folder_has_a_line():
    assert {folder(module) for module in MODULES} - {"__init__"} == set(LINE_OF)


def test_tests_stand_where_their_modules_do():
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == packages | {"bench", "runs"}


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_what_only_decides_loads_no_torch(place):
    chosen = [m for m in MODULES if f"{m}.".startswith(f"redheart.{place}.")]
    program = f"import sys, {', '.join(chosen)}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


PAGES = ("README.md", "CONTRIBUTING.md", *(p.relative_to(ROOT) for p in ROOT.glob("docs/**/*.md")))
# Folders that a run or a user makes, which may be absent from a checkout.
MADE = ("results/", "data/", ".redheart/", ".snakemake/", ".venv/")
PATH = re.compile(r"`((?:[\w.*<>-]+/)*[\w.*<>-]*)`|\]\(([^)#:]+)\)")
ENDINGS = (".py", ".smk", ".md", ".html", ".svg", ".sh", "/")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_that_a_page_names_exists(page):
    text = (ROOT / page).read_text("utf-8")
    for named, linked in PATH.findall(text):
        if linked:
            assert (ROOT / page).parent.joinpath(linked).exists(), f"{page} links {linked}"
        elif named.endswith(ENDINGS) and not named.startswith(MADE) and not set(named) & set("<>"):
            assert list(ROOT.glob(named)), f"{page} names {named}"


def test_the_tree_in_the_readme_names_every_folder_and_file():
    tree = (ROOT / "README.md").read_text("utf-8").partition("## The tree")[2]
    for path in MODULES.values():
        if path.stem != "__init__":
            assert re.search(rf"\b{path.stem}\b", tree), f"the tree lacks {path.relative_to(ROOT)}"
    for path in PACKAGE.glob("*/__init__.py"):
        assert f"  {path.parent.name}/" in tree
