"""Compute what a frozen trunk makes of one part, once for all training that reads it."""

from job import Job

from redheart import device
from redheart.options import build
from redheart.training_options import TrainOptions

job = Job(snakemake)
options = build(TrainOptions, job.settings["train"])


def compute(folder):
    from redheart import features, tokens
    from redheart.model.pretrained import read_trunk

    trunk, part = (
        read_trunk(job.input.config, job.input.weights),
        tokens.load_encoded(job.input.encoded),
    )
    rows = features.trunk_features(trunk, part, options)
    tokens.save_encoded(folder / "features", part, rows, trunk.dimension)


job.build(compute, extra={"environment": device.environment(options)})
