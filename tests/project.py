"""A copy of the project with one run in it, for tests that run Snakemake."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
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
                shutil.copytree(source, folder / name)  # what numba has compiled is in there
            else:
                shutil.copy(source, folder / name)
        shutil.copy(folder / "tests/configs/smoke.yaml", self.config)
        self.run = "smoke"

    @classmethod
    def opened(cls, folder: Path) -> Project:
        """Return the project that another process has made in a folder."""
        project = cls.__new__(cls)
        project.folder, project.config, project.run = folder, folder / "mine.yaml", "smoke"
        return project

    def copy(self, folder: Path) -> Project:
        """Return a copy of this project, with all that its run has made."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project.opened(folder)

    def default_config(self):
        """Name no config, as a newcomer would."""
        self.config, self.run = None, "demo"

    def start(self, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "COLUMNS": "200"}
        # As in a notebook, which shows figures in its page.
        environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        named = ["--configfile", self.config.name] if self.config else []
        return subprocess.Popen(
            # Targets first: some options take all words that follow.
            [SNAKEMAKE, *arguments, "--cores", "1", "--resources", "gpu=1", *named],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def snakemake(self, *arguments, check=True):
        with self.start(*arguments) as process:
            done = subprocess.CompletedProcess(arguments, 0, *process.communicate())
        done.returncode = process.returncode
        if check and done.returncode:
            pytest.fail(f"snakemake failed:\n{done.stdout}\n{done.stderr}")
        return done

    def computed(self, *arguments):
        """Run once and see that nothing is left to do; count what was computed, by step."""
        before = len(self.ledger())
        self.snakemake(*arguments)
        again = self.snakemake("--dry-run", *arguments)
        assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr
        lines = self.ledger()[before:]
        return Counter(line["step"] for line in lines if line["outcome"] == "computed")

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


def finished_project(folder: Path) -> Project:
    """Return a project whose run is finished: of the workers, whichever asks first makes it."""
    place, done = folder / "finished", folder / "finished.done"
    with open(folder / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            Project(place).snakemake()
            done.touch()
    return Project.opened(place)
