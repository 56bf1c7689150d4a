"""Remove near-duplicates and report every one of them."""

from functools import partial

from job import Job

from redheart import dedup, files, records, shards
from redheart.options import build
from redheart.split import stratum

job = Job(snakemake)


def compute(folder):
    label_of = partial(stratum, field=job.settings["stratify_by"])
    kept, report = dedup.deduplicate(
        records.read_jsonl(job.input.records),
        build(dedup.DedupOptions, job.settings["dedup"]),
        label_of,
        pairs=shards.join_pairs(job.input.pairs) if job.input.pairs else None,
    )
    files.write_json(folder / "deduped", kept)
    files.write_json(folder / "report", report)


job.build(compute)
