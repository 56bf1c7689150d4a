"""Compare all candidates on test, and the chosen candidate with the baseline."""

from job import Job

from redheart.encoding.tokens import load_encoded
from redheart.evaluation import predictions
from redheart.selection.choice import compare, count_passes, read_clusters
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    pairs = zip(job.input.predictions, job.input.test_predictions, strict=True)
    comparison = compare(
        parse_tasks(job.settings["tasks"]),
        job.read("choice"),
        dict(zip(job.params.seeds, (predictions.joined(*pair) for pair in pairs), strict=True)),
        predictions.load(job.input.baseline),
        {p: load_encoded(job.input[p]) for p in ("val_select", "val_confirm", "test")},
        read_clusters(job.input.clusters)["test"],
        count_passes(job.read("sources")),
        job.settings["evaluation"]["resamples"],
    )
    files.write_json(folder / "comparison", comparison)


names = [name for name, _ in job.input.items() if name != "access"]
job.build(compute, uses=job.content(*names), extra={"seeds": job.params.seeds})
