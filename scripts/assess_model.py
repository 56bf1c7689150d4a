"""Assess on test the model that ships: by task and class, with intervals, and its mistakes."""

from job import Job

from redheart.assessment import assess, words
from redheart.encoding.tokens import load_encoded
from redheart.evaluation import decisions, predictions
from redheart.recipe.build import build
from redheart.selection.choice import read_clusters
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    settings, decided, records = job.settings, job.read("decisions"), job.read("records")
    path = job.input.test_predictions[job.params.seeds.index(decided["seed"])]
    tables = predictions.load(path), predictions.load(job.input.baseline)
    parts = {part: load_encoded(job.input[part]) for part in ("train", "val_select", "test")}
    known = decided, *tables, parts, records, read_clusters(job.input.clusters)["test"]
    options = build(decisions.DecisionOptions, settings["decisions"])
    how = options, settings["evaluation"]["resamples"]
    content, given = assess.assess_shipped(parse_tasks(settings["tasks"]), *known, *how)
    files.write_json(folder / "assessment", content)
    files.write_text(folder / "predictions", words.predictions_table(given, records))


used = job.content(*(name for name in job.names if name != "access"))
job.build(compute, uses=used, extra={"seeds": job.params.seeds})
