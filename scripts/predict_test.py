"""Let every candidate of one seed predict test, once the choice is frozen."""

from job import Job, manifests_by_epoch, member_paths

from redheart.evaluation import predictions
from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart.crossover import candidates
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference

    test = load_encoded(job.input.test)
    paths = [*job.input.weights, *job.input.stitched]
    sources = files.read_json(job.input.sources)
    members = {name: member_paths(source, paths) for name, source in sources.items()}
    network = inference.empty_network(recipe, test)
    predicted = candidates.predict_fused(network, sources, members, test, recipe)
    predictions.save(folder / "predictions", {name: {"test": p} for name, p in predicted.items()})


uses = {
    **job.content("stitched", "sources", "test"),
    "weights": [[manifest["weights"], manifest["ema"]] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
