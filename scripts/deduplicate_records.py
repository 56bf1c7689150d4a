"""Remove near-duplicates and report every one of them."""

from functools import partial

from job import Job

from redheart.data.records import read_jsonl
from redheart.duplicates import shards
from redheart.duplicates.removal import DedupOptions, deduplicate, refuse_few
from redheart.recipe.build import build
from redheart.split.parts import stratum
from redheart.storage import files

job = Job(snakemake)


def compute(folder):
    label_of = partial(stratum, field=job.settings["stratify_by"])
    records, report = deduplicate(
        read_jsonl(job.input.records),
        build(DedupOptions, job.settings["dedup"]),
        label_of,
        pairs=shards.join_pairs(job.input.pairs) if job.input.pairs else None,
    )
    refuse_few(report)
    files.write_json(folder / "deduped", records)
    files.write_json(folder / "report", report)


job.build(compute)
