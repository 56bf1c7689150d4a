"""Average checkpoints: all of them (uniform soup), and those that help (greedy soup)."""

from job import Job

from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)


def compute(folder):
    from redheart.crossover.soups import write_soups
    from redheart.encoding.tokens import load_encoded

    validation = load_encoded(job.input.val_select)
    epochs, hashes = write_soups(folder, job.input.weights, job.read("metrics"), validation, recipe)
    files.write_json(folder / "recipe", epochs)
    return hashes


uses = {**job.content("metrics", "val_select"), "weights": job.weights()}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
