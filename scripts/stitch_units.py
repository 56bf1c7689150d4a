"""Stitch the units' states of their sweet spots into one model, of weights or of averages."""

from job import Job

from redheart.crossover.stitch_recipe import manifests_by_epoch, unit_recipe
from redheart.storage import files

job = Job(snakemake)
manifests = manifests_by_epoch(job.input.manifests)
recipe = unit_recipe(job.read("spots"), manifests, job.wildcards.kind)


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
