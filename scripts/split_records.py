"""Share the records out over four parts and prove that nothing leaks across them."""

from job import Job

from redheart.recipe.build import build
from redheart.split.dealing import clusters_by_part, split_corpus
from redheart.split.kept import read_kept
from redheart.split.parts import SplitOptions
from redheart.split.report import split_report
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    records = files.read_json(job.input.deduped)
    options, tasks = build(SplitOptions, job.settings["split"]), parse_tasks(job.settings["tasks"])
    kept = job.paths("kept")
    part_by_id = read_kept(kept[0]) if kept else {}
    split = split_corpus(records, job.settings["stratify_by"], tasks, part_by_id, options)
    facts = (split.parts, split.strata, split.pairs, options, tasks, split.listed_parts)
    files.write_json(folder / "report", split_report(records, *facts))
    files.write_json(folder / "clusters", clusters_by_part(split.parts, split.links))
    for part, members in split.parts.items():
        files.write_json(folder / part, [records[i] for i in members])


job.build(compute)
