"""Put what ships into one folder: weights, tokenizer, lexicon, config, recipe, model card."""

import shutil

from job import Job, member_paths

from redheart.selection import shipping
from redheart.storage import files

job = Job(snakemake)
comparison = files.read_json(job.input.comparison)
shipped = comparison["shipped"]
place = list(job.params.seeds).index(shipped["seed"])
source = files.read_json(job.input.sources[place])[shipped["candidate"]]


of_seed = f"/seed_{shipped['seed']}/"
paths = [path for path in [*job.input.weights, *job.input.stitched] if of_seed in path]
members = member_paths(source, paths)
AS_THEY_ARE = ("tokenizer", "lexicon", "trunk_config", "trunk_weights")
copied = [name for name in AS_THEY_ARE if name in dict(job.output.items())]


def compute(folder):
    from redheart.crossover import candidates
    from redheart.storage.tensors import save_tensors

    config = files.read_json(job.input.config)
    weights = {"members": candidates.load_members(members)}
    for name in copied:
        shutil.copyfile(job.input[name], folder / name)
    files.write_json(folder / "config", config)
    files.write_json(folder / "recipe", {**shipped, **source})
    files.write_text(folder / "card", shipping.model_card(job.params.run, config, comparison))
    return {"weights": save_tensors(folder / "weights", weights)}


uses = {
    **job.content("comparison", "config", *copied),
    "members": [[files.sha256_file(path), which] for path, which in members],
    "recipe": source,
}
job.build(compute, uses=uses)
