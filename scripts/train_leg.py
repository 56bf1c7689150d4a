"""Train a leg and evaluate its checkpoint: two actions, so that a new metric costs no training."""

from functools import partial

from job import Job

from redheart.encoding import tokens
from redheart.machine import device, memory_plan
from redheart.recipe.build import build, read_recipe
from redheart.recipe.training_options import CheckpointOptions, ScoringOptions
from redheart.storage import files
from redheart.training import launch, legs
from redheart.training.snapshots import Snapshots

job = Job(snakemake)
recipe = read_recipe(job.settings)
parent = next(map(files.read_json, job.input.parent_manifest), None)
saved = build(CheckpointOptions, job.settings["checkpoints"])
rate = files.read_json(job.input.best)["best_learning_rate"]
seed = int(job.wildcards.seed)
leg = legs.Leg(parent["epoch"] if parent else 0, int(job.wildcards.epoch))
sizes = tokens.load_sizes(job.input.train)
memory = memory_plan.choose(recipe, sizes, devices=job.params.devices, **job.params.memory)


def on(devices):
    environment = {"environment": device.environment(recipe.train, devices)}
    return {"seed": seed, **leg.epochs, **environment, **memory.key(recipe.train)}


def train(folder):
    ancestor = legs.nearest_ancestor(job.store, keys["parent"])
    what = (recipe, memory, rate, seed, leg, ancestor, job.input)
    check = partial(job.check_space, train=uses["train"])
    work = launch.LegTraining(*what, job.store, keys, folder, saved, snapshots, check)
    hashes, facts = launch.on_devices(work, devices, recipe.train, memory.tier)
    job.note(**facts)
    return hashes


def evaluate(folder):
    from redheart.evaluation import scoring

    settings = job.settings_of("evaluate_checkpoint")
    options = build(ScoringOptions, settings["train"])
    table = scoring.score_files(job.input, job.output, read_recipe(settings), options)
    files.write_json(folder / "metrics", table)


uses = {**job.content("train", "trunk"), "rate": rate, "parent": legs.parent_values(parent)}
devices = legs.trained_devices(
    job.store, lambda n: job.action(uses=uses, extra=on(n)).key, job.params.devices
)
keys = {"key": job.action(uses=uses, extra=on(devices)).key, "parent": parent and parent["key"]}
snapshots = Snapshots(job.store.snapshot_path(keys["key"]), job.params.snapshot_minutes)
job.build(train, names=legs.OUTPUTS, uses=uses, extra=on(devices))
snapshots.discard()
legs.thin_states(job.store, keys["key"], *job.params.keep_states)

trained = legs.trained_values(files.read_json(job.output.manifest))
uses = {**job.content("train", "val_select", "parent_metrics"), **trained}
environment = {"environment": device.environment(recipe.train)}
job.build(evaluate, step="evaluate_checkpoint", names=("metrics",), uses=uses, extra=environment)
