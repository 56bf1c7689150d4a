"""Average checkpoints: all of them, and those that help."""

from job import Job, manifests_by_epoch

from redheart import device, files
from redheart.options import read_recipe

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart import candidates, checkpoint, inference
    from redheart.tokens import load_encoded

    tables = [files.read_json(path) for path in job.input.metrics]
    validation = load_encoded(job.input.val_select)
    network = inference.empty_network(recipe, validation)
    load = candidates.loader(job.input.weights)
    hashes = {}

    def save(name, states):
        hashes[name] = checkpoint.save_tensors(folder / name, {"weights": states})

    epochs = candidates.make_soups(network, load, tables, validation, recipe, save)
    files.write_json(folder / "recipe", epochs)
    return hashes


uses = {
    **job.content("metrics", "val_select"),
    "weights": [[manifest["weights"], manifest["ema"]] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
