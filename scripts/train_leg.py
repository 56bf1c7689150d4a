"""Train a leg and evaluate its checkpoint: two actions, so that a new metric costs no training."""

from job import Job

from redheart import device, files, legs
from redheart.options import build, read_recipe
from redheart.snapshots import Snapshots
from redheart.training_options import CheckpointOptions, ScoringOptions

job = Job(snakemake)
recipe = read_recipe(job.settings)
parent = next(map(files.read_json, job.input.parent_manifest), None)
saved = build(CheckpointOptions, job.settings["checkpoints"])
rate = files.read_json(job.input.best)["best_learning_rate"]
seed = int(job.wildcards.seed)
leg = legs.Leg(parent["epoch"] if parent else 0, int(job.wildcards.epoch))
environment = {"environment": device.environment(recipe.train)}


def train(folder):
    from redheart import tokens, training, training_state
    from redheart.progress import training_progress

    data = tokens.load_encoded(job.input.train)
    state = training_state.prepare(recipe, data, rate, seed, job.params.budget_gb, *job.input.trunk)
    job.check_space(state.network, uses["train"])
    ancestor = legs.nearest_ancestor(job.store, keys["parent"])
    title = f"epochs {ancestor.epoch + 1 if ancestor else 1} to {leg.stop}"
    with training_progress(title, leg.stop) as report, snapshots.listening():
        statistics = training.train_leg(state, data, leg, ancestor, report, snapshots)
    job.note(**state.facts())
    place = job.store.state_path(keys["key"])
    return training_state.save_leg(state, statistics, folder, place, keys, saved)


def evaluate(folder):
    from redheart import scoring

    settings = job.settings_of("evaluate_checkpoint")
    options = build(ScoringOptions, settings["train"])
    table = scoring.score_files(job.input, job.output, read_recipe(settings), options)
    files.write_json(folder / "metrics", table)


uses = {**job.content("train", "trunk"), "rate": rate, "parent": legs.parent_values(parent)}
extra = {"seed": seed, **leg.epochs, **environment}
keys = {"key": job.action(uses=uses, extra=extra).key, "parent": parent and parent["key"]}
snapshots = Snapshots(job.store.snapshot_path(keys["key"]), job.params.snapshot_minutes)
job.build(train, names=("weights", "manifest", "steps"), uses=uses, extra=extra)
snapshots.discard()
legs.thin_states(job.store, keys["key"], *job.params.keep_states)

manifest = files.read_json(job.output.manifest)
uses = {
    **job.content("train", "val_select", "parent_metrics"),
    **{name: manifest[name] for name in ("weights", "ema", "training")},
}
job.build(evaluate, step="evaluate_checkpoint", names=("metrics",), uses=uses, extra=environment)
