"""Import a pretrained trunk into the run: its config, weights and tokenizer."""

from job import Job

from redheart.encoding import trunk

job = Job(snakemake)
name = job.settings["model"]["pretrained"]
max_tokens = job.settings["train"]["max_tokens"]
job.build(lambda folder: trunk.import_trunk(name, max_tokens, folder))
