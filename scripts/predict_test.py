"""Let every candidate of one seed predict test, once the choice is frozen."""

from job import Job

from redheart.machine import device
from redheart.recipe.build import read_recipe

job = Job(snakemake)
recipe = read_recipe(job.settings)


def compute(folder):
    from redheart.crossover.candidate_predictions import paths_of_members, predict_fused
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference, predictions

    test, sources = load_encoded(job.input.test), job.read("sources")
    members = paths_of_members(sources, [*job.input.weights, *job.input.stitched])
    network = inference.network_for(recipe, test)
    predicted = predict_fused(network, sources, members, test, recipe)
    predictions.save(folder / "predictions", {name: {"test": p} for name, p in predicted.items()})


uses = {**job.content("stitched", "sources", "test"), "weights": job.weights()}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
