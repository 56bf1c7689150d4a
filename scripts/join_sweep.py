"""Join a rate's repeats."""

from job import Job

from redheart import files, sweep

job = Job(snakemake)


def compute(folder):
    trials = [files.read_json(path) for path in job.input.trials]
    files.write_json(folder / "metrics", sweep.join_repeats(trials))


job.build(compute)
