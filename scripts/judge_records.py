"""Let every checkpoint of a seed judge the records that its evaluation did not score."""

from functools import partial

from job import Job

from redheart.machine import device
from redheart.recipe.build import build, read_recipe
from redheart.recipe.training_options import ScoringOptions
from redheart.training import legs

job = Job(snakemake)
recipe, scoring = read_recipe(job.settings), build(ScoringOptions, job.settings["train"])
values = legs.judged_values(job.read("manifests"), job.read("metrics"))
used, extra = job.content("train", "val_confirm"), {"environment": device.environment(recipe.train)}
checkpoints = zip(job.output.items(), job.input.weights, values, strict=True)


def compute(path, fusion, name, folder):
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import opinions

    parts = {part: load_encoded(job.input[part]) for part in ("train", "val_confirm")}
    parts["train"] = opinions.rest(parts["train"], scoring.scored_train_records)
    opinions.judge(parts, path, fusion, recipe, folder / name)


for (name, _), path, facts in checkpoints:
    work = partial(compute, path, facts["fusion"], name)
    job.build(work, names=[name], uses={**used, **facts}, extra=extra)
