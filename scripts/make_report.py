"""Write the report: one page, its figures and its tables."""

from pathlib import Path

from job import Job

from redheart.report import page
from redheart.storage import files, run_files
from redheart.tasks.task import parse_tasks

job = Job(snakemake, whole_run=True)
names = [name for name in job.names if name not in ("results", "shipped")]
results = page.without_clock(files.read_json(job.input.results))


def by_seed(paths):
    return {run_files.seed_of(path): files.read_json(path) for path in paths}


def compute(folder):
    tasks = parse_tasks(job.settings["tasks"])
    seeds = [by_seed(job.input.get(kind, ())) for kind in ("sources", "spots", "search")]
    parts = {Path(path).stem: files.read_json(path) for path in job.input.parts}
    single = {name: files.read_json(job.input[name]) for name in page.SINGLE_FILES}
    inputs = page.ReportInputs(tasks, results, *seeds, parts=parts, **single)
    for name, content in page.build_report(inputs).items():
        files.write_text(folder / name, content)


job.build(compute, uses={**job.content(*names), "results": results})
