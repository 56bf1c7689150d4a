"""docs/python.md: its code runs, and the package does what it says of the import."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import redheart
from redheart.evaluation import predictions
from redheart.storage import files, run_files
from redheart.tasks import scale

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_code_of_the_page_runs(finished, tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo").symlink_to(finished.result(""))
    monkeypatch.chdir(tmp_path)
    names, shown = {}, io.StringIO()
    with contextlib.redirect_stdout(shown):
        for number, block in enumerate(BLOCKS):
            exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    lines = shown.getvalue().splitlines()
    verdicts = set(names["model"].classes["verdict"])
    assert lines[0].split()[0] in verdicts and {lines[2], lines[3]} <= verdicts
    assert names["results"].shipped["candidate"] in lines[4]
    assert names["probabilities"].shape == (2, len(verdicts))
    with contextlib.redirect_stdout(io.StringIO()):
        table = names["results"].candidates
    assert sum(row["shipped"] for row in table) == 1


def test_the_page_has_the_commands_options_and_exit_codes():
    program = [sys.executable, "-m", "redheart.cli.main", "predict", "--help"]
    said = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for option in re.findall(r"(?<![-|])--[a-z][a-z-]+", PAGE):
        assert option in said, option


def test_the_import_of_the_package_loads_nothing_heavy():
    program = (
        "import sys, redheart; redheart.load, redheart.read_results;"
        "print([m for m in ('torch', 'numpy', 'yaml', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_package_says_that_it_has_types():
    assert Path(redheart.__file__).with_name("py.typed").exists()
    assert 'redheart = ["py.typed"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_what_is_predicted_is_what_the_run_measured(finished):
    """The answers for the records of test are the predictions that the run scored on test."""
    results = redheart.read_results(finished.result(""))
    name, seed = results.shipped["candidate"], results.shipped["seed"]
    table = predictions.load(finished.result(f"seed_{seed}/test_predictions.npz"))[name]["test"]
    records = files.read_json(finished.result(run_files.records("test")))
    model = redheart.load(finished.result(""))
    scales = scale.from_json(files.read_json(finished.result(run_files.SCALES)))
    found = model.predict_probabilities(record["text"] for record in records)
    assert found.keys() == table.keys()
    for task, rows in table.items():
        expected = scales[task].restored(rows) if task in scales else rows
        np.testing.assert_allclose(found[task], expected, rtol=1e-5, atol=1e-6)
