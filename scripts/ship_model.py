"""Put the model that ships into one folder: weights, tokenizer, lexicon, config, recipe, card."""

import shutil

from job import Job

from redheart.selection import shipping
from redheart.storage import files

job = Job(snakemake)
comparison, config = job.read("comparison"), job.read("config")
made_of = (job.params.seeds, job.read("sources"), [*job.input.weights, *job.input.stitched])
source, members = shipping.shipped_members(comparison, *made_of)
copied = [name for name in shipping.AS_THEY_ARE if name in dict(job.output.items())]


def compute(folder):
    from redheart.crossover.candidate_predictions import load_members
    from redheart.storage.tensors import save_tensors

    for name in copied:
        shutil.copyfile(job.input[name], folder / name)
    files.write_json(folder / "config", config)
    files.write_json(folder / "recipe", {**comparison["shipped"], **source})
    files.write_text(folder / "card", shipping.model_card(job.params.run, config, comparison))
    return {"weights": save_tensors(folder / "weights", {"members": load_members(members)})}


used = {"members": [[files.sha256_file(path), which] for path, which in members], "recipe": source}
job.build(compute, uses={**job.content("comparison", "config", *copied), **used})
