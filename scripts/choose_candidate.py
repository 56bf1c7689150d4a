"""Choose the candidate that ships, and freeze the choice before test is opened."""

from job import Job

from redheart.encoding.tokens import load_encoded
from redheart.evaluation import predictions
from redheart.selection.choice import choose, count_passes, read_clusters
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    tables = dict(zip(job.params.seeds, map(predictions.load, job.input.predictions), strict=True))
    choice = choose(
        parse_tasks(job.settings["tasks"]),
        tables,
        {part: load_encoded(job.input[part]).targets for part in ("val_select", "val_confirm")},
        read_clusters(job.input.clusters),
        count_passes(job.read("sources")),
        job.settings["evaluation"]["resamples"],
    )
    files.write_json(folder / "choice", choice)


job.build(compute, extra={"seeds": job.params.seeds})
