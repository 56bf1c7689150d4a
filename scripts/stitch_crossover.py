"""Stitch the groups' states of their sweet spots into one model."""

from job import Job, chosen_epochs, manifests_by_epoch

from redheart import crossover, files

job = Job(snakemake)
epochs, modules_by_group = chosen_epochs(job.input.spots)
recipe = crossover.make_recipe(epochs, modules_by_group, manifests_by_epoch(job.input.manifests))


def compute(folder):
    from redheart import stitching

    files.write_json(folder / "recipe", recipe)
    return {"weights": stitching.write_stitched(folder / "weights", recipe, job.input.weights)}


job.build(compute, uses={"recipe": recipe})
