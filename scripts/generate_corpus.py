"""Generate the demo corpus and the truth that was planted in it."""

from job import Job

from redheart.data import corpus
from redheart.data.records import write_jsonl
from redheart.recipe.build import build
from redheart.storage import files

job = Job(snakemake)


def compute(folder):
    generated, truth = corpus.generate(build(corpus.CorpusOptions, job.settings["demo"]))
    write_jsonl(folder / "corpus", generated)
    files.write_json(folder / "truth", truth)


job.build(compute)
