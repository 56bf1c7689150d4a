"""Try one learning rate with one seed."""

from job import Job

from redheart import device, files
from redheart.options import read_recipe

job = Job(snakemake)
recipe = read_recipe(job.settings)
rate, seed = float(job.wildcards.rate), int(job.wildcards.seed)


def compute(folder):
    from redheart import tokens, training
    from redheart.progress import training_progress
    from redheart.sweep_training import train_rate

    epochs = job.settings["sweep"]["epochs"]
    train = tokens.load_encoded(job.input.train)
    validation = tokens.load_encoded(job.input.val_select)
    state = training.prepare(recipe, train, rate, seed, job.params.budget_gb)
    with training_progress(f"rate {rate}, seed {seed}", epochs) as report:
        files.write_json(folder / "trial", train_rate(state, train, validation, epochs, report))
    job.note(**state.meter.facts())


extra = {"rate": rate, "seed": seed, "environment": device.environment(recipe.train)}
job.build(compute, extra=extra)
