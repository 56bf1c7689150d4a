"""Read the source into checked records; what is refused is named in the report."""

import os

from job import Job

from redheart import files, records
from redheart.options import build
from redheart.tasks import parse_tasks

job = Job(snakemake)
# A data set in a folder has several files.
source = os.path.commonpath(job.input.source)


def compute(folder):
    options = build(records.RecordOptions, job.settings["data"])
    tasks = parse_tasks(job.settings["tasks"])
    report = records.read_source(source, folder / "records", tasks, options)
    files.write_json(folder / "report", report)


job.build(compute, extra={"source": os.path.basename(source)})
