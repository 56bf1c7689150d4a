"""Code fingerprints: what of a change in the library counts, and for whom."""

from __future__ import annotations

import pytest

from redheart import fingerprint

LIBRARY = {
    "loss": '''"""Losses."""
from redheart.divergence import kl

def loss(x):
    """Return twice the divergence."""
    return 2 * kl(x)  # doubled
''',
    "divergence": "import redheart.scale\n\n\ndef kl(x):\n    return redheart.scale.FACTOR * x\n",
    "scale": "from redheart import files\n\nFACTOR = 3.0\n",
    "files": "def read():\n    return 1\n",
    "report": "from redheart.loss import loss\n",
    "lazy": "def late():\n    from redheart.model.network import build\n    return build\n",
    "model/network": "def build():\n    return 1\n",
    "model/__init__": "",
}


class Library:
    """A small copy of the package, whose modules can be rewritten."""

    def __init__(self, folder):
        self.folder = folder
        for name, source in LIBRARY.items():
            self.write(name, source)

    def write(self, name, source):
        path = self.folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        forget()

    def replace(self, name, old, new):
        assert old in LIBRARY[name]
        self.write(name, LIBRARY[name].replace(old, new))


def forget():
    for remembered in (fingerprint._tree, fingerprint._tree_hash, fingerprint._imports):
        remembered.cache_clear()


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "redheart")
    yield Library(tmp_path / "redheart")
    forget()


def of(module):
    return fingerprint.fingerprint([f"redheart.{module}"])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("loss", "  # doubled", "  # times two"),
        ("loss", "Return twice the divergence.", "Return it doubled."),
        ("loss", '"""Losses."""', '"""All losses."""'),
        ("loss", "return 2 * kl(x)", "return (\n        2 * kl(x)\n    )"),
        ("loss", "\ndef", "\n\n\ndef"),
    ],
    ids=["comment", "docstring", "module docstring", "formatting", "blank lines"],
)
def test_what_does_not_change_a_result_does_not_change_it(library, name, old, new):
    before = of("loss")
    library.replace(name, old, new)
    assert of("loss") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("loss", "2 * kl", "3 * kl"),
        ("loss", "2 * kl", "2.0 * kl"),
        ("loss", "2 * kl(x)", "2 + kl(x)"),
        ("divergence", "FACTOR * x", "FACTOR * -x"),
        ("scale", "3.0", "3.5"),
    ],
    ids=["constant", "type", "operator", "import", "import of an import"],
)
def test_a_changed_formula_changes_it_wherever_it_is_imported(library, name, old, new):
    before = of("loss"), of("report"), of("lazy")
    library.replace(name, old, new)
    assert of("loss") != before[0]
    assert of("report") != before[1]
    assert of("lazy") == before[2]


def test_plumbing_does_not_count(library):
    before = of("loss")
    library.replace("files", "return 1", "return 2")
    assert of("loss") == before
    assert fingerprint.closure(["redheart.loss"]) == [
        "redheart.divergence",
        "redheart.loss",
        "redheart.scale",
    ]


def test_an_import_inside_a_function_counts(library):
    before = of("lazy")
    library.replace("model/network", "return 1", "return 2")
    assert of("lazy") != before


def test_a_module_that_moves_changes_it(library):
    before = of("loss")
    library.write("factor", LIBRARY["scale"])
    library.replace("divergence", "redheart.scale", "redheart.factor")
    assert of("loss") != before


def test_the_order_of_the_roots_does_not_matter(library):
    roots = ["redheart.lazy", "redheart.loss"]
    assert fingerprint.fingerprint(roots) == fingerprint.fingerprint(reversed(roots))


def test_a_root_that_is_no_module_is_an_error(library):
    with pytest.raises(ValueError, match=r"redheart\.los is no module of the library"):
        of("los")


def test_circular_imports_come_to_an_end(library):
    library.write("scale", "import redheart.loss\n\nFACTOR = 3.0\n")
    assert "redheart.loss" in fingerprint.closure(["redheart.divergence"])
