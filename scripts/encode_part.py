"""Encode the texts and targets of one part."""

from job import Job

from redheart.encoding import lexicon, tokens
from redheart.storage import files
from redheart.tasks import scale
from redheart.tasks.task import parse_tasks

job = Job(snakemake)


def compute(folder):
    part = tokens.encode_part(
        files.read_json(job.input.records),
        parse_tasks(job.settings["tasks"]),
        job.input.tokenizer,
        job.settings["train"]["max_tokens"],
        lexicon.load_lexicon(job.input.lexicon),
        next(map(files.read_json, job.input.trunk), None),
        scale.from_json(job.optional("scales", {})),
    )
    tokens.save_encoded(folder / "encoded", part)


job.build(compute)
