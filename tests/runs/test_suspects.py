"""The search for wrong labels in a whole run: its files, against the opinions they are made of."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from redheart.cli.review import read_suspects
from redheart.encoding.tokens import load_encoded
from redheart.evaluation import opinions
from redheart.storage import run_files

PARTS = ("train", "val_select", "val_confirm", "test")
EPOCHS = (2, 4, 6)


def said(run, epoch):
    """What a checkpoint says, by part."""
    names = run_files.scored_opinions, run_files.opinions, run_files.opinions_on_test
    return opinions.load(*(run / "seed_0" / name(epoch) for name in names))


@pytest.mark.slow
def test_every_checkpoint_judges_every_record(finished):
    run = finished.result(".")
    content = json.loads((run / "seed_0/data_map.json").read_text())
    checkpoints = [said(run, epoch) for epoch in EPOCHS]
    assert content["checkpoints"] == len(EPOCHS)
    for population, parts in content["parts"].items():
        records = [
            record["id"]
            for part in parts
            for record in json.loads((run / run_files.records(part)).read_text())
        ]
        assert content["ids"][population] == records
        targets = [load_encoded(run / run_files.encoded(p)).targets["verdict"] for p in parts]
        target = np.concatenate(targets)
        found = content["tasks"]["verdict"][population]
        for i, row in enumerate(target):
            if np.isnan(row).any():
                assert found["confidence"][i] is None and found["suspicion"][i] is None
                continue
            own = [np.concatenate([c[p]["verdict"] for p in parts])[i] @ row for c in checkpoints]
            assert found["confidence"][i] == pytest.approx(np.mean(own), abs=2e-6)
            assert found["variability"][i] == pytest.approx(np.std(own), abs=2e-6)
    assert {part for parts in content["parts"].values() for part in parts} == set(PARTS)


@pytest.mark.slow
def test_the_suspects_are_told_as_the_report_and_the_review_read_them(finished):
    run = finished.result(".")
    content = json.loads((run / run_files.SUSPECTS).read_text())
    with open(run / "tables/suspects.csv", encoding="utf-8", newline="") as stream:
        rows = [*csv.DictReader(stream)]
    assert content["checkpoints"] == len(EPOCHS) and content["seeds"] == [0]
    config = json.loads((run / run_files.CONFIG).read_text())
    assert content["tasks"].keys() == config["tasks"].keys()
    assert len(rows) == sum(task["suspected"] for task in content["tasks"].values())
    for name, task in content["tasks"].items():
        named = [row for row in rows if row["field"] == config["tasks"][name]["field"]]
        told = [record for record in task["records"] if record["suspected"]]
        assert [row["id"] for row in named[:100]] == [record["id"] for record in told]
        assert len(task["records"]) >= 30
        columns = task["map"]
        assert len({len(column) for column in columns.values()}) == 1
    suspects = read_suspects(run, config, with_test=True)
    assert len(suspects) >= len(rows) and suspects[0].row["id"]


@pytest.mark.slow
def test_without_the_search_no_checkpoint_judges(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.set(data_map={"enabled": False})
    planned = project.snakemake("--dry-run").stdout
    assert "judge_records" not in planned and "find_suspects" not in planned
