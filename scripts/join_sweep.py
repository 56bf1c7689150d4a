"""Join a rate's repeats."""

from job import Job

from redheart.storage import files
from redheart.sweep.trials import join_repeats

job = Job(snakemake)


def compute(folder):
    trials = [files.read_json(path) for path in job.input.trials]
    files.write_json(folder / "metrics", join_repeats(trials))


job.build(compute)
