"""Compare all candidates on test, and say how what was chosen fares against the baseline."""

from job import Job

from redheart import files, predictions, selection
from redheart.tasks import parse_tasks
from redheart.tokens import load_encoded

job = Job(snakemake)


def compute(folder):
    tables = {
        seed: predictions.joined(before, test)
        for seed, before, test in zip(
            job.params.seeds, job.input.predictions, job.input.test_predictions, strict=True
        )
    }
    result = selection.compare(
        parse_tasks(job.settings["tasks"]),
        files.read_json(job.input.choice),
        tables,
        predictions.load(job.input.baseline),
        {p: load_encoded(job.input[p]).targets for p in ("val_select", "val_confirm", "test")},
        selection.read_clusters(job.input.clusters)["test"],
        selection.count_passes([files.read_json(path) for path in job.input.sources]),
        job.settings["evaluation"]["resamples"],
    )
    files.write_json(folder / "comparison", result)


read = [name for name, _ in job.input.items() if name != "access"]
job.build(compute, uses=job.content(*read), extra={"seeds": job.params.seeds})
