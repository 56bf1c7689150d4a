"""Find the best epoch of each module group."""

from job import Job

from redheart import files, sweet_spots
from redheart.groups import groups
from redheart.options import build

job = Job(snakemake)


def compute(folder):
    tables = [files.read_json(path) for path in job.input.metrics]
    options = build(sweet_spots.SweetSpotOptions, job.settings["sweet_spots"])
    spots = sweet_spots.find_sweet_spots(tables, groups(tables[0]["parameters"]), options)
    files.write_json(folder / "spots", spots)


job.build(compute)
