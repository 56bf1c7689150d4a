"""Train a leg and evaluate its checkpoint: two actions, so that a new metric costs no training."""

from job import Job

from redheart import device, files, legs, memory_plan, tokens
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
memory = memory_plan.choose(
    recipe, tokens.load_sizes(job.input.train), devices=job.params.devices, **job.params.memory
)


def on(devices):
    environment = {"environment": device.environment(recipe.train, devices)}
    return {"seed": seed, **leg.epochs, **environment, **memory.key(recipe.train)}


def train(folder):
    from redheart import launch, training, training_state
    from redheart.progress import training_progress

    ancestor = legs.nearest_ancestor(job.store, keys["parent"])
    title = f"epochs {ancestor.epoch + 1 if ancestor else 1} to {leg.stop}"
    place = job.store.state_path(keys["key"])

    def work(ranks):
        data = tokens.load_encoded(job.input.train)
        trunk = job.input.trunk
        state = training_state.prepare(recipe, data, rate, seed, memory, *trunk, ranks=ranks)
        job.check_space(state.network, uses["train"])
        with training_progress(title, leg.stop, ranks.rank) as report, snapshots.listening():
            statistics = training.train_leg(state, data, leg, ancestor, report, snapshots)
        hashes = training_state.save_leg(state, statistics, folder, place, keys, saved)
        return hashes, state.facts()

    hashes, facts = launch.on_devices(work, devices, recipe.train)
    job.note(**facts)
    return hashes


def evaluate(folder):
    from redheart import scoring

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

manifest = files.read_json(job.output.manifest)
uses = {
    **job.content("train", "val_select", "parent_metrics"),
    **{name: manifest[name] for name in ("weights", "ema", "training")},
}
environment = {"environment": device.environment(recipe.train)}
job.build(evaluate, step="evaluate_checkpoint", names=("metrics",), uses=uses, extra=environment)
