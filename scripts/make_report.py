"""Write the report: one page, its figures and its tables."""

from pathlib import Path

from job import Job

from redheart.report import contents, page
from redheart.storage import files, run_files
from redheart.tasks.task import parse_tasks

job = Job(snakemake, whole_run=True)
names = [name for name in job.names if name not in ("results", "config", "shipped")]
facts = contents.facts(files.read_json(job.input.results), files.read_json(job.input.config))


def by_seed(name):
    return {run_files.seed_of(path): files.read_json(path) for path in job.input.get(name, ())}


def compute(folder):
    parts = {Path(path).stem: files.read_json(path) for path in job.input.parts}
    seeds = {name: by_seed(name) for name in contents.SEED_FILES}
    single = {name: job.read(name) for name in contents.SINGLE_FILES}
    tasks, suspects = parse_tasks(job.settings["tasks"]), job.optional("suspects", None)
    told = contents.ReportInputs(tasks, parts=parts, suspects=suspects, **seeds, **single, **facts)
    page.write_report(folder, told, job.settings["report"]["figures"])


job.build(compute, uses={**job.content(*names), **facts})
