"""Share the records out over four parts and prove that nothing leaks across them."""

from job import Job

from redheart import files, split
from redheart.dedup import near_duplicate_pairs
from redheart.options import build

job = Job(snakemake)


def compute(folder):
    records = files.read_json(job.input.deduped)
    options = build(split.SplitOptions, job.settings["split"])
    strata = [split.stratum(record, job.settings["stratify_by"]) for record in records]
    texts = [record["text"] for record in records]
    first, second, similarity = near_duplicate_pairs(texts, options.audit_threshold)
    links = list(zip(first.tolist(), second.tolist(), strict=True))
    parts = split.split_records(records, links, strata, options)
    pairs = [(i, j, s) for (i, j), s in zip(links, similarity.tolist(), strict=True)]
    files.write_json(folder / "report", split.split_report(records, parts, strata, pairs, options))
    for part, members in parts.items():
        files.write_json(folder / part, [records[i] for i in members])


job.build(compute)
