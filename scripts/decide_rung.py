"""Decide which rates go on from a rung of successive halving."""

from job import Job

from redheart.storage import files
from redheart.sweep import halving

job = Job(snakemake)
number = int(job.wildcards.number)


def compute(folder):
    decision = halving.decide_rung(job.read("trials"), number, **job.settings["sweep"])
    files.write_json(folder / "decision", decision)


job.build(compute, extra={"rung": number})
