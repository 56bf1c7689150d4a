"""Let every candidate of one seed predict the two validation parts."""

from job import Job

from redheart.crossover.candidates import sources_of_candidates
from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
READ = ("metrics", "soup_recipe", "spots", "variant_recipes", "search")


def compute(folder):
    from redheart.crossover.candidate_predictions import paths_of_members, predict_candidates
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference, predictions

    sources = sources_of_candidates(recipe.tasks, *map(job.read, READ))
    parts = {name: load_encoded(job.input[name]) for name in ("val_select", "val_confirm")}
    network = inference.network_for(recipe, parts["val_select"])
    members = paths_of_members(sources, [*job.input.weights, *job.input.stitched])
    predicted, sources = predict_candidates(network, sources, members, parts, recipe)
    predictions.save(folder / "predictions", predicted)
    files.write_json(folder / "sources", sources)


uses = {**job.content("stitched", *READ, "val_select", "val_confirm"), "weights": job.weights()}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
