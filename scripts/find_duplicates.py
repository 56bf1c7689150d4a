"""Find the near-duplicates of one shard of the texts."""

from job import Job

from redheart.duplicates import shards

job = Job(snakemake)
shard = int(job.wildcards.shard)


def compute(folder):
    dedup = job.settings["dedup"]
    texts = shards.RecordTexts(job.input.records)
    pairs = shards.pairs_of_shard(texts, dedup["threshold"], shard, dedup["shards"])
    shards.save_pairs(folder / "pairs", pairs)


job.build(compute, extra={"shard": shard})
