"""Search the epoch of every unit on the greedy soup's trunk."""

from job import Job, manifests_by_epoch

from redheart import device, files, groups, search
from redheart.options import read_recipe

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart import candidates, checkpoint, inference, recombination
    from redheart.tokens import load_encoded

    validation = load_encoded(job.input.val_select)
    soup = checkpoint.load_verified(job.input.greedy)["weights"]
    load_epoch = candidates.loader(job.input.weights)

    def load(option):
        return soup if option == search.START else load_epoch(option)["weights"]

    network = inference.empty_network(recipe, validation)
    units = groups.units(soup, groups.trunk_is_frozen(manifests.values()))
    found, states = recombination.search_checkpoints(
        network, load, sorted(manifests), units, validation, recipe
    )
    files.write_json(folder / "search", found)
    return {"weights": checkpoint.save_tensors(folder / "weights", {"weights": states})}


uses = {
    **job.content("greedy", "val_select"),
    "weights": [manifest["weights"] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
