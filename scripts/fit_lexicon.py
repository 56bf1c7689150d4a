"""Choose the n-grams of the lexical branches, on the training part alone."""

from job import Job

from redheart.encoding import lexicon
from redheart.recipe.build import build
from redheart.storage import files

job = Job(snakemake)


def compute(folder):
    texts = [record["text"] for record in files.read_json(job.input.train)]
    options = build(lexicon.LexiconOptions, job.settings["lexicon"])
    lexicon.save_lexicon(folder / "lexicon", lexicon.fit_lexicon(texts, options))


job.build(compute)
