"""Let every checkpoint of a seed judge test, once the choice is frozen."""

from functools import partial

from job import Job

from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.training import legs

job = Job(snakemake)
recipe = read_recipe(job.settings)
values = legs.judged_values(job.read("manifests"), job.read("metrics"))
used = job.content("test")
extra = {"environment": device.environment(recipe.train)}
checkpoints = zip(job.output.items(), job.input.weights, values, strict=True)


def compute(weights, fusion, name, folder):
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import opinions

    parts = {"test": load_encoded(job.input.test)}
    opinions.judge(parts, weights, fusion, recipe, folder / name)


for (name, _), weights, facts in checkpoints:
    work = partial(compute, weights, facts["fusion"], name)
    job.build(work, names=[name], uses={**used, **facts}, extra=extra)
