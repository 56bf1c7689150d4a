"""Compare the candidates, decide what ships, and say how sure that is."""

from job import Job

from redheart import files, predictions, selection
from redheart.tasks import parse_tasks
from redheart.tokens import load_encoded

job = Job(snakemake)


def compute(folder):
    tables = dict(zip(job.params.seeds, map(predictions.load, job.input.predictions), strict=True))
    targets = {
        part: load_encoded(job.input[part]).targets
        for part in ("val_select", "val_confirm", "test")
    }
    result = selection.compare(
        parse_tasks(job.settings["tasks"]),
        tables,
        predictions.load(job.input.baseline),
        targets,
        {name: max(source[name]["forward_passes"] for source in sources) for name in sources[0]},
        job.settings["evaluation"]["resamples"],
    )
    files.write_json(folder / "comparison", result)


sources = [files.read_json(path) for path in job.input.sources]
job.build(compute, extra={"seeds": job.params.seeds})
