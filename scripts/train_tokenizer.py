"""Train the tokenizer on the training part alone."""

from job import Job

from redheart.encoding import tokens
from redheart.storage import files

job = Job(snakemake)


def compute(folder):
    texts = [record["text"] for record in files.read_json(job.input.train)]
    vocab_size = job.settings["tokenizer"]["vocab_size"]
    files.write_text(folder / "tokenizer", tokens.train_tokenizer(texts, vocab_size))


job.build(compute)
