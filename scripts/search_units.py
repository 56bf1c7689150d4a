"""Search the epoch of every unit on the greedy soup's trunk."""

from job import Job

from redheart.crossover.stitch_recipe import manifests_by_epoch
from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart.crossover.recombination import search_files
    from redheart.storage.tensors import save_tensors

    search, states = search_files(job.input, manifests, recipe)
    files.write_json(folder / "search", search)
    return {"weights": save_tensors(folder / "weights", {"weights": states})}


weights = [manifest["weights"] for manifest in manifests.values()]
uses = {**job.content("greedy", "val_select"), "weights": weights}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
