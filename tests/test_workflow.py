"""The workflow itself: real Snakemake runs under a small config, in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
PROJECT = ("Snakefile", "rules", "scripts", "redheart", "config", "profiles", "tests/configs")


class Project:
    """A copy of the project with one run in it, whose files may be edited."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.config = folder / "mine.yaml"
        for name in PROJECT:
            source = ROOT / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        shutil.copy(folder / "tests/configs/smoke.yaml", self.config)
        self.run = "smoke"

    def default_config(self):
        """Name no config, as a newcomer would."""
        self.config, self.run = None, "demo"

    def snakemake(self, *arguments, check=True):
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        named = ["--configfile", self.config.name] if self.config else []
        done = subprocess.run(
            [SNAKEMAKE, "--cores", "1", "--resources", "gpu=1", *named, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            pytest.fail(f"snakemake failed:\n{done.stdout}\n{done.stderr}")
        return done

    def computed(self, *arguments):
        """Run once, then see that nothing is left to do; return what was computed meanwhile."""
        before = len(self.ledger())
        self.snakemake(*arguments)
        again = self.snakemake("--dry-run", *arguments)
        assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
        lines = self.ledger()[before:]
        return sorted({line["step"] for line in lines if line["outcome"] == "computed"}), lines

    def ledger(self):
        path = self.result("ledger.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def set(self, **sections):
        config = yaml.safe_load(self.config.read_text())
        for section, values in sections.items():
            if isinstance(values, dict):
                config.setdefault(section, {}).update(values)
            else:
                config[section] = values
        self.config.write_text(yaml.safe_dump(config))

    def edit(self, file, pattern, replacement):
        path = self.folder / file
        text, count = re.subn(pattern, replacement, path.read_text(), count=1)
        assert count == 1, f"{pattern} is not in {file}"
        path.write_text(text)

    def result(self, path):
        return self.folder / "results" / self.run / path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A finished run; every test works on a copy of it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.snakemake()
    return project


@pytest.fixture
def project(built, tmp_path):
    copy = Project.__new__(Project)
    copy.folder = tmp_path / "project"
    copy.config, copy.run = copy.folder / "mine.yaml", "smoke"
    shutil.copytree(built.folder, copy.folder, symlinks=True)
    return copy


# What comes after a change of any weight or choice: the candidates' numbers and all that show them.
END = ["compare_candidates", "make_report", "predict_candidates", "ship_model"]
TRAINING = [
    "evaluate_checkpoint",
    "find_sweet_spots",
    "make_soups",
    "stitch_crossover",
    "stitch_variant",
    "train_leg",
]


def steps(*names):
    return sorted(
        {name for group in names for name in ([group] if isinstance(group, str) else group)}
    )


def edit_nothing(project):
    pass


def delete_checkpoint(project):
    project.result("seed_0/ckpt/epoch_004.pt").unlink()


def delete_manifest(project):
    project.result("seed_0/ckpt/epoch_002.json").unlink()


def delete_results(project):
    shutil.rmtree(project.folder / "results")


def touch_input(project):
    project.result("data/records.jsonl").touch()


def library_comment(project):
    with open(project.folder / "redheart/losses.py", "a") as stream:
        stream.write("\n\n# A remark.\n")


def script_comment(project):
    with open(project.folder / "scripts/train_leg.py", "a") as stream:
        stream.write("\n# A remark.\n")


def there_and_back(project):
    project.set(train={"label_smoothing": 0.2})
    project.snakemake("train")
    project.set(train={"label_smoothing": 0.05})


def new_offset(project):
    project.set(crossover={"offsets": [-2, 0, 2, -4]})


def sweet_spot_weight(project):
    project.set(sweet_spots={"gap_weight": 50.0, "smoothing": 1})


def losing_rate(project):
    project.set(sweep={"learning_rates": [1e-3, 1e-2, 1e-7]})


def longer_training(project):
    project.set(train={"epochs": 8})


def changed_split(project):
    project.set(split={"seed": 1})


def loss_formula(project):
    project.edit("redheart/losses.py", r"\+ rdrop \*", "+ 0.5 * rdrop *")


def new_metric(project):
    project.edit("redheart/metrics.py", r"\Z", "\n\nROUNDING = 12\n")


def task_weight(project):
    config = yaml.safe_load(project.config.read_text())
    config["tasks"]["regret"]["weight"] = 2.0
    project.config.write_text(yaml.safe_dump(config))


def report_code(project):
    project.edit("redheart/report.py", r"\Z", "\n\nMARGIN = 3\n")


def reordered_config(project):
    config = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(dict(reversed(config.items())), sort_keys=False))


# The rebuild table: an edit, and exactly the steps that it computes.
REBUILDS = [
    (edit_nothing, []),
    (delete_checkpoint, []),
    (delete_manifest, []),
    (delete_results, []),
    (touch_input, []),
    (library_comment, []),
    (script_comment, []),
    (reordered_config, []),
    (new_offset, steps("stitch_variant", END)),
    (sweet_spot_weight, None),
    (losing_rate, None),
    (longer_training, steps(TRAINING, END)),
    (changed_split, None),
    (loss_formula, None),
    (new_metric, None),
    (task_weight, None),
    (report_code, ["make_report"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "expected"), REBUILDS, ids=[edit.__name__ for edit, _ in REBUILDS]
)
def test_an_edit_computes_exactly(project, edit, expected):
    edit(project)
    computed, _ = project.computed()
    print(computed)
    assert expected is None or computed == expected
