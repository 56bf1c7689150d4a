"""Choose the learning rate and say why."""

from job import Job

from redheart.recipe.build import build
from redheart.storage import files
from redheart.sweep.choice import ChoiceOptions, choose_rate

job = Job(snakemake)


def compute(folder):
    options = build(ChoiceOptions, job.settings["sweep"])
    best, curves = choose_rate(job.read("metrics"), options)
    files.write_json(folder / "best", best)
    files.write_json(folder / "curves", curves)


job.build(compute)
