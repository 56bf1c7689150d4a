"""Let every candidate of one seed predict what it was not trained on."""

from job import Job, manifests_by_epoch, member_paths

from redheart.evaluation import predictions
from redheart.machine import device
from redheart.recipe.build import read_recipe
from redheart.storage import files

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart.crossover import candidate_plan, candidates
    from redheart.encoding.tokens import load_encoded
    from redheart.evaluation import inference

    sources = candidate_plan.plan_candidates(
        recipe.tasks,
        [files.read_json(path) for path in job.input.metrics],
        files.read_json(job.input.soup_recipe),
        files.read_json(job.input.spots),
        [files.read_json(path) for path in job.input.variant_recipes],
        files.read_json(job.input.search),
    )
    parts = {name: load_encoded(job.input[name]) for name in ("val_select", "val_confirm")}
    network = inference.empty_network(recipe, parts["val_select"])
    paths = [*job.input.weights, *job.input.stitched]
    members = {name: member_paths(source, paths) for name, source in sources.items()}
    predicted, sources = candidates.predict_candidates(network, sources, members, parts, recipe)
    predictions.save(folder / "predictions", predicted)
    files.write_json(folder / "sources", sources)


choices = ("soup_recipe", "spots", "variant_recipes", "search")
uses = {
    **job.content("metrics", "stitched", *choices, "val_select", "val_confirm"),
    "weights": [[manifest["weights"], manifest["ema"]] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
