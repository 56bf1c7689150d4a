"""Put the model that ships into one folder: weights, tokenizer, lexicon, config, recipe, card."""

import shutil

from job import Job

from redheart.selection import checksums, shipping
from redheart.storage import files

job = Job(snakemake)
comparison, config = job.read("comparison"), job.read("config")
made_of = (job.params.seeds, job.read("sources"), [*job.input.weights, *job.input.stitched])
source, members = shipping.shipped_members(comparison, *made_of)
shipped = {name: path for name, path in job.output.items() if name != "checksums"}
copied = [name for name in shipping.AS_THEY_ARE if name in shipped]


def compute(folder):
    from redheart.crossover.candidate_predictions import load_members
    from redheart.storage.tensors import save_tensors

    for name in copied:
        shutil.copyfile(job.input[name], folder / name)
    shipping.write_words(folder, job.params.run, config, comparison, source)
    return {"weights": save_tensors(folder / "weights", {"members": load_members(members)})}


used = {"members": [[files.sha256_file(path), which] for path, which in members], "recipe": source}
job.build(compute, names=[*shipped], uses={**job.content("comparison", "config", *copied), **used})
job.write("checksums", shipped.values(), checksums.write_checksums)
