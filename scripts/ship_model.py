"""Put what ships into one folder: weights, tokenizer, lexicon, config, recipe, model card."""

import shutil

from job import Job, member_paths

from redheart import files, shipping

job = Job(snakemake)
comparison = files.read_json(job.input.comparison)
shipped = comparison["shipped"]
place = list(job.params.seeds).index(shipped["seed"])
source = files.read_json(job.input.sources[place])[shipped["candidate"]]


of_seed = f"/seed_{shipped['seed']}/"
paths = [path for path in [*job.input.weights, *job.input.stitched] if of_seed in path]
members = member_paths(source, paths)


def compute(folder):
    from redheart import candidates, checkpoint

    config = files.read_json(job.input.config)
    checkpoint.save_tensors(folder / "weights", {"members": candidates.load_members(members)})
    shutil.copyfile(job.input.tokenizer, folder / "tokenizer")
    shutil.copyfile(job.input.lexicon, folder / "lexicon")
    files.write_json(folder / "config", config)
    files.write_json(folder / "recipe", {**shipped, **source})
    files.write_text(folder / "card", shipping.model_card(job.params.run, config, comparison))


uses = {
    **job.content("comparison", "tokenizer", "lexicon", "config"),
    "members": [[files.sha256_file(path), which] for path, which in members],
    "recipe": source,
}
job.build(compute, uses=uses)
