"""Read the source into checked records; what is refused is named in the report."""

from pathlib import Path

from job import Job

from redheart import files, records
from redheart.options import build
from redheart.tasks import parse_tasks

job = Job(snakemake)


def compute(folder):
    options = build(records.RecordOptions, job.settings["data"])
    tasks = parse_tasks(job.settings["tasks"])
    kept, report = records.read_source(job.input.source, tasks, options)
    records.write_jsonl(folder / "records", kept)
    files.write_json(folder / "report", report)


job.build(compute, extra={"source": Path(job.input.source).name})
