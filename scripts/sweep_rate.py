"""Try one learning rate with one seed, up to the end of a rung."""

from job import Job

from redheart.storage import files
from redheart.sweep.trial import StoredTrial, Trial

job = Job(snakemake)
trial = Trial.read(job.input, job.settings, job.wildcards, job.params)
uses = job.content("train", "val_select", "trunk")
stored = StoredTrial(job.store, job.keys(uses, trial.values), job.params.snapshot_minutes)


def train(folder):
    table, facts = trial.train(stored, folder / "state", job.check_space)
    files.write_json(folder / "trial", table)
    job.note(**facts)


def stand_still(folder):
    files.write_json(folder / "trial", trial.stopped(*job.read("before")))
    job.note(trained=False)


if trial.eliminated:
    used = {**job.content("before"), "eliminated": trial.eliminated}
    job.build(stand_still, uses=used, extra=trial.name)
else:
    job.build(train, uses=uses, extra=trial.values(trial.stop))
stored.tidy(trial.start, trial.stop)
