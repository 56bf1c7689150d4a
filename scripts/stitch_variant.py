"""Stitch one variant: all sweet spots shifted by an offset."""

from job import Job, chosen_epochs, manifests_by_epoch

from redheart.crossover import stitch_recipe
from redheart.storage import files

job = Job(snakemake)
offset = int(job.wildcards.offset)
epochs, modules_by_group = chosen_epochs(job.input.spots)
manifests = manifests_by_epoch(job.input.manifests)
variant = stitch_recipe.variants(epochs, job.params.offsets, manifests)[offset]
recipe = stitch_recipe.make_recipe(variant["epochs"], modules_by_group, manifests)
recipe |= {"offset": offset, "clamped": variant["clamped"], "same_as": variant["same_as"]}


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
