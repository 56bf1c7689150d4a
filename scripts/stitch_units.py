"""Stitch the units' states of their sweet spots into one model, of weights or of averages."""

from job import Job, chosen_epochs, manifests_by_epoch

from redheart.crossover import stitch_recipe
from redheart.recipe import groups
from redheart.storage import files

job = Job(snakemake)
kind = job.wildcards.kind
epochs, modules_by_unit = chosen_epochs(job.input.spots, kind)
manifests = manifests_by_epoch(job.input.manifests)
last = manifests[max(manifests)]
if groups.trunk_is_frozen(manifests.values()) and "backbone" in last["weights"]:
    epochs[groups.TRUNK], modules_by_unit[groups.TRUNK] = last["epoch"], ["backbone"]
source = "ema" if kind == "units_ema" else "weights"
recipe = stitch_recipe.make_recipe(epochs, modules_by_unit, manifests, source)


def compute(folder):
    from redheart.crossover import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
