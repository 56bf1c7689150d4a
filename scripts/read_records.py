"""Read the source into checked records; the report names every refused record."""

import os

from job import Job

from redheart.data.reading import read_source
from redheart.data.records import RecordOptions
from redheart.recipe.build import build
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)
# A data set in a folder has several files.
source = os.path.commonpath(job.paths("source"))


def compute(folder):
    options = build(RecordOptions, job.settings["data"])
    tasks = parse_tasks(job.settings["tasks"])
    stratify_by = job.settings["stratify_by"]
    fixes = next(iter(job.paths("corrections")), None) if "corrections" in job.names else None
    report = read_source(source, folder / "records", tasks, options, stratify_by, fixes)
    files.write_json(folder / "report", report)


job.build(compute, extra={"source": os.path.basename(source)})
