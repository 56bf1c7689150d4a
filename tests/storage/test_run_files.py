"""The names of a run's files: sorted as epochs are, and open for the wildcards of rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.storage import run_files

OF_LEGS = (run_files.checkpoint, run_files.manifest, run_files.steps, run_files.metrics)


@pytest.mark.parametrize("file", OF_LEGS)
def test_names_sort_as_their_epochs_do(file):
    names = [file(epoch) for epoch in (2, 10, 100)]
    assert names == sorted(names)
    assert all(
        Path(name).stem.rpartition("_")[2] == f"{e:03d}"
        for name, e in zip(names, (2, 10, 100), strict=True)
    )


def test_a_wildcard_stays_as_it_is():
    assert run_files.checkpoint("{epoch}") == "ckpt/epoch_{epoch}.pt"
    assert run_files.variant("{offset}") == "variants/offset_{offset}.pt"
    assert run_files.seed_folder("*") == "seed_*"


def test_a_file_tells_its_seed():
    path = Path("results/demo") / run_files.seed_folder(3) / "sweet_spots.json"
    assert run_files.seed_of(path) == run_files.seed_of(str(path)) == "3"


def test_a_run_is_found_by_its_folder_or_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path("results/mine")
    run.mkdir(parents=True)
    assert run_files.find_run("mine") == run_files.find_run("results/mine") == run
    Path("mine").mkdir()
    assert run_files.find_run("mine") == Path("mine")
    (run / run_files.CONFIG).touch()  # of two folders, the one that is a run
    assert run_files.find_run("mine") == run
