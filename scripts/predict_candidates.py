"""Let every candidate of one seed predict what it was not trained on."""

from job import Job, manifests_by_epoch, member_paths

from redheart import device, files, predictions
from redheart.options import read_recipe

job = Job(snakemake)
recipe = read_recipe(job.settings)
manifests = manifests_by_epoch(job.input.manifests)


def compute(folder):
    from redheart import candidates, inference
    from redheart.tokens import load_encoded

    tables = [files.read_json(path) for path in job.input.metrics]
    sources = candidates.plan_candidates(
        tables,
        files.read_json(job.input.soup_recipe),
        files.read_json(job.input.crossover_recipe)["epochs"],
        [files.read_json(path) for path in job.input.variant_recipes],
    )
    parts = {name: load_encoded(job.input[name]) for name in ("val_select", "val_confirm", "test")}
    network = inference.empty_network(recipe, parts["val_select"])
    paths = [*job.input.weights, *job.input.stitched]
    members = {name: member_paths(source, paths) for name, source in sources.items()}
    predicted, weights = candidates.predict_candidates(network, members, parts, recipe)
    predictions.save(folder / "predictions", predicted)
    fused = {name: {**source, "fusion": weights[name]} for name, source in sources.items()}
    files.write_json(folder / "sources", fused)


recipes = ("soup_recipe", "crossover_recipe", "variant_recipes")
uses = {
    **job.content("metrics", "stitched", *recipes, "val_select", "val_confirm", "test"),
    "weights": [[manifest["weights"], manifest["ema"]] for manifest in manifests.values()],
}
job.build(compute, uses=uses, extra={"environment": device.environment(recipe.train)})
