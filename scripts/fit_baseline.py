"""Fit the yardstick of every report: a linear model on TF-IDF features."""

from job import Job

from redheart.evaluation import predictions
from redheart.selection import baseline
from redheart.storage import files
from redheart.tasks import scale
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    tasks = parse_tasks(job.settings["tasks"])
    parts = {name: files.read_json(job.input[name]) for name in job.params.parts}
    texts = {name: [record["text"] for record in part] for name, part in parts.items()}
    scales = scale.from_json(job.optional("scales", {}))
    targets = {
        name: scale.standardized_targets(tasks, part, scales) for name, part in parts.items()
    }
    balance = job.settings["fusion"]["balance"]
    fitted = baseline.fit_tfidf_linear(tasks, texts, targets, balance)
    predictions.save(folder / "predictions", fitted.as_candidate())
    files.write_json(folder / "report", fitted.hyperparameters)


# The rule needs the log of openings, since it reads test. The baseline itself does not use the log.
job.build(compute, uses=job.content(*job.params.parts, "scales"))
