"""Stitch one variant: all sweet spots shifted by an offset."""

from job import Job

from redheart.crossover.stitch_recipe import manifests_by_epoch, variant_recipe
from redheart.storage import files

job = Job(snakemake)
manifests = manifests_by_epoch(job.input.manifests)
recipe = variant_recipe(
    files.read_json(job.input.spots), manifests, job.params.offsets, int(job.wildcards.offset)
)


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
