"""Try one learning rate with one seed, up to the end of a rung."""

from job import Job

from redheart.encoding import tokens
from redheart.machine import device, memory_plan, tiers
from redheart.recipe.build import read_recipe
from redheart.storage import files
from redheart.sweep.trials import eliminated_trial
from redheart.training.snapshots import Snapshots

job = Job(snakemake)
recipe = read_recipe(job.settings)
rate, seed = float(job.wildcards.rate), int(job.wildcards.seed)
start, stop = job.params.epochs
uses = job.content("train", "val_select", "trunk")
memory = memory_plan.choose(recipe, tokens.load_sizes(job.input.train), **job.params.memory)


def until(epochs):
    """A trial follows from its data, its settings and its end: rungs only divide the work."""
    environment = {"environment": device.environment(recipe.train), **memory.key(recipe.train)}
    return {"sweep.epochs": epochs, "rate": rate, "seed": seed, **environment}


def state_of(epochs):
    """Return where the state after that many epochs is, and the proof that it is whole."""
    key = job.action(uses=uses, extra=until(epochs)).key
    return job.store.state_path(key), job.store.folder(key) / "state"


def train(folder):
    from redheart.sweep import trial_training
    from redheart.training import launch
    from redheart.training import state as training_state
    from redheart.training.progress import training_progress

    data = tokens.load_encoded(job.input.train)
    validation = tokens.load_encoded(job.input.val_select)
    with launch.alone(recipe.train, memory.tier) as ranks:
        state = training_state.prepare(
            recipe, data, rate, seed, memory, *job.input.trunk, ranks=ranks
        )
        job.check_space(tiers.keeps_of(memory.tier, state.network), uses["train"])
        progress = trial_training.resume_trial(state, *state_of(start))
        title = f"rate {rate}, seed {seed}"
        with training_progress(title, stop) as report, snapshots.listening():
            trial = trial_training.train_rate(
                state, data, validation, stop, report, progress, snapshots
            )
        files.write_json(folder / "trial", trial)
        if stop < job.settings["sweep"]["epochs"] and not trial["diverged"]:
            path, _ = state_of(stop)
            trial_training.save_trial(state, progress, path, folder / "state")
        job.note(**state.facts())


def stand_still(folder):
    before = next(map(files.read_json, job.input.before), None)
    trial = eliminated_trial(before, rate, seed, eliminated)
    files.write_json(folder / "trial", trial)
    job.note(trained=False)


decision = next(map(files.read_json, job.input.decision), {"eliminated": {}})
eliminated = decision["eliminated"].get(job.wildcards.rate)
if eliminated:
    uses_before = {**job.content("before"), "eliminated": eliminated}
    job.build(stand_still, uses=uses_before, extra={"rate": rate, "seed": seed})
else:
    place = job.store.snapshot_path(job.action(uses=uses, extra=until(stop)).key)
    snapshots = Snapshots(place, job.params.snapshot_minutes)
    job.build(train, uses=uses, extra=until(stop))
    snapshots.discard()
if 0 < start < stop:  # Nothing goes on from the rung before any more.
    state_of(start)[0].unlink(missing_ok=True)
