"""The table of steps agrees with the config, the rules and the scripts; and `accept`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from redheart.errors import UserError
from redheart.recipe.build import read_recipe
from redheart.storage.store import Action, Store
from redheart.workflow import config, fingerprint, steps
from redheart.workflow.steps import STEPS

ROOT = Path(__file__).parents[2]

# Keys that decide where a text is read, or which jobs exist, and not the result of a job.
NO_STEPS = {
    *("seeds", "data.source", "sweep.learning_rates", "sweep.seeds", "sweep.rungs"),
    *("train.epochs", "train.checkpoint_every", "train.devices", "crossover.offsets"),
    *("memory.budget_gb", "memory.tier", "store.path", "store.snapshot_minutes"),
    *("store.keep_last", "store.keep_every", "data.corrections", "data_map.enabled"),
    *("release.model_license", "release.data_license", "release.trunk_license", "release.language"),
}
PHASE_0 = {
    *("generate_corpus", "read_records", "find_duplicates", "deduplicate_records"),
    "split_records",
    *("train_tokenizer", "import_trunk", "encode_part"),
}


@pytest.fixture(scope="module")
def demo():
    return config.read([ROOT / "config" / "config.yaml"])


def changed(settings, path, value):
    """The config with another value at a dotted path."""
    key, _, rest = path.partition(".")
    return {**settings, key: changed(settings[key], rest, value) if rest else value}


def leaves(settings, path=""):
    if not isinstance(settings, dict):
        return [path.removesuffix(".")]
    return [leaf for key, value in settings.items() for leaf in leaves(value, f"{path}{key}.")]


def reached(before, after):
    """The steps whose parameters differ."""
    return {s for s in STEPS if steps.parameters(before, s) != steps.parameters(after, s)}


# --- which settings reach which step --------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_every_key_of_a_step_is_in_the_config(demo, step):
    assert json.loads(steps.parameters(demo, step)).keys() == set(STEPS[step].keys)


def test_every_setting_reaches_a_step_or_is_known_to_reach_none(demo):
    idle = {leaf for leaf in leaves(demo) if not reached(demo, changed(demo, leaf, "other"))}
    assert idle == NO_STEPS


TRAINED = {
    *("sweep_rate", "train_leg", "evaluate_checkpoint", "make_soups", "search_units"),
    *("predict_candidates", "predict_test", "judge_records", "judge_test"),
}
COMPARING = {"choose_candidate", "compare_candidates"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train.label_smoothing", TRAINED),
        ("train.schedule_epochs", TRAINED),
        ("train.epochs", set()),
        ("model.dropout", TRAINED),
        ("sweep.epochs", {"sweep_rate"}),
        ("sweep.criterion", {"decide_rung", "choose_rate"}),
        ("sweep.reduction_factor", {"decide_rung"}),
        ("train.scored_train_records", {"evaluate_checkpoint", "judge_records"}),
        ("train.max_tokens", {"encode_part", "import_trunk"}),
        ("train.cpu_threads", {*TRAINED, "extract_features"}),
        ("train.deterministic", {*TRAINED, "extract_features"}),
        ("model.pretrained", {"import_trunk"}),
        ("model.freeze_after", TRAINED),
        ("tokenizer.vocab_size", {"train_tokenizer"}),
        ("sweet_spots.gap_weight", {"find_sweet_spots"}),
        ("sweet_spots.by", {"find_sweet_spots"}),
        ("sweet_spots.unit_selector", {"find_sweet_spots"}),
        ("sweet_spots.false_alarm_rate", {"find_sweet_spots"}),
        ("evaluation.resamples", {*COMPARING, "assess_model"}),
        ("decisions.thresholds", {"fit_decisions", "assess_model"}),
        ("decisions.coverage", {"fit_decisions", "assess_model"}),
        ("dedup.threshold", {"find_duplicates", "deduplicate_records"}),
        ("dedup.policy", {"deduplicate_records"}),
        ("dedup.shards", {"find_duplicates"}),
        ("split.seed", {"split_records"}),
        ("demo.records", {"generate_corpus"}),
        ("data_map.false_discovery_rate", {"find_suspects"}),
        ("tasks.regret.weight", {*TRAINED, *COMPARING, "make_report"}),
    ],
)
def test_a_setting_reaches_exactly_the_steps_that_it_concerns(demo, path, expected):
    assert reached(demo, changed(demo, path, 123)) == expected


def effective(**train):
    tasks = {"regret": {"kind": "regression", "field": "r"}}
    return config.effective({"run": "x", "tasks": tasks, "train": train, "sweep": {"epochs": 1}})


def test_a_longer_training_computes_new_legs_only_if_the_schedule_is_set():
    unset = reached(effective(epochs=6), effective(epochs=8))
    assert unset == TRAINED
    with_schedule = [effective(epochs=epochs, schedule_epochs=8) for epochs in (6, 8)]
    assert reached(*with_schedule) == set()


def test_the_order_of_the_config_changes_no_parameter(demo):
    def backwards(value):
        if not isinstance(value, dict):
            return value
        return {key: backwards(item) for key, item in reversed(value.items())}

    assert reached(demo, backwards(demo)) == set()


def test_parameters_turn_back_into_sections(demo):
    settings = steps.settings(steps.parameters(demo, "train_leg"))
    assert read_recipe(settings).train == read_recipe(demo).train
    assert set(read_recipe(settings).tasks) == set(read_recipe(demo).tasks)
    labels = steps.settings(steps.parameters(demo, "encode_part"))
    assert labels["tasks"].keys() == demo["tasks"].keys()
    assert all("weight" not in task for task in labels["tasks"].values())
    assert labels["train"] == {"max_tokens": demo["train"]["max_tokens"]}


# --- which code reaches which step ----------------------------------------------------------


def reached_by(module):
    return {step for step in STEPS if module in fingerprint.closure(steps.roots(step))}


def test_a_changed_loss_trains_again_and_leaves_the_data_alone():
    steps_of_losses = reached_by("redheart.tasks.losses")
    assert steps_of_losses >= {"sweep_rate", "train_leg", "evaluate_checkpoint"}
    assert not steps_of_losses & PHASE_0


def test_a_changed_metric_trains_nothing():
    steps_of_metrics = reached_by("redheart.tasks.metrics")
    assert steps_of_metrics >= {"evaluate_checkpoint", "make_soups", "compare_candidates"}
    untouched = {"sweep_rate", "train_leg", "find_sweet_spots", "stitch_crossover"}
    assert not steps_of_metrics & (untouched | PHASE_0 - {"generate_corpus"})


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("redheart.training.optimizer", {"sweep_rate", "train_leg"}),
        ("redheart.report.page", {"make_report"}),
        ("redheart.sweet_spots.statistics", {"find_sweet_spots"}),
        ("redheart.crossover.stitching", {"stitch_crossover", "stitch_variant", "stitch_units"}),
        ("redheart.crossover.search", {"search_units"}),
        ("redheart.selection.baseline", {"fit_baseline"}),
        ("redheart.suspects.suspicion", {"map_records", "find_suspects"}),
        ("redheart.suspects.threshold", {"find_suspects"}),
        ("redheart.data.corrections", {"read_records"}),
        ("redheart.workflow.config", set()),
        ("redheart.storage.store", set()),
        ("redheart.cli.main", set()),
    ],
)
def test_code_reaches_exactly_the_steps_that_it_concerns(module, expected):
    assert reached_by(module) == expected


def rules():
    """Name of each rule -> its text."""
    texts = (path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    blocks = [block for text in texts for block in re.split(r"^rule ", text, flags=re.M)[1:]]
    return {block.partition(":")[0]: block for block in blocks}


def steps_of(rule):
    return re.findall(r'shared\("(\w+)"\)', rules()[rule])


def test_the_rules_use_every_step_and_no_other():
    assert {step for rule in rules() for step in steps_of(rule)} == set(STEPS)


@pytest.mark.parametrize("rule", [rule for rule in rules() if steps_of(rule)])
def test_the_script_of_a_rule_counts_in_its_steps(rule):
    (script,) = re.findall(r"scripts/(\w+)\.py", rules()[rule])
    begins = {steps.roots(step)[0] for step in steps_of(rule)}
    whole = {f"scripts.{script}"}
    assert begins == whole or {root.partition(":")[0] for root in begins} == whole
    assert len(begins) == len(steps_of(rule))


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda p: p.stem)
def test_a_script_is_read_at_a_glance(script):
    assert script.stem == "job" or len(script.read_text("utf-8").splitlines()) <= 30


# A step depends on the modules that it uses, and no more. Five count besides: which numbers are null
# in a file, how a run's files are called, how files are read and which shape they must have, how a
# step's settings are read.
COUNT_BESIDES = {
    *("redheart.json_values", "redheart.storage.run_files", "redheart.storage.files"),
    *("redheart.shapes", "redheart.workflow.steps"),
}
MODULES = {
    "find_sweet_spots": 6,
    **dict.fromkeys(("import_trunk", "stitch_crossover", "stitch_variant"), 4),
    "stitch_units": 5,  # and which module is the trunk
}


@pytest.mark.parametrize(("step", "most"), MODULES.items())
def test_a_phase_depends_on_what_it_uses(step, most):
    counted = fingerprint.closure(steps.roots(step))
    modules = {module for module in counted if module.startswith("redheart.")}
    assert len(modules - COUNT_BESIDES) <= most


class Scripts:
    """A copy of the scripts, which can be edited."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder / "scripts", monkeypatch
        shutil.copytree(ROOT / "scripts", self.folder)

    def edit(self, script, old, new):
        path = self.folder / f"{script}.py"
        source = path.read_text()
        assert old in source
        path.write_text(source.replace(old, new))
        forget_scripts(self.monkeypatch)


REMEMBERED = {
    name: function
    for name, function in vars(fingerprint).items()
    if hasattr(function, "cache_clear")
}


def forget_scripts(monkeypatch):
    """Let what is remembered of the library stand, which takes a second to find out, and no more."""

    def without_scripts(remembered):
        anew = cache(remembered.__wrapped__)

        def function(of):
            module = getattr(of, "module", of)
            return (anew if module.startswith("scripts.") else remembered)(of)

        return function

    for name, remembered in REMEMBERED.items():
        monkeypatch.setattr(fingerprint, name, without_scripts(remembered))


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    copy = Scripts(tmp_path, monkeypatch)
    monkeypatch.setattr(fingerprint, "SCRIPTS", copy.folder)
    return copy


def codes():
    return {step: fingerprint.fingerprint(steps.roots(step)) for step in STEPS}


@pytest.mark.parametrize(
    ("script", "old", "new", "concerned"),
    [
        ("split_records", "split.links", "split.links[1:]", {"split_records"}),
        ("choose_rate", "job.build(compute)", "job.build(compute, uses={})", {"choose_rate"}),
        ("train_leg", "return leg.train(", "return 1 and leg.train(", {"train_leg"}),
        ("train_leg", "table = score_leg", "table = 1 and score_leg", {"evaluate_checkpoint"}),
        ("train_leg", "job.settings, job", "{**job.settings}, job", {"train_leg"}),
        ("train_leg", "job = Job", "import random\nrandom.seed(0)\njob = Job",
         {"train_leg", "evaluate_checkpoint"}),
        ("train_leg", '"""Train a leg', '"""Train one leg', set()),
        ("split_records", "job.build(compute)", "job.build(compute)  # at last", set()),
    ],
)  # fmt: skip
def test_an_edit_of_a_script_reaches_its_own_steps(scripts, script, old, new, concerned):
    before = codes()
    scripts.edit(script, old, new)
    after = codes()
    assert {step for step in STEPS if before[step] != after[step]} == concerned


def test_deciding_what_to_do_takes_no_heavy_import():
    program = (
        "import sys, redheart.workflow.config, redheart.workflow.steps, redheart.training.legs\n"
        "import redheart.machine.device, redheart.cli.main\n"
        "print([m for m in ('torch', 'numba', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- fingerprints that are kept -----------------------------------------------------------


def test_fingerprints_are_kept_as_long_as_the_sources_are_the_same(scripts, store, monkeypatch):
    store.root.mkdir()
    present = steps.present_codes(store)
    assert present == codes()
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "fingerprint", None)  # no fingerprint is computed
        assert steps.present_codes(store) == present
    scripts.edit("split_records", "split.links", "split.links[1:]")
    changed = steps.present_codes(store)
    assert {step for step in STEPS if changed[step] != present[step]} == {"split_records"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sources": "", "codes": 3}'])
def test_damaged_ones_are_made_anew(store, content):
    store.root.mkdir()
    (store.root / steps.FINGERPRINTS).write_bytes(content)
    assert steps.present_codes(store) == codes()
    assert json.loads((store.root / steps.FINGERPRINTS).read_text())["codes"] == codes()


def test_a_look_at_a_plan_makes_no_store(store):
    steps.present_codes(store)
    assert not store.root.exists()


# --- accept ---------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def compute(store, step="train_leg"):
    """Compute a step once with its present code, as a job does."""
    action = Action(step, {}, steps.codes(store)[step], {})
    return store.run(action, {"weights": store.root / "out"}, lambda f: (f / "weights").touch())


def rewrite(monkeypatch, code):
    """Let the library have another fingerprint."""
    monkeypatch.setattr(steps, "present_codes", lambda store: dict.fromkeys(STEPS, code))


def test_an_accepted_refactoring_costs_no_computation(store, monkeypatch):
    rewrite(monkeypatch, "old")
    assert compute(store).outcome == "computed"
    rewrite(monkeypatch, "new")
    said = steps.accept("train_leg", store, "renamed a variable")
    assert said == "train_leg: code new now counts as old"
    assert compute(store).outcome == "restored"
    assert steps.accept("train_leg", store, "") == "train_leg: its code counts as unchanged already"
    (line,) = (store.root / "accepted.jsonl").read_text().splitlines()
    assert json.loads(line)["why"] == "renamed a variable"


def test_without_acceptance_new_code_computes(store, monkeypatch):
    rewrite(monkeypatch, "old")
    compute(store)
    rewrite(monkeypatch, "new")
    assert compute(store).outcome == "computed"


def test_one_refactoring_after_another_can_be_accepted(store, monkeypatch):
    rewrite(monkeypatch, "first")
    compute(store)
    for code in ("second", "third"):
        rewrite(monkeypatch, code)
        steps.accept("train_leg", store, "")
        assert compute(store).outcome == "restored"


def test_acceptance_holds_for_that_step_alone(store, monkeypatch):
    rewrite(monkeypatch, "old")
    for step in ("train_leg", "sweep_rate"):
        compute(store, step)
    rewrite(monkeypatch, "new")
    steps.accept("train_leg", store, "")
    assert compute(store, "sweep_rate").outcome == "computed"


def test_what_never_computed_needs_no_acceptance(store):
    assert steps.accept("train_leg", store, "") == (
        "train_leg: has never computed anything; nothing to accept"
    )


def test_an_unknown_step_is_refused_with_the_nearest(store):
    with pytest.raises(UserError, match="no step 'train_legs'; did you mean 'train_leg'"):
        steps.accept("train_legs", store, "")
    with pytest.raises(UserError, match="no step 'qqq'; steps: generate_corpus, "):
        steps.accept("qqq", store, "")


# --- steps that are computed whatever the store knows ----------------------------------------


def test_steps_are_named_by_commas_or_all_and_a_typo_is_refused():
    assert steps.anew("") == steps.anew(" , ") == frozenset()
    assert steps.anew("train_leg, evaluate_checkpoint") == {"train_leg", "evaluate_checkpoint"}
    assert steps.anew("all") == set(STEPS)
    with pytest.raises(UserError, match=r"no step 'train_lag'; did you mean 'train_leg'\?"):
        steps.anew("train_leg,train_lag")


@pytest.mark.parametrize(
    ("names", "words", "add"),
    [
        ("train_leg,evaluate_checkpoint", "-n --configfile x", "add --forcerun train_leg$"),
        ("all", "-c1", "add --forceall$"),
        ("all", "-nF", None),
        ("train_leg", "-R train_leg", None),
        ("train_leg", "--forcerun=train_leg", None),
        ("", "-n", None),
    ],
)
def test_a_command_that_would_not_start_their_jobs_is_refused(names, words, add):
    chosen, command = steps.anew(names), ["snakemake", *words.split()]
    if add is None:
        steps.check_forced(chosen, command)
    else:
        with pytest.raises(UserError, match=add):
            steps.check_forced(chosen, command)


@pytest.mark.parametrize(
    "words",
    ["--touch", "-t", "-nt", "--drop-metadata", "--cleanup-metadata results/a", "--cleanup-m a"],
)
def test_options_that_make_old_results_count_as_new_are_refused(words):
    with pytest.raises(UserError, match="Snakemake would take old results for those of this"):
        steps.check_remembered(["snakemake", *words.split()])


def test_other_options_of_snakemake_are_not_refused():
    words = "-n -j 2 -T 3 --target-jobs all: --dry-run -- x"
    steps.check_remembered(["/bin/snakemake", *words.split()])
