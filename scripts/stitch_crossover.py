"""Stitch the groups' states of their sweet spots into one model."""

from job import Job

from redheart.crossover.stitch_recipe import group_recipe, manifests_by_epoch
from redheart.storage import files

job = Job(snakemake)
manifests = manifests_by_epoch(job.input.manifests)
recipe = group_recipe(job.read("spots"), manifests)


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
