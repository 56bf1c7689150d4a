"""A leg of Red Heart as the workflow runs it: the rule's script in a separate process.

    python bench/training_job.py FOLDER LEG

Before the script, this program imports the modules that Snakemake makes a script import.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "scripts"
OUTPUTS = {
    "weights": "epoch_{:03d}.pt",
    "manifest": "epoch_{:03d}.json",
    "steps": "steps_{:03d}.jsonl",
    "metrics": "metrics_{:03d}.json",
    "opinions": "opinions_{:03d}.npz",
}
OF_PARENT = ("weights", "manifest", "metrics")


def write_jobs(folder: Path, settings: Mapping[str, Any], peak: float) -> None:
    """Write the job of each leg, as Snakemake gives it to the rule `train_leg`."""
    from redheart.recipe.build import build
    from redheart.recipe.training_options import LegOptions, checkpoint_epochs
    from redheart.storage import files
    from redheart.storage.store import Store
    from redheart.workflow import steps

    store = Store(folder / "store")

    def shared(step: str) -> dict[str, str]:
        return {"settings": steps.parameters(settings, step), "code": steps.codes(store)[step]}

    files.write_json(folder / "run" / "best_lr.json", {"best_learning_rate": peak})
    params = {
        **shared("train_leg"),
        "evaluate_checkpoint": shared("evaluate_checkpoint"),
        "memory": settings["memory"],
        "snapshot_minutes": settings["store"]["snapshot_minutes"],
        "keep_states": [settings["store"]["keep_every"], settings["store"]["keep_last"]],
        "devices": settings["train"]["devices"],
    }
    inputs: dict[str, Any] = {
        "train": str(folder / "train.npz"),
        "val_select": str(folder / "val_select.npz"),
        "trunk": [],
        "best": str(folder / "run" / "best_lr.json"),
    }
    before: dict[str, list[str]] = {f"parent_{name}": [] for name in OF_PARENT}
    for number, epoch in enumerate(checkpoint_epochs(build(LegOptions, settings["train"])), 1):
        outputs = {
            name: f"{folder}/run/ckpt/{form.format(epoch)}" for name, form in OUTPUTS.items()
        }
        job = {
            "input": {**inputs, **before},
            "output": outputs,
            "params": params,
            "wildcards": {"seed": "0", "epoch": f"{epoch:03d}"},
            "log": f"{folder}/run/logs/train_leg_{epoch:03d}.log",
        }
        files.write_json(folder / f"job_{number}", job)
        before = {f"parent_{name}": [outputs[name]] for name in OF_PARENT}


def _named(empty: Any, paths: Mapping[str, str | list[str]]) -> Any:
    """Return a list of paths in which a name stands for one path, several or none."""
    for name, path in paths.items():
        several = isinstance(path, list)
        start = len(empty)
        empty.extend(path if several else [path])
        empty._set_name(name, start, len(empty) if several else None)
    return empty


def read_job(folder: Path, number: int | str) -> Any:
    """Return the job of a leg, as Snakemake hands it to the script."""
    from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Snakemake, Wildcards

    from redheart.storage import files

    job = files.read_json(folder / f"job_{number}")
    return Snakemake(
        _named(InputFiles(), job["input"]),
        OutputFiles(fromdict=job["output"]),
        Params(fromdict=job["params"]),
        Wildcards(fromdict=job["wildcards"]),
        threads=1,
        resources={},
        log=Log([job["log"]]),
        config={},
        rulename="train_leg",
        bench_iteration=None,
    )


def environment(folder: Path) -> dict[str, str]:
    """Return the environment that rules/common.smk and Snakemake set for a job of one thread."""
    return {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "REDHEART_STORE": str(folder / "store"),
        "REDHEART_LEDGER": str(folder / "run" / "ledger.jsonl"),
        "REDHEART_CONFIG": str(folder / "config.json"),
    }


def main() -> None:
    folder, number = Path(sys.argv[1]), sys.argv[2]
    job = read_job(folder, number)
    importlib.import_module("snakemake.logging")
    sys.path.insert(0, str(SCRIPTS))
    runpy.run_path(str(SCRIPTS / "train_leg.py"), {"snakemake": job})


if __name__ == "__main__":
    main()
