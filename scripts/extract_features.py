"""Compute what a frozen trunk makes of one part, once for all training that reads it."""

from job import Job

from redheart.machine import device
from redheart.recipe.build import build
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files

job = Job(snakemake)
options = build(TrainOptions, job.settings["train"])


def of_tokens(part):
    from redheart.evaluation import features
    from redheart.model.pretrained import read_trunk

    trunk = read_trunk(job.input.config, job.input.weights)
    return features.trunk_features(trunk, part, options), trunk.dimension


def of_sentences(part):
    from redheart.encoding import sentences

    records, splitter = job.input.sentences
    texts = [record["text"] for record in files.read_json(records)]
    rows = sentences.sentence_features(job.input.config, splitter, texts, part.max_tokens)
    return rows, sentences.DIMENSION


def compute(folder):
    from redheart.encoding import tokens

    part = tokens.load_encoded(job.input.encoded)
    rows, dimension = (of_sentences if job.input.sentences else of_tokens)(part)
    tokens.save_encoded(folder / "features", part, rows, dimension)


job.build(compute, extra={"environment": device.environment(options)})
