"""Share the records out over four parts and prove that nothing leaks across them."""

from job import Job

from redheart.duplicates.search import near_duplicate_pairs
from redheart.recipe.build import build
from redheart.split.dealing import clusters_by_part, split_records
from redheart.split.kept import kept_indices, read_kept, refuse_torn
from redheart.split.parts import SplitOptions, stratum
from redheart.split.report import split_report
from redheart.storage import files
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    records = files.read_json(job.input.deduped)
    options = build(SplitOptions, job.settings["split"])
    strata = [stratum(record, job.settings["stratify_by"]) for record in records]
    tasks = parse_tasks(job.settings["tasks"])
    texts = [record["text"] for record in records]
    found = near_duplicate_pairs(texts, options.searched_from)
    pairs = list(zip(*(column.tolist() for column in found), strict=True))
    links = [(i, j) for i, j, similarity in pairs if similarity >= options.audit_threshold]
    listed = read_kept(job.input.kept[0]) if job.input.kept else {}
    kept = kept_indices(records, listed)
    refuse_torn(records, links, kept)
    parts = split_records(records, links, strata, options, tasks, kept)
    report = split_report(records, parts, strata, pairs, options, tasks, kept)
    files.write_json(folder / "report", report)
    files.write_json(folder / "clusters", clusters_by_part(parts, links))
    for part, members in parts.items():
        files.write_json(folder / part, [records[i] for i in members])


job.build(compute)
