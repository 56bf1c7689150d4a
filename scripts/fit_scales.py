"""Fit the scale of every regression to the records of train."""

from job import Job

from redheart.storage import files
from redheart.tasks import scale
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    tasks = parse_tasks(job.settings["tasks"])
    scales = scale.fit_scales(tasks, files.read_json(job.input.train))
    files.write_json(folder / "scales", scale.to_json(scales))


job.build(compute)
