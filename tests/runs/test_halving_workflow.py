"""Successive halving in real Snakemake runs: what is trained, what is not, and that no byte differs."""

import csv
import json
import shutil

import pytest

RATES = [1e-3, 1e-2]


def configured(finished, folder, **halving):
    """Return a copy of the finished run in which nothing is trained."""
    project = finished.copy(folder)
    shutil.rmtree(project.result("sweep"))
    shutil.rmtree(project.folder / ".redheart/store/states")
    project.result("ledger.jsonl").unlink()
    project.set(sweep={"learning_rates": RATES, "epochs": 3, **halving})
    return project


def trained(project, before):
    """Return target -> epochs, for all trainings in the ledger after a line."""
    return {
        line["target"]: [row["epoch"] for row in line["epochs"]]
        for line in project.ledger()[before:]
        if "epochs" in line
    }


@pytest.mark.slow
def test_rungs_change_no_byte_and_train_only_what_they_must(finished, tmp_path):
    project = configured(finished, tmp_path / "rungs", rungs=2, reduction_factor=1.5)
    assert project.computed("sweep")["sweep_rate"] == 4
    assert trained(project, 0) == {
        **{f"sweep/rung_1/lr_{rate}/seed_0.json": [1, 2] for rate in RATES},
        **{f"sweep/lr_{rate}/seed_0.json": [3] for rate in RATES},
    }
    assert not list((project.folder / ".redheart/store/states").rglob("*.pt")), "none is needed"

    plain = configured(finished, tmp_path / "plain")
    assert set(plain.computed("sweep")) >= {"sweep_rate", "join_sweep", "choose_rate"}
    assert not list(plain.result("sweep").glob("rung_*"))
    for path in sorted(plain.result("sweep").rglob("*.json")):
        place = path.relative_to(plain.result("."))
        assert path.read_bytes() == project.result(place).read_bytes(), place

    # The same rungs, but only one of two rates goes on: all its trials are trained already.
    lines_before = len(project.ledger())
    project.set(sweep={"reduction_factor": 2})
    once = ("decide_rung", "sweep_rate", "join_sweep", "choose_rate")
    assert project.computed("sweep") == dict.fromkeys(once, 1)
    assert trained(project, lines_before) == {}
    decision = json.loads(project.result("sweep/rung_1/decision.json").read_text())
    ((rate, eliminated),) = decision["eliminated"].items()
    (line,) = [line for line in project.ledger()[lines_before:] if line.get("trained") is False]
    assert line["target"] == f"sweep/lr_{rate}/seed_0.json"
    trial = json.loads(project.result(line["target"]).read_text())
    assert trial["eliminated"] == eliminated and eliminated["rung"] == 1
    assert "is behind that of" in eliminated["reason"]
    assert len(trial["epochs"]) == 2
    best = json.loads(project.result("sweep/best_lr.json").read_text())
    assert {str(row["learning_rate"]): row["eliminated"] for row in best["scores"]} == {
        str(learning_rate): eliminated if str(learning_rate) == rate else None
        for learning_rate in RATES
    }

    # With a third rate two rates go on, and only the new rate has trials to train.
    lines_before = len(project.ledger())
    project.set(sweep={"learning_rates": [*RATES, 2e-3]})
    project.computed("sweep")
    done = trained(project, lines_before)
    decision = json.loads(project.result("sweep/rung_1/decision.json").read_text())
    new = {"sweep/rung_1/lr_0.002/seed_0.json": [1, 2]}
    if 2e-3 in decision["goes_on"]:
        new["sweep/lr_0.002/seed_0.json"] = [3]
    assert done == new

    # Without rungs every rate is trained to the end; the first two rates were trained to it before.
    lines_before = len(project.ledger())
    project.set(sweep={"rungs": 1})
    project.computed("sweep")
    new = {"sweep/lr_0.002/seed_0.json": [1, 2, 3]} if "0.002" in decision["eliminated"] else {}
    assert trained(project, lines_before) == new
    best = json.loads(project.result("sweep/best_lr.json").read_text())
    assert not any(row["eliminated"] for row in best["scores"])


@pytest.mark.slow
@pytest.mark.full
def test_seeds_are_spared_first_and_the_report_tells_the_rung(finished, tmp_path):
    project = configured(finished, tmp_path / "seeds", rungs=2, reduction_factor=2, seeds=[4, 7])
    project.snakemake("report")
    decision = json.loads(project.result("sweep/rung_1/decision.json").read_text())
    (goes_on,), (ended,) = decision["goes_on"], decision["eliminated"]
    first = {f"sweep/rung_1/lr_{rate}/seed_4.json": [1, 2, 3] for rate in RATES}
    # With the first seed the rate has come to the end already, so that trial is only restored.
    assert {k: v for k, v in trained(project, 0).items() if k.startswith("sweep")} == {
        **first,
        f"sweep/lr_{goes_on}/seed_7.json": [1, 2, 3],
    }
    never = json.loads(project.result(f"sweep/lr_{ended}/seed_7.json").read_text())
    assert never["epochs"] == [] and never["eliminated"] == decision["eliminated"][ended]
    rows = list(csv.DictReader(project.result("tables/rates.csv").open()))
    assert {row["learning rate"]: row["ended in rung"] for row in rows} == {
        str(goes_on): "",
        ended: "1",
    }
    assert decision["eliminated"][ended]["reason"] in project.result("report.html").read_text()
