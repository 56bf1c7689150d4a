"""Generate the demo corpus and the truth that was planted in it."""

from job import Job

from redheart import corpus, files, records
from redheart.options import build

job = Job(snakemake)


def compute(folder):
    generated, truth = corpus.generate(build(corpus.CorpusOptions, job.settings["demo"]))
    records.write_jsonl(folder / "corpus", generated)
    files.write_json(folder / "truth", truth)


job.build(compute)
