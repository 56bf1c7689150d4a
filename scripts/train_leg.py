"""Train a leg and evaluate its checkpoint: two actions, so that a new metric costs no training."""

from job import Job

from redheart.storage import files
from redheart.training import legs
from redheart.training.leg_training import LegTraining

job = Job(snakemake)
leg = LegTraining.read(job.input, job.settings, job.wildcards, job.params)
uses = {**job.content("train", "trunk"), **leg.uses}
stored = legs.StoredLeg.find(job.store, job.keys(uses, leg.values), leg.parent, job.params)


def train(folder):
    return leg.train(stored, folder, job.check_space, job.note)


def evaluate(folder):
    from redheart.evaluation.scoring import score_leg

    table = score_leg(job.input, job.output, job.settings_of("evaluate_checkpoint"), folder)
    files.write_json(folder / "metrics", table)


job.build(train, names=legs.OUTPUTS, uses=uses, extra=leg.values(stored.devices))
stored.tidy(*job.params.keep_states)
used = legs.trained_values(job.output.manifest)
used |= job.content("train", "val_select", "parent_metrics")
job.build(evaluate, step="evaluate_checkpoint", names=legs.EVALUATED, uses=used, extra=leg.device)
