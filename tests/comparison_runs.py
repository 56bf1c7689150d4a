"""Tiny runs as the workflow leaves them, written by hand: two tasks, parts, a choice, a store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from redheart.evaluation import predictions
from redheart.storage import files
from redheart.storage.artefacts import Artefacts, Made
from redheart.storage.store import Action, Store
from redheart.tasks import scale
from redheart.tasks.task import parse_tasks, target_matrix

TASKS = {
    "verdict": {"kind": "multiclass", "field": "label", "classes": ["yes", "no", "그래"]},
    "regret": {"kind": "regression", "field": "regret"},
}
PARTS = {"train": 20, "val_select": 30, "val_confirm": 24, "test": 28}
FAR = 1.7e12  # as times in milliseconds: float32 cannot tell two of them apart


def make_records(seed=0, classes=("yes", "no", "그래")):
    """By part: records with an id, a text and labels, some of them without."""
    rng, made, number = np.random.default_rng(seed), {}, 0
    for part, count in PARTS.items():
        made[part] = []
        for _ in range(count):
            number += 1
            record = {"id": f"r{number}", "text": f"text {number} 그는 <b>"}
            if rng.random() < 0.9:
                record["label"] = str(rng.choice(classes))
            record["regret"] = FAR + float(rng.normal())
            made[part].append(record)
    return made


class Maker:
    """Writes runs below `results/` of a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = Store(folder / ".redheart" / "store")

    def run(self, name, parts, skill=0.8, seed=0, tasks=TASKS, code="c0", **settings):
        """Write a finished run whose model is right the more, the nearer `skill` is to 1."""
        run = self.folder / "results" / name
        self.write(run, "config.json", self.config(name, tasks, settings))
        for part, records in parts.items():
            self.write(run, f"data/split/{part}.json", records)
        clusters = {part: [i // 2 for i in range(len(r))] for part, r in parts.items()}
        self.write(run, "data/split/clusters.json", clusters)
        self.write(run, "data/records_report.json", {"read": 110, "rejected_count": 1})
        self.predict(run, parts, parse_tasks(tasks), skill, seed)
        self.write(run, "choice.json", {"candidate": "greedy_soup", "seed": 0})
        self.write(run, "test_access.json", [{"run": name}])
        results = {"provenance": {"versions": {"torch": "2"}}}
        self.write(run, "final_results.json", results)
        self.record(run, settings, code)
        return run

    def config(self, name, tasks, settings):
        return {
            "run": name,
            "data": {"source": "answers.csv"},
            "tasks": tasks,
            "train": {"epochs": 3, **settings},
            "evaluation": {"resamples": 200},
            "store": {"path": ".redheart/store"},
        }

    def write(self, run, name, value):
        files.write_json(run / name, value)

    def predict(self, run, parts, tasks, skill, seed):
        rng = np.random.default_rng([seed, 7])
        scales = scale.fit_scales(tasks, parts["train"])
        self.write(run, "data/scales.json", scale.to_json(scales))
        table = {}
        for part in ("val_select", "val_confirm", "test"):
            table[part] = {}
            for task in tasks:
                target = target_matrix(task, parts[part])
                if task.name in scales:
                    target = scales[task.name].standardized(target)
                noise = rng.normal(size=target.shape)
                rows = skill * np.nan_to_num(target) + (1.2 - skill) * noise
                table[part][task.name] = rows.astype(np.float32)
        seen = {p: table[p] for p in ("val_select", "val_confirm")}
        predictions.save(run / "seed_0" / "predictions.npz", {"greedy_soup": seen})
        unseen = {"greedy_soup": {"test": table["test"]}}
        predictions.save(run / "seed_0" / "test_predictions.npz", unseen)

    def record(self, run, settings, code):
        """Record three actions: one of every run alike, one of the settings, one of the code."""
        made = {
            "data/records.jsonl": Action("read_records", {}, "r", {"source": ["abc"]}),
            "seed_0/ckpt/epoch_003.pt": Action("train_leg", {"train": settings}, "t", {}),
            "choice.json": Action("choose_candidate", {}, code, {"predictions": [repr(settings)]}),
        }
        lines = []
        for name, action in made.items():
            self.store.run(action, {"out": run / name}, lambda folder: _touch(folder / "out"))
            lines.append(_line(action, name))
        # A real file stands there again.
        self.write(run, "choice.json", {"candidate": "greedy_soup", "seed": 0})
        (run / "ledger.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        rows = {run / name: Made("0" * 64, action.key, "out") for name, action in made.items()}
        Artefacts(run).add(rows, self.store)


def _touch(path):
    path.write_text("x")


def _line(action, name):
    facts = {"outcome": "computed", "why": "first time in this run", "seconds": 2.5}
    return {"step": action.step, "target": name, "key": action.key, **facts}
