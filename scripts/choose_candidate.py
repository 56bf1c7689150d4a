"""Choose what ships, and freeze that choice before test is opened."""

from job import Job

from redheart import files, predictions, selection
from redheart.tasks import parse_tasks
from redheart.tokens import load_encoded

job = Job(snakemake)


def compute(folder):
    tables = dict(zip(job.params.seeds, map(predictions.load, job.input.predictions), strict=True))
    choice = selection.choose(
        parse_tasks(job.settings["tasks"]),
        tables,
        {part: load_encoded(job.input[part]).targets for part in ("val_select", "val_confirm")},
        selection.read_clusters(job.input.clusters),
        selection.count_passes([files.read_json(path) for path in job.input.sources]),
        job.settings["evaluation"]["resamples"],
    )
    files.write_json(folder / "choice", choice)


job.build(compute, extra={"seeds": job.params.seeds})
