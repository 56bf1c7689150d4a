"""Compute a frozen trunk's features of one part, once for every training that reads them."""

from job import Job

from redheart.machine import device
from redheart.recipe.build import build
from redheart.recipe.training_options import TrainOptions

job = Job(snakemake)
options = build(TrainOptions, job.settings["train"])


def compute(folder):
    from redheart.encoding import tokens
    from redheart.evaluation.features import part_features

    part = tokens.load_encoded(job.input.encoded)
    rows, dimension = part_features(job.input, part, options)
    tokens.save_encoded(folder / "features", part, rows, dimension)


job.build(compute, extra={"environment": device.environment(options)})
