"""Put the model that ships into one folder: weights, tokenizer, lexicon, config, recipe, card."""

from job import Job

from redheart.assessment import card
from redheart.selection import checksums, shipping
from redheart.storage import files

job = Job(snakemake)
told = {name: job.read(name) for name in ("comparison", "config", "decisions", "assessment")}
made_of = (job.params.seeds, job.read("sources"), [*job.input.weights, *job.input.stitched])
source, members = shipping.shipped_members(told["comparison"], *made_of)
shipped = {name: path for name, path in job.output.items() if name != "checksums"}
copied = [name for name in shipping.AS_THEY_ARE if name in shipped]


def compute(folder):
    from redheart.crossover.candidate_predictions import load_members
    from redheart.storage.tensors import save_tensors

    shipping.copy_as_they_are(folder, {name: job.input[name] for name in copied})
    card.write_words(folder, job.params.run, source, told)
    return {"weights": save_tensors(folder / "weights", {"members": load_members(members)})}


used = {"members": [[files.sha256_file(path), which] for path, which in members], "recipe": source}
job.build(compute, names=[*shipped], uses={**job.content(*told, *copied), **used})
job.write("checksums", shipped.values(), checksums.write_checksums)
