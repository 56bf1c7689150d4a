"""Decide which rates go on from a rung of successive halving."""

from job import Job

from redheart.storage import files
from redheart.sweep import halving

job = Job(snakemake)
number = int(job.wildcards.number)


def compute(folder):
    trials = [files.read_json(path) for path in job.input.trials]
    decision = halving.decide_rung(trials, number, **job.settings["sweep"])
    files.write_json(folder / "decision", decision)


job.build(compute, extra={"rung": number})
