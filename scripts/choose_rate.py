"""Choose the learning rate and say why."""

from job import Job

from redheart import files, sweep
from redheart.options import build

job = Job(snakemake)


def compute(folder):
    rates = [files.read_json(path) for path in job.input.metrics]
    best, curves = sweep.choose_rate(rates, build(sweep.ChoiceOptions, job.settings["sweep"]))
    files.write_json(folder / "best", best)
    files.write_json(folder / "curves", curves)


job.build(compute)
