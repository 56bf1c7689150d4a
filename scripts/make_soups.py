"""Average checkpoints: all of them, and those that help."""

from job import Job, manifests_by_epoch

from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart.crossover import candidates, soups
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference
    from redheart.storage.tensors import save_tensors

    tables = [files.read_json(path) for path in job.input.metrics]
    validation = load_encoded(job.input.val_select)
    network = inference.empty_network(recipe, validation)
    load = candidates.loader(job.input.weights)
    hashes = {}

    def save(name, states):
        hashes[name] = save_tensors(folder / name, {"weights": states})

    epochs = soups.make_soups(network, load, tables, validation, recipe, save)
    files.write_json(folder / "recipe", epochs)
    return hashes


uses = {
    **job.content("metrics", "val_select"),
    "weights": [[manifest["weights"], manifest["ema"]] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
