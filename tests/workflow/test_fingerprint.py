"""Code fingerprints: which changes of the library count, and for which steps."""

from __future__ import annotations

import pytest

from redheart.workflow import fingerprint

LIBRARY = {
    "tasks/loss": '''"""Losses."""
import math

from redheart.storage import files
from redheart.tasks.divergence import kl

UNUSED = 5


def loss(x):
    """Return twice the divergence."""
    return 2 * math.sqrt(kl(x)) + files.atomic()  # doubled
''',
    "tasks/divergence": """from redheart.tasks import scale


def kl(x):
    return scale.FACTOR * x


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)
""",
    "tasks/scale": "FACTOR = 3.0\nOTHER = 1.0\n",
    "storage/files": "def atomic():\n    return once()\n\n\ndef once():\n    return 1\n",
    "report": "from redheart.tasks.loss import loss\n\n\ndef page():\n    return loss(1)\n",
    "lazy": """def late():
    from redheart.model.network import build

    return build()
""",
    "model/network": """from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redheart.tasks.scale import FACTOR


def build() -> FACTOR:
    return 1
""",
    "tasks/__init__": "",
    "storage/__init__": "",
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
        source = (self.folder / f"{name}.py").read_text()
        assert old in source
        self.write(name, source.replace(old, new))


def forget():
    for remembered in vars(fingerprint).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "PACKAGE", tmp_path / "redheart")
    monkeypatch.setattr(fingerprint, "SCRIPTS", tmp_path / "scripts")
    yield Library(tmp_path / "redheart")
    forget()


def of(module):
    return fingerprint.fingerprint([f"redheart.{module}"])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/loss", "  # doubled", "  # times two"),
        ("tasks/loss", "Return twice the divergence.", "Return it doubled."),
        ("tasks/loss", '"""Losses."""', '"""All losses."""'),
        ("tasks/loss", "return 2 * math", "return (\n        2\n    ) * math"),
        ("tasks/loss", "\ndef", "\n\n\ndef"),
        ("tasks/scale", "OTHER = 1.0", "OTHER = 2.0"),
        ("tasks/divergence", "n != 0", "n > 0"),
    ],
    ids=["comment", "docstring", "module docstring", "formatting", "blank lines", "unused", "ring"],
)
def test_what_does_not_change_a_result_does_not_change_it(library, name, old, new):
    before = of("report")
    library.replace(name, old, new)
    assert of("report") == before


def test_the_range_of_a_setting_does_not_count_but_its_type_and_default_do(library):
    library.write("limits", "class Above:\n    pass\n")

    def options(field):
        imports = "from typing import Annotated\n\nfrom redheart.limits import Above\n"
        library.write("options", f"{imports}\n\nclass Options:\n    rate: {field}\n")
        return of("options")

    assert options("Annotated[float, Above(0)] = 1.0") == options("float = 1.0")
    assert options("Annotated[float, Above(0)] = 1.0") != options("Annotated[int, Above(0)] = 1.0")
    assert options("Annotated[float, Above(0)] = 1.0") != options("float = 2.0")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/loss", "2 *", "3 *"),
        ("tasks/loss", "2 *", "2.0 *"),
        ("tasks/loss", "2 *", "2 +"),
        ("tasks/loss", "math.sqrt", "math.exp"),
        ("tasks/loss", "import math", "import cmath as math"),
        ("tasks/divergence", "FACTOR * x", "FACTOR * -x"),
        ("tasks/divergence", "scale.FACTOR", "scale.OTHER"),
        ("tasks/scale", "3.0", "3.5"),
        ("tasks/scale", "OTHER", "FACTOR *= 2\nOTHER"),
        ("tasks/scale", "OTHER", "print('on import')\nOTHER"),
    ],
    ids=[
        *("constant", "type", "operator", "function", "package", "import", "name"),
        *("import of an import", "bound again", "statement on import"),
    ],
)
def test_a_changed_formula_changes_it_wherever_it_is_imported(library, name, old, new):
    before = of("tasks.loss"), of("report"), of("lazy")
    library.replace(name, old, new)
    assert of("tasks.loss") != before[0]
    assert of("report") != before[1]
    assert of("lazy") == before[2]


def test_a_module_as_a_root_counts_whole(library):
    before = of("tasks.loss")
    library.replace("tasks/loss", "UNUSED = 5", "UNUSED = 6")
    assert of("tasks.loss") != before


def test_plumbing_and_what_stands_behind_it_do_not_count(library):
    before = of("tasks.loss")
    library.replace("storage/files", "return 1", "return 2")
    library.replace("storage/files", "return once()", "return 1 + once()")
    assert of("tasks.loss") == before
    assert fingerprint.closure(["redheart.tasks.loss"]) == [
        "redheart.tasks.divergence",
        "redheart.tasks.loss",
        "redheart.tasks.scale",
    ]


def test_another_name_of_plumbing_counts(library):
    before = of("tasks.loss")
    library.replace("tasks/loss", "files.atomic()", "files.canonical()")
    assert of("tasks.loss") != before


def test_an_import_inside_a_function_counts(library):
    before = of("lazy")
    library.replace("model/network", "return 1", "return 2")
    assert of("lazy") != before


def test_an_import_for_types_alone_does_not_count(library):
    before = of("lazy")
    library.replace("tasks/scale", "3.0", "3.5")
    assert of("lazy") == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from redheart.tasks import scale", "from redheart.tasks import scale as s"),
        ("from redheart.tasks import scale", "from redheart.tasks.scale import FACTOR"),
        ("from redheart.tasks import scale", "from . import scale"),
        ("from redheart.tasks import scale", "from .scale import FACTOR"),
        ("from redheart.tasks import scale", "from redheart.report import factor as scale"),
    ],
    ids=["another name", "the definition", "relative", "relative definition", "moved"],
)
def test_how_and_where_a_definition_is_imported_changes_nothing(library, old, new):
    before = of("report")
    if "report" in new:
        library.write("report/__init__", "")
        library.write("report/factor", LIBRARY["tasks/scale"])
        library.write("report/page", LIBRARY["report"])
        (library.folder / "report.py").unlink()
    used = "s." if new.endswith(" as s") else "" if new.endswith("FACTOR") else "scale."
    library.replace("tasks/divergence", old, new)
    library.replace("tasks/divergence", "scale.FACTOR *", f"{used}FACTOR *")
    assert of("report.page" if "report" in new else "report") == before


def test_an_import_at_another_place_changes_nothing(library):
    before = of("report")
    library.replace("tasks/divergence", "from redheart.tasks import scale\n", "")
    library.replace("tasks/divergence", "(x):", "(x):\n    from redheart.tasks import scale\n")
    assert of("report") == before


def test_a_definition_in_another_module_changes_nothing(library):
    before = of("report")
    library.replace("tasks/divergence", "def kl(x):\n    return scale.FACTOR * x\n", "")
    library.write("tasks/kl", "from redheart.tasks import scale\n\n\ndef kl(x):\n"
                  "    return scale.FACTOR * x\n")  # fmt: skip
    library.replace("tasks/loss", "tasks.divergence", "tasks.kl")
    assert of("report") == before


def test_a_name_that_is_handed_on_is_the_definition_itself(library):
    before = of("report")
    library.write("tasks/handed", "from redheart.tasks.divergence import kl\n")
    library.replace("tasks/loss", "tasks.divergence", "tasks.handed")
    assert of("report") == before


def test_of_definitions_in_a_ring_each_counts(library):
    before = of("tasks.divergence")
    library.replace("tasks/divergence", "n != 0", "n > 0")
    assert of("tasks.divergence") != before


def test_a_definition_as_a_root_counts_alone(library):
    kl = ["redheart.tasks.divergence:kl"]
    before = fingerprint.fingerprint(kl)
    library.replace("tasks/divergence", "n != 0", "n > 0")
    assert fingerprint.fingerprint(kl) == before
    library.replace("tasks/divergence", "* x", "* -x")
    assert fingerprint.fingerprint(kl) != before
    with pytest.raises(ValueError, match=r"redheart\.tasks\.divergence defines no 'js'"):
        fingerprint.fingerprint(["redheart.tasks.divergence:js"])


def test_the_order_of_the_roots_does_not_matter(library):
    roots = ["redheart.lazy", "redheart.tasks.loss"]
    assert fingerprint.fingerprint(roots) == fingerprint.fingerprint(reversed(roots))


def test_a_root_that_is_no_module_is_an_error(library):
    with pytest.raises(ValueError, match=r"redheart\.los is no module of the library"):
        of("los")


def test_modules_in_a_ring_come_to_an_end(library):
    library.write("tasks/scale", "from redheart.tasks import loss\n\nFACTOR = loss.loss\n")
    before = of("report")
    assert "redheart.tasks.loss" in fingerprint.closure(["redheart.tasks.divergence"])
    library.replace("tasks/divergence", "* x", "* -x")
    assert of("report") != before


# --- every way to import something -----------------------------------------------------------


@pytest.mark.parametrize(
    ("imported", "used"),
    [
        ("from .custom import F", "F"),
        ("from . import custom", "custom.F"),
        ("from ..model.custom import F", "F"),
        ("from .custom import *", "F"),
        ("from redheart import model", "model.custom.F"),
        ("import redheart.model.custom", "redheart.model.custom.F"),
        ("import redheart.model.custom as c", "c.F"),
        ("from .package import F", "F"),
    ],
)
def test_an_imported_definition_counts_in_whichever_form_it_is_imported(library, imported, used):
    library.write("model/custom", "def F(x):\n    return x\n\n\ndef model():\n    return 1\n")
    library.write("model/package/__init__", "from .inner import F\n")
    library.write("model/package/inner", "def F(x):\n    return x\n")
    library.write("model/heads", f"{imported}\n\n\ndef head(x):\n    return {used}(x)\n")
    before = of("model.heads")
    library.replace("model/package/inner", "return x", "return -x")
    library.replace("model/custom", "return x", "return -x")
    assert of("model.heads") != before


def test_what_runs_on_import_counts_wherever_it_is_imported(library):
    patch = "from redheart.tasks import scale\n\nscale.__dict__.update(FACTOR=7.0)\n"
    library.write("patch", "FACTOR = 7.0\n")
    library.replace("tasks/divergence", "from", "import redheart.patch\nfrom")
    before = of("report"), of("lazy")
    library.write("patch", patch)
    with_patch = of("report")
    assert with_patch != before[0]
    library.replace("patch", "7.0", "8.0")
    assert of("report") != with_patch
    library.write("patch", "FACTOR = 7.0\n")
    assert of("report") == before[0]
    library.write("tasks/__init__", patch)  # Python runs it before any module of its folder
    assert of("report") != before[0]
    assert of("lazy") == before[1]


def test_a_script_beside_a_script_counts(library):
    library.write("../scripts/split", "from shares import deal\n\ndeal(1)\n")
    library.write("../scripts/shares", "def deal(x):\n    return x\n")
    before = fingerprint.fingerprint(["scripts.split"])
    library.replace("../scripts/shares", "return x", "return -x")
    assert fingerprint.fingerprint(["scripts.split"]) != before
