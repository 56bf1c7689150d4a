"""Stitch the groups' states of their sweet spots into one model."""

from job import Job, chosen_epochs, manifests_by_epoch

from redheart.crossover import stitch_recipe
from redheart.storage import files

job = Job(snakemake)
epochs, modules_by_group = chosen_epochs(job.input.spots)
manifests = manifests_by_epoch(job.input.manifests)
recipe = stitch_recipe.make_recipe(epochs, modules_by_group, manifests)


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
