"""Join a rate's repeats."""

from job import Job

from redheart.storage import files
from redheart.sweep.trials import join_repeats

job = Job(snakemake)


def compute(folder):
    files.write_json(folder / "metrics", join_repeats(job.read("trials")))


job.build(compute)
