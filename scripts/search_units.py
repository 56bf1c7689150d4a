"""Search the epoch of every unit on the greedy soup's trunk."""

from job import Job, manifests_by_epoch

from redheart.crossover import search
from redheart.machine import device
from redheart.recipe import groups
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart.crossover import candidates, recombination
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference
    from redheart.storage.tensors import load_verified, save_tensors

    validation = load_encoded(job.input.val_select)
    soup = load_verified(job.input.greedy)["weights"]
    load_epoch = candidates.loader(job.input.weights)

    def load(option):
        return soup if option == search.START else load_epoch(option)["weights"]

    network = inference.empty_network(recipe, validation)
    units = groups.units(soup, groups.trunk_is_frozen(manifests.values()))
    found, states = recombination.search_checkpoints(
        network, load, sorted(manifests), units, validation, recipe
    )
    files.write_json(folder / "search", found)
    return {"weights": save_tensors(folder / "weights", {"weights": states})}


uses = {
    **job.content("greedy", "val_select"),
    "weights": [manifest["weights"] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
