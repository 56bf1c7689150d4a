"""Fit the thresholds and the intervals of the model that will ship, before test is opened."""

from job import Job

from redheart.encoding.tokens import load_encoded
from redheart.evaluation import predictions
from redheart.evaluation.decisions import DecisionOptions, fit_decisions
from redheart.recipe.build import build
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    choice = job.read("choice")
    shipped = {key: choice[key] for key in ("candidate", "seed")}
    path = job.input.predictions[job.params.seeds.index(shipped["seed"])]
    parts = {part: load_encoded(job.input[part]) for part in ("val_select", "val_confirm")}
    decided = fit_decisions(
        parse_tasks(job.settings["tasks"]),
        predictions.load(path)[shipped["candidate"]],
        {name: part.targets for name, part in parts.items()},
        parts["val_select"].scales,
        build(DecisionOptions, job.settings["decisions"]),
    )
    files.write_json(folder / "decisions", {**shipped, "tasks": decided})


job.build(compute, extra={"seeds": job.params.seeds})
